// What dense_optimizer.cu has; see dispatch.h.
#pragma once

#include "kernels/dense_optimizer.h"

namespace pagoda {

// `first_correction` = 1 / (1 - beta1^step), `root_correction` = 1 / sqrt(1 - beta2^step).
absl::Status DenseOptimizerStepGpu(Context& ctx, const DenseStepArgs& args, float first_correction,
                                   float root_correction, const Tensor& gradient, const Tensor& w,
                                   const Tensor& slot1, const Tensor& slot2);

}  // namespace pagoda
