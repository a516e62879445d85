// y[i, :] = x[i, :] / sqrt(sum_j x[i, j]^2 + epsilon), x [n, d]; norms [n] kept.
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

absl::Status L2NormalizeForward(Context& ctx, const Tensor& x, float epsilon, const Tensor& y,
                                const Tensor& norms);
// dx += ...
absl::Status L2NormalizeBackward(Context& ctx, const Tensor& y, const Tensor& norms,
                                 const Tensor& dy, const Tensor& dx);

}  // namespace pagoda
