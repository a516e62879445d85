// Logistic loss on logits, in the form that does not overflow:
//    loss[i] = weights[i] * (max(z, 0) - z * label + log1p(exp(-|z|)))
// logits, labels [n]; weights [n] or absent. Any one shape will do for [n].
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

absl::Status SigmoidCrossEntropyForward(Context& ctx, const Tensor& logits, const Tensor& labels,
                                        const Tensor& weights, const Tensor& loss);
// dlogits += dloss[i] * weights[i] * (sigmoid(z) - label).
absl::Status SigmoidCrossEntropyBackward(Context& ctx, const Tensor& logits, const Tensor& labels,
                                         const Tensor& weights, const Tensor& dloss,
                                         const Tensor& dlogits);

}  // namespace pagoda
