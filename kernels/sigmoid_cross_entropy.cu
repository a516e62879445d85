// Bound by memory: 12 to 20 bytes a sample, of which there are few. Maps (gpu_map.h).
#include "kernels/sigmoid_cross_entropy_gpu.h"

#include "kernels/gpu_map.h"

namespace pagoda {
namespace {

// Of logit, label and, with three inputs, weight.
template <int kInputs>
struct LossOf {
  __device__ float operator()(const float (&in)[kInputs]) const {
    const float z = in[0];
    const float weight = kInputs == 3 ? in[kInputs - 1] : 1.0f;
    // NaN goes through: z < 0 is false for it.
    return weight * ((z < 0.0f ? 0.0f : z) - z * in[1] + log1pf(expf(-fabsf(z))));
  }
};

// Of logit, label, slope of the loss and, with four inputs, weight.
template <int kInputs>
struct SlopeOf {
  __device__ float operator()(const float (&in)[kInputs]) const {
    const float probability = 1.0f / (1.0f + expf(-in[0]));
    const float weight = kInputs == 4 ? in[kInputs - 1] : 1.0f;
    return in[2] * weight * (probability - in[1]);
  }
};

}  // namespace

absl::Status SigmoidCrossEntropyForwardGpu(Context& ctx, const Tensor& logits, const Tensor& labels,
                                           const Tensor& weights, const Tensor& loss) {
  constexpr const char* kName = "SigmoidCrossEntropyForward";
  const float* const z = logits.data<float>();
  const float* const y = labels.data<float>();
  if (weights.absent()) {
    return MapOnGpu<2>(ctx, kName, {z, y}, logits.size(), 0.0f, loss.data<float>(), LossOf<2>());
  }
  return MapOnGpu<3>(ctx, kName, {z, y, weights.data<float>()}, logits.size(), 0.0f,
                     loss.data<float>(), LossOf<3>());
}

absl::Status SigmoidCrossEntropyBackwardGpu(Context& ctx, const Tensor& logits,
                                            const Tensor& labels, const Tensor& weights,
                                            const Tensor& dloss, const Tensor& dlogits) {
  constexpr const char* kName = "SigmoidCrossEntropyBackward";
  const float* const z = logits.data<float>();
  const float* const y = labels.data<float>();
  const float* const slope = dloss.data<float>();
  if (weights.absent()) {
    return MapOnGpu<3>(ctx, kName, {z, y, slope}, logits.size(), 1.0f, dlogits.data<float>(),
                       SlopeOf<3>());
  }
  return MapOnGpu<4>(ctx, kName, {z, y, slope, weights.data<float>()}, logits.size(), 1.0f,
                     dlogits.data<float>(), SlopeOf<4>());
}

}  // namespace pagoda
