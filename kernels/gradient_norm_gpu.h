// What gradient_norm.cu has; see dispatch.h.
#pragma once

#include "kernels/gradient_norm.h"

namespace pagoda {

absl::Status SquaredNormGpu(Context& ctx, const Tensor& x, const Tensor& out);

}  // namespace pagoda
