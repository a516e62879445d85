// Batch normalisation over the rows of x [n, d] (Ioffe & Szegedy 2015, alg. 1):
//    y = gamma * (x - mean) / sqrt(var + epsilon) + beta
// In training mean and (biased) var are the batch's, and running <- (1 - momentum) *
// running + momentum * batch (unbiased var for running, as PyTorch). Statistics are
// per worker: see docs for what this means with several.
//
// A batch of one row has no unbiased variance: running_var keeps its value. An
// empty batch also leaves running_mean alone.
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

struct BatchNormArgs {
  float epsilon = 1e-5f;
  float momentum = 0.1f;
};

// Training: writes y and saved_mean, saved_inv_std [d]; updates running_mean, running_var [d].
absl::Status BatchNormTrain(Context& ctx, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                            const BatchNormArgs& args, const Tensor& running_mean,
                            const Tensor& running_var, const Tensor& y, const Tensor& saved_mean,
                            const Tensor& saved_inv_std);
absl::Status BatchNormInfer(Context& ctx, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                            const BatchNormArgs& args, const Tensor& running_mean,
                            const Tensor& running_var, const Tensor& y);
// dx += ..., dgamma += ..., dbeta += ...; any may be absent.
absl::Status BatchNormBackward(Context& ctx, const Tensor& x, const Tensor& gamma,
                               const Tensor& saved_mean, const Tensor& saved_inv_std,
                               const Tensor& dy, const Tensor& dx, const Tensor& dgamma,
                               const Tensor& dbeta);

}  // namespace pagoda
