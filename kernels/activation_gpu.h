// What activation.cu has; see dispatch.h.
#pragma once

#include "kernels/activation.h"

namespace pagoda {

absl::Status ActivationForwardGpu(Context& ctx, Activation f, const Tensor& x, const Tensor& y);
absl::Status ActivationBackwardGpu(Context& ctx, Activation f, const Tensor& x, const Tensor& y,
                                   const Tensor& dy, float beta, const Tensor& dx);

}  // namespace pagoda
