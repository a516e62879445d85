// What fm.cu has; see dispatch.h.
#pragma once

#include "kernels/fm.h"

namespace pagoda {

absl::Status FmForwardGpu(Context& ctx, const Tensor& x, const Tensor& out);
absl::Status FmBackwardGpu(Context& ctx, const Tensor& x, const Tensor& dout, float beta,
                           const Tensor& dx);

}  // namespace pagoda
