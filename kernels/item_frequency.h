// How often an item is in a batch, estimated while training streams by (Yi et al.
// 2019, RecSys, algorithm 2): a moving average of the number of steps between two
// batches that hold it. Items share buckets by hash.
//    t = ++step
//    for each item i of the batch, once per step and bucket b = buckets[i]:
//        interval[b] = (1 - rate) interval[b] + rate (t - last_step[b])
//        (t itself the first time), at least 1;   last_step[b] = t
//    log_q[i] = -log(interval[b])
// Steps are counted in f32, which is exact up to 2^24 steps; later the counter
// stands still and so do the estimates' times.
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

struct ItemFrequencyState {
  Tensor step;       // [1]; 0 at first
  Tensor last_step;  // [num_buckets]; 0: never seen
  Tensor interval;   // [num_buckets]
};

// buckets i32 [n], in [0, num_buckets); log_q [n]. Without `update` the state is
// only read, and an item never seen counts as seen once in all steps so far.
//   INVALID_ARGUMENT  shapes disagree, rate outside (0, 1], or a bucket out of range
absl::Status ItemFrequency(Context& ctx, const Tensor& buckets, float rate, bool update,
                           const ItemFrequencyState& state, const Tensor& log_q);

}  // namespace pagoda
