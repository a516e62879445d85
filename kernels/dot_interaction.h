// Pairwise dot products (DLRM; Naumov et al. 2019, arXiv:1906.00091):
//    x [n, f, d] -> out[i, p] = <x[i, a], x[i, b]>, pairs a > b, row by row: (1,0), (2,0), (2,1),
//    ...
// out [n, f (f - 1) / 2]. With beta == 0 dx is not read.
//    INVALID_ARGUMENT  shapes or types disagree
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

absl::Status DotInteractionForward(Context& ctx, const Tensor& x, const Tensor& out);
// dx[i, a, :] = beta * dx[i, a, :] + sum over b != a of dout[i, pair of a and b] * x[i, b, :].
absl::Status DotInteractionBackward(Context& ctx, const Tensor& x, const Tensor& dout, float beta,
                                    const Tensor& dx);

}  // namespace pagoda
