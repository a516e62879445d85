// The activations as functions of one element, for the loops of activation_cpu.cc
// and linear_cpu.cc. Formulas: activation.h. NaN in, NaN out.
#pragma once

#include <cmath>

#include "kernels/activation.h"
#include "kernels/vector_math.h"

namespace pagoda {

inline constexpr float kLeakySlope = 0.01f;

// f(x).
template <Activation f>
PAGODA_INLINE float Activate(float x) {
  if constexpr (f == Activation::kRelu) return x < 0.0f ? 0.0f : x;
  if constexpr (f == Activation::kLeakyRelu) return x < 0.0f ? kLeakySlope * x : x;
  if constexpr (f == Activation::kSigmoid) return VectorSigmoid(x);
  if constexpr (f == Activation::kTanh) return VectorTanh(x);
  if constexpr (f == Activation::kSilu) return x * VectorSigmoid(x);
  if constexpr (f == Activation::kGelu) return 0.5f * x * std::erfc(-0.70710678118654752f * x);
  if constexpr (f == Activation::kNone) return x;
}

// dy * f'(x), given x and y = f(x); reads x for kGelu and kSilu alone.
template <Activation f>
PAGODA_INLINE float TimesSlope(float x, float y, float dy) {
  if constexpr (f == Activation::kRelu) return y > 0.0f ? dy : 0.0f;
  if constexpr (f == Activation::kLeakyRelu) return y < 0.0f ? kLeakySlope * dy : dy;
  if constexpr (f == Activation::kSigmoid) return dy * (y * (1.0f - y));
  if constexpr (f == Activation::kTanh) return dy * (1.0f - y * y);
  if constexpr (f == Activation::kSilu) {
    const float s = VectorSigmoid(x);
    return dy * (s + x * (s * (1.0f - s)));
  }
  if constexpr (f == Activation::kGelu) {
    constexpr float kInverseSqrtTwoPi = 0.39894228040143268f;
    const float cdf = 0.5f * std::erfc(-0.70710678118654752f * x);
    return dy * (cdf + x * kInverseSqrtTwoPi * std::exp(-0.5f * x * x));
  }
  if constexpr (f == Activation::kNone) return dy;
}

constexpr bool SlopeNeedsInput(Activation f) {
  return f == Activation::kGelu || f == Activation::kSilu;
}

// Calls body.template operator()<f>() with `f` known to the compiler.
template <typename Body>
PAGODA_INLINE void WithActivation(Activation f, const Body& body) {
  switch (f) {
    case Activation::kNone: return body.template operator()<Activation::kNone>();
    case Activation::kRelu: return body.template operator()<Activation::kRelu>();
    case Activation::kSigmoid: return body.template operator()<Activation::kSigmoid>();
    case Activation::kTanh: return body.template operator()<Activation::kTanh>();
    case Activation::kGelu: return body.template operator()<Activation::kGelu>();
    case Activation::kSilu: return body.template operator()<Activation::kSilu>();
    case Activation::kLeakyRelu: return body.template operator()<Activation::kLeakyRelu>();
  }
}

}  // namespace pagoda
