// The logits of an in-batch softmax (Yi et al. 2019, RecSys, eq. 3): each sample's
// item is the positive of its own row and a negative of all other rows.
//    out[i, j] = scores[i, j] / temperature - log_q[j]
//    out[i, j] = kMaskedLogit where items[i] == items[j] and i != j: the same item
//                drawn twice is not a negative of itself.
// scores, out [n, n]; log_q [n], log of the item's sampling probability, or absent
// (0); items i32 [n], equal for equal items.
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

// exp(kMaskedLogit - any true logit) is 0 in f32, and no sum with it overflows.
inline constexpr float kMaskedLogit = -1e30f;

//   INVALID_ARGUMENT  shapes disagree, or temperature <= 0
absl::Status InBatchLogitsForward(Context& ctx, const Tensor& scores, const Tensor& items,
                                  const Tensor& log_q, float temperature, const Tensor& out);
// dscores = beta * dscores + dout / temperature, and nothing where masked.
absl::Status InBatchLogitsBackward(Context& ctx, const Tensor& dout, const Tensor& items,
                                   float temperature, float beta, const Tensor& dscores);

}  // namespace pagoda
