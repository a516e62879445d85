// The distinct ids of a list, in the order in which it first names them, and for each
// place in the list which of them it is:
//
//    unique[inverse[i]] = ids[i];  count[0] of them;  any 64 bits are an id
//
// ids i64 [n], unique i64 [n] (elements from count on are left as they were), inverse
// i32 [n], count i32 [1]; n < 2^30. The order is the same on every device and for every
// run.
//
// Batches of training do not need it: their shapes must be known on the host, where the
// reader finds their unique ids (DESIGN ruling 11). It is for ids that a device makes.
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

absl::Status UniqueIds(Context& ctx, const Tensor& ids, const Tensor& unique, const Tensor& inverse,
                       const Tensor& count);

}  // namespace pagoda
