// What sigmoid_cross_entropy.cu has; see dispatch.h.
#pragma once

#include "kernels/sigmoid_cross_entropy.h"

namespace pagoda {

absl::Status SigmoidCrossEntropyForwardGpu(Context& ctx, const Tensor& logits, const Tensor& labels,
                                           const Tensor& weights, const Tensor& loss);
absl::Status SigmoidCrossEntropyBackwardGpu(Context& ctx, const Tensor& logits,
                                            const Tensor& labels, const Tensor& weights,
                                            const Tensor& dloss, const Tensor& dlogits);

}  // namespace pagoda
