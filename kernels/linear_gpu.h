// What linear.cu has; see dispatch.h.
#pragma once

#include "kernels/linear.h"

namespace pagoda {

absl::Status LinearForwardGpu(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& bias,
                              Activation activation, const Tensor& y);
absl::Status LinearBackwardGpu(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& y,
                               const Tensor& dy, Activation activation,
                               const LinearGradients& gradients);

}  // namespace pagoda
