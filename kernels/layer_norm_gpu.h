// What layer_norm.cu has; see dispatch.h.
#pragma once

#include "kernels/layer_norm.h"

namespace pagoda {

absl::Status LayerNormForwardGpu(Context& ctx, const Tensor& x, const Tensor& gamma,
                                 const Tensor& beta, float epsilon, const Tensor& y,
                                 const Tensor& saved_mean, const Tensor& saved_inv_std);
absl::Status LayerNormBackwardGpu(Context& ctx, const Tensor& x, const Tensor& gamma,
                                  const Tensor& saved_mean, const Tensor& saved_inv_std,
                                  const Tensor& dy, const Tensor& dx, const Tensor& dgamma,
                                  const Tensor& dbeta);

}  // namespace pagoda
