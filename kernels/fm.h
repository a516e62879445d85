// Factorisation-machine second-order term (Rendle 2010, eq. 5):
//    out[i] = 1/2 * sum over c of ((sum_f x[i, f, c])^2 - sum_f x[i, f, c]^2)
// x [n, f, d], out [n]. With beta == 0 dx is not read.
//    INVALID_ARGUMENT  shapes or types disagree
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

absl::Status FmForward(Context& ctx, const Tensor& x, const Tensor& out);
// dx[i, f, c] = beta * dx[i, f, c] + dout[i] * (sum_g x[i, g, c] - x[i, f, c]).
absl::Status FmBackward(Context& ctx, const Tensor& x, const Tensor& dout, float beta,
                        const Tensor& dx);

}  // namespace pagoda
