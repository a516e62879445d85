// What batch_norm.cu has; see dispatch.h.
#pragma once

#include "kernels/batch_norm.h"

namespace pagoda {

absl::Status BatchNormTrainGpu(Context& ctx, const Tensor& x, const Tensor& gamma,
                               const Tensor& beta, const BatchNormArgs& args,
                               const Tensor& running_mean, const Tensor& running_var,
                               const Tensor& y, const Tensor& saved_mean,
                               const Tensor& saved_inv_std);
absl::Status BatchNormInferGpu(Context& ctx, const Tensor& x, const Tensor& gamma,
                               const Tensor& beta, const BatchNormArgs& args,
                               const Tensor& running_mean, const Tensor& running_var,
                               const Tensor& y);
absl::Status BatchNormBackwardGpu(Context& ctx, const Tensor& x, const Tensor& gamma,
                                  const Tensor& saved_mean, const Tensor& saved_inv_std,
                                  const Tensor& dy, const Tensor& dx, const Tensor& dgamma,
                                  const Tensor& dbeta);

}  // namespace pagoda
