// One optimizer step on a flat array of parameters, all state f32 [n].
//    g = gradient_scale * gradient + l2 * w     (coupled L2; AdamW decays w instead)
// SGD:     m = momentum * m + g;  w -= lr * m            (m absent when momentum == 0)
// Adagrad: s += g^2;              w -= lr * g / (sqrt(s) + epsilon)
// Adam:    Kingma & Ba 2015, alg. 1, bias-corrected; step counts from 1
// AdamW:   Loshchilov & Hutter 2019: w -= lr * weight_decay * w before Adam's update
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

enum class DenseOptimizerKind { kSgd, kAdagrad, kAdam, kAdamW };

struct DenseStepArgs {
  DenseOptimizerKind kind = DenseOptimizerKind::kSgd;
  float learning_rate = 0.01f;
  float gradient_scale = 1.0f;
  float momentum = 0.0f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float epsilon = 1e-8f;
  float weight_decay = 0.0f;  // l2 for all but AdamW
  int64_t step = 1;
};

// w, gradient [n] (any one shape); slot1 (momentum / sum of squares / first moment)
// and slot2 (second moment) of the same shape. A slot that the kind does not use
// is not touched and may be absent.
//   INVALID_ARGUMENT  a slot that the kind uses is absent, or args.step < 1
absl::Status DenseOptimizerStep(Context& ctx, const DenseStepArgs& args, const Tensor& gradient,
                                const Tensor& w, const Tensor& slot1, const Tensor& slot2);

}  // namespace pagoda
