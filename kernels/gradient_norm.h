// Norms and finiteness of a flat gradient, deterministic.
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

// x of any shape. out [2]: out[0] = sum of squares (accumulated in double, fixed chunk order),
// out[1] = number of non-finite elements.
absl::Status SquaredNorm(Context& ctx, const Tensor& x, const Tensor& out);

}  // namespace pagoda
