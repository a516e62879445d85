// Layer normalisation of each row of x [n, d] (Ba et al. 2016):
//    y = gamma * (x - mean(x)) / sqrt(var(x) + epsilon) + beta
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

absl::Status LayerNormForward(Context& ctx, const Tensor& x, const Tensor& gamma,
                              const Tensor& beta, float epsilon, const Tensor& y,
                              const Tensor& saved_mean /* [n] */,
                              const Tensor& saved_inv_std /* [n] */);
// dx += ..., dgamma += ..., dbeta += ...; any may be absent.
absl::Status LayerNormBackward(Context& ctx, const Tensor& x, const Tensor& gamma,
                               const Tensor& saved_mean, const Tensor& saved_inv_std,
                               const Tensor& dy, const Tensor& dx, const Tensor& dgamma,
                               const Tensor& dbeta);

}  // namespace pagoda
