// The middle axes of a block exchanged: between heads beside one another and heads one
// after another.
//
//    y[a, c, b, :] = beta * y[a, c, b, :] + x[a, b, c, :]
//
// x [A, B, C, d], y [A, C, B, d]. The gradient is the same with x and y exchanged. With
// beta == 0, y is not read.
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

absl::Status SwapAxes(Context& ctx, const Tensor& x, float beta, const Tensor& y);

}  // namespace pagoda
