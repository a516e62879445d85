// Bound by memory: 8 bytes an element forward, 12 backward, 16 where it adds to what is
// there. Maps (gpu_map.h).
#include "kernels/activation_gpu.h"

#include "kernels/gpu_map.h"

namespace pagoda {
namespace {

constexpr float kLeaky = 0.01f;

__device__ inline float Sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

template <Activation f>
struct ForwardOf {
  __device__ float operator()(const float (&x)[1]) const {
    const float v = x[0];
    if constexpr (f == Activation::kRelu) return v < 0.0f ? 0.0f : v;
    if constexpr (f == Activation::kLeakyRelu) return v < 0.0f ? kLeaky * v : v;
    if constexpr (f == Activation::kSigmoid) return Sigmoid(v);
    if constexpr (f == Activation::kTanh) return tanhf(v);
    if constexpr (f == Activation::kSilu) return v * Sigmoid(v);
    if constexpr (f == Activation::kGelu) return 0.5f * v * erfcf(-0.70710678118654752f * v);
    return v;
  }
};

// Of dy and what the slope is a function of: x for gelu and silu, y for the others.
template <Activation f>
struct BackwardOf {
  __device__ float operator()(const float (&in)[2]) const {
    const float dy = in[0];
    const float v = in[1];
    if constexpr (f == Activation::kRelu) return v > 0.0f ? dy : 0.0f;
    if constexpr (f == Activation::kLeakyRelu) return v < 0.0f ? kLeaky * dy : dy;
    if constexpr (f == Activation::kSigmoid) return dy * (v * (1.0f - v));
    if constexpr (f == Activation::kTanh) return dy * (1.0f - v * v);
    if constexpr (f == Activation::kSilu) {
      const float s = Sigmoid(v);
      return dy * (s + v * (s * (1.0f - s)));
    }
    if constexpr (f == Activation::kGelu) {
      const float cdf = 0.5f * erfcf(-0.70710678118654752f * v);
      return dy * (cdf + v * 0.39894228040143268f * expf(-0.5f * v * v));
    }
    return dy;
  }
};

template <typename Body>
absl::Status With(Activation f, const Body& body) {
  switch (f) {
    case Activation::kNone: return body.template operator()<Activation::kNone>();
    case Activation::kRelu: return body.template operator()<Activation::kRelu>();
    case Activation::kSigmoid: return body.template operator()<Activation::kSigmoid>();
    case Activation::kTanh: return body.template operator()<Activation::kTanh>();
    case Activation::kGelu: return body.template operator()<Activation::kGelu>();
    case Activation::kSilu: return body.template operator()<Activation::kSilu>();
    case Activation::kLeakyRelu: return body.template operator()<Activation::kLeakyRelu>();
  }
  return absl::InternalError("an activation that does not exist");
}

}  // namespace

absl::Status ActivationForwardGpu(Context& ctx, Activation f, const Tensor& x, const Tensor& y) {
  return With(f, [&]<Activation g>() {
    return MapOnGpu<1>(ctx, "ActivationForward", {x.data<float>()}, x.size(), 0.0f, y.data<float>(),
                       ForwardOf<g>());
  });
}

absl::Status ActivationBackwardGpu(Context& ctx, Activation f, const Tensor& x, const Tensor& y,
                                   const Tensor& dy, float beta, const Tensor& dx) {
  const bool of_input = f == Activation::kGelu || f == Activation::kSilu;
  const float* const v = of_input ? x.data<float>() : y.data<float>();
  return With(f, [&]<Activation g>() {
    return MapOnGpu<2>(ctx, "ActivationBackward", {dy.data<float>(), v}, y.size(), beta,
                       dx.data<float>(), BackwardOf<g>());
  });
}

}  // namespace pagoda
