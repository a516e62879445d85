// RMS normalisation of each row of x [n, d] (Zhang & Sennrich, "Root Mean Square Layer
// Normalization", 2019):
//    y = gamma * x / sqrt(mean(x^2) + epsilon)
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

// saved_inv_rms [n] becomes 1 / sqrt(mean(x^2) + epsilon) of each row. y may be x.
absl::Status RmsNormForward(Context& ctx, const Tensor& x, const Tensor& gamma, float epsilon,
                            const Tensor& y, const Tensor& saved_inv_rms);
// dx += ..., dgamma += ...; either may be absent.
absl::Status RmsNormBackward(Context& ctx, const Tensor& x, const Tensor& gamma,
                             const Tensor& saved_inv_rms, const Tensor& dy, const Tensor& dx,
                             const Tensor& dgamma);

}  // namespace pagoda
