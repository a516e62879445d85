// What swap_axes.cu has; see dispatch.h.
#pragma once

#include "kernels/swap_axes.h"

namespace pagoda {

absl::Status SwapAxesGpu(Context& ctx, const Tensor& x, float beta, const Tensor& y);

}  // namespace pagoda
