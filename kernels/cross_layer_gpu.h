// What cross_layer.cu has; see dispatch.h.
#pragma once

#include "kernels/cross_layer.h"

namespace pagoda {

absl::Status CrossV1ForwardGpu(Context& ctx, const Tensor& x0, const Tensor& x, const Tensor& w,
                               const Tensor& b, const Tensor& y, const Tensor& xw);
absl::Status CrossV1BackwardGpu(Context& ctx, const Tensor& x0, const Tensor& x, const Tensor& w,
                                const Tensor& xw, const Tensor& dy,
                                const CrossV1Gradients& gradients);
absl::Status CrossV2ForwardGpu(Context& ctx, const Tensor& x0, const Tensor& u, const Tensor& x,
                               const Tensor& y);
absl::Status CrossV2BackwardGpu(Context& ctx, const Tensor& x0, const Tensor& u, const Tensor& dy,
                                const CrossV2Gradients& gradients);

}  // namespace pagoda
