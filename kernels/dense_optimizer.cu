// Bound by memory: 4 bytes of gradient an element, 8 of weights, 8 of each slot. All
// parameters of a model are one array, so that a step is one launch.
#include "kernels/dense_optimizer_gpu.h"

#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

enum class Rule { kSgd, kMomentum, kAdagrad, kAdam };

struct OptimizerStep {
  const float* gradient;
  float* w;
  float* slot1;
  float* slot2;
  float gradient_scale;
  float l2;
  float learning_rate;
  float momentum;
  float beta1;
  float beta2;
  float epsilon;
  float decay;  // AdamW's learning_rate * weight_decay.
  float first_correction;
  float root_correction;
  int64_t n;
};

template <Rule rule>
constexpr int kSlots = rule == Rule::kSgd    ? 0
                       : rule == Rule::kAdam ? 2
                                             : 1;

// One element; slots in registers.
template <Rule rule>
__device__ inline float Update(const OptimizerStep& s, float gradient, float w, float& slot1,
                               float& slot2) {
  const float g = s.gradient_scale * gradient + s.l2 * w;
  if constexpr (rule == Rule::kSgd) {
    return w - s.learning_rate * g;
  } else if constexpr (rule == Rule::kMomentum) {
    slot1 = s.momentum * slot1 + g;
    return w - s.learning_rate * slot1;
  } else if constexpr (rule == Rule::kAdagrad) {
    slot1 += g * g;
    return w - s.learning_rate * g / (sqrtf(slot1) + s.epsilon);
  } else {
    slot1 = s.beta1 * slot1 + (1.0f - s.beta1) * g;
    slot2 = s.beta2 * slot2 + (1.0f - s.beta2) * (g * g);
    return w - s.decay * w -
           s.learning_rate * (slot1 * s.first_correction) /
               (sqrtf(slot2) * s.root_correction + s.epsilon);
  }
}

template <Rule rule, int kPack>
__global__ void __launch_bounds__(kGpuThreads) StepKernel(const OptimizerStep s) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x * kPack;
  for (int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kPack; i < s.n; i += step) {
    const FloatPack<kPack> gradient = LoadPack<kPack>(s.gradient + i);
    FloatPack<kPack> w = LoadPack<kPack>(s.w + i);
    FloatPack<kPack> slot1 = {}, slot2 = {};
    if constexpr (kSlots<rule> >= 1) slot1 = LoadPack<kPack>(s.slot1 + i);
    if constexpr (kSlots<rule> >= 2) slot2 = LoadPack<kPack>(s.slot2 + i);
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) {
      w.v[k] = Update<rule>(s, gradient.v[k], w.v[k], slot1.v[k], slot2.v[k]);
    }
    StorePack(w, s.w + i);
    if constexpr (kSlots<rule> >= 1) StorePack(slot1, s.slot1 + i);
    if constexpr (kSlots<rule> >= 2) StorePack(slot2, s.slot2 + i);
  }
}

template <Rule rule>
absl::Status Launch(Context& ctx, const OptimizerStep& step) {
  const bool by_four = RowsMoveByFour(step.n, {step.gradient, step.w, step.slot1, step.slot2});
  return LaunchKernel(ctx, "DenseOptimizerStep",
                      by_four ? StepKernel<rule, 4> : StepKernel<rule, 1>,
                      GpuBlocks(step.n, kGpuThreads * (by_four ? 4 : 1)), kGpuThreads, 0, step);
}

}  // namespace

absl::Status DenseOptimizerStepGpu(Context& ctx, const DenseStepArgs& args, float first_correction,
                                   float root_correction, const Tensor& gradient, const Tensor& w,
                                   const Tensor& slot1, const Tensor& slot2) {
  if (w.size() == 0) return absl::OkStatus();
  const bool decoupled = args.kind == DenseOptimizerKind::kAdamW;
  const OptimizerStep step = {gradient.data<float>(),
                              w.data<float>(),
                              slot1.data<float>(),
                              slot2.data<float>(),
                              args.gradient_scale,
                              decoupled ? 0.0f : args.weight_decay,
                              args.learning_rate,
                              args.momentum,
                              args.beta1,
                              args.beta2,
                              args.epsilon,
                              decoupled ? args.learning_rate * args.weight_decay : 0.0f,
                              first_correction,
                              root_correction,
                              w.size()};
  switch (args.kind) {
    case DenseOptimizerKind::kSgd:
      return args.momentum == 0.0f ? Launch<Rule::kSgd>(ctx, step)
                                   : Launch<Rule::kMomentum>(ctx, step);
    case DenseOptimizerKind::kAdagrad: return Launch<Rule::kAdagrad>(ctx, step);
    case DenseOptimizerKind::kAdam:
    case DenseOptimizerKind::kAdamW: break;
  }
  return Launch<Rule::kAdam>(ctx, step);
}

}  // namespace pagoda
