// Activations, forward and backward, f32, any shape.
//    y = f(x);   dx = beta * dx + dy * f'(x), written in terms of y where possible.
//
//    none        x                        sigmoid  1 / (1 + e^-x)
//    relu        max(x, 0)                tanh     tanh(x)
//    leaky_relu  x or, below 0, 0.01 x    silu     x * sigmoid(x)
//    gelu        x * Phi(x), Phi the standard normal's distribution function (erf form)
//
// Within 6 ulp (gelu: plus x^2 ulp). NaN in, NaN out. y may be x, dx may be dy.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

enum class Activation { kNone, kRelu, kSigmoid, kTanh, kGelu, kSilu, kLeakyRelu };

// "relu" and so on; INVALID_ARGUMENT names the nearest.
absl::StatusOr<Activation> ParseActivation(const std::string& name);

absl::Status ActivationForward(Context& ctx, Activation f, const Tensor& x, const Tensor& y);
// `x` may be absent for all but kGelu and kSilu. With beta == 0, dx is not read.
absl::Status ActivationBackward(Context& ctx, Activation f, const Tensor& x, const Tensor& y,
                                const Tensor& dy, float beta, const Tensor& dx);

}  // namespace pagoda
