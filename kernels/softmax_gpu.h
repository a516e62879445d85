// What softmax.cu has; see dispatch.h.
#pragma once

#include "kernels/softmax.h"

namespace pagoda {

absl::Status SoftmaxForwardGpu(Context& ctx, const Tensor& x, const Tensor& y);
absl::Status MaskedSoftmaxForwardGpu(Context& ctx, const Tensor& x, const Tensor& counts,
                                     const Tensor& y);
absl::Status SoftmaxBackwardGpu(Context& ctx, const Tensor& y, const Tensor& dy, const Tensor& dx);
absl::Status SoftmaxCrossEntropyForwardGpu(Context& ctx, const Tensor& x, const Tensor& targets,
                                           const Tensor& weights, const Tensor& loss,
                                           const Tensor& probabilities);
absl::Status SoftmaxCrossEntropyBackwardGpu(Context& ctx, const Tensor& probabilities,
                                            const Tensor& targets, const Tensor& weights,
                                            const Tensor& dloss, const Tensor& dx);

}  // namespace pagoda
