// Bound by memory: reads the gradient, reads and writes the weights and slots.
#include "kernels/dense_optimizer.h"

#include <cmath>

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dense_optimizer_gpu.h"
#include "kernels/dispatch.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

struct Operands {
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
  float decay;             // AdamW's learning_rate * weight_decay.
  float first_correction;  // 1 / (1 - beta1^step)
  float root_correction;   // 1 / sqrt(1 - beta2^step)
};

PAGODA_INLINE float Gradient(const Operands& o, int64_t i) {
  return o.gradient_scale * o.gradient[i] + o.l2 * o.w[i];
}

template <int kLanes>
PAGODA_INLINE void SgdRange(const Operands& o, int64_t begin, int64_t end) {
  PAGODA_IVDEP
  for (int64_t i = begin; i < end; ++i) o.w[i] -= o.learning_rate * Gradient(o, i);
}
PAGODA_VECTOR_VERSIONS(SgdRange, Operands)

template <int kLanes>
PAGODA_INLINE void MomentumRange(const Operands& o, int64_t begin, int64_t end) {
  PAGODA_IVDEP
  for (int64_t i = begin; i < end; ++i) {
    const float m = o.momentum * o.slot1[i] + Gradient(o, i);
    o.slot1[i] = m;
    o.w[i] -= o.learning_rate * m;
  }
}
PAGODA_VECTOR_VERSIONS(MomentumRange, Operands)

template <int kLanes>
PAGODA_INLINE void AdagradRange(const Operands& o, int64_t begin, int64_t end) {
  PAGODA_IVDEP
  for (int64_t i = begin; i < end; ++i) {
    const float g = Gradient(o, i);
    const float s = o.slot1[i] + g * g;
    o.slot1[i] = s;
    o.w[i] -= o.learning_rate * g / (std::sqrt(s) + o.epsilon);
  }
}
PAGODA_VECTOR_VERSIONS(AdagradRange, Operands)

// Adam with decay == 0, AdamW with l2 == 0.
template <int kLanes>
PAGODA_INLINE void AdamRange(const Operands& o, int64_t begin, int64_t end) {
  PAGODA_IVDEP
  for (int64_t i = begin; i < end; ++i) {
    const float g = Gradient(o, i);
    const float m = o.beta1 * o.slot1[i] + (1.0f - o.beta1) * g;
    const float v = o.beta2 * o.slot2[i] + (1.0f - o.beta2) * (g * g);
    o.slot1[i] = m;
    o.slot2[i] = v;
    const float w = o.w[i] - o.decay * o.w[i];
    o.w[i] = w - o.learning_rate * (m * o.first_correction) /
                     (std::sqrt(v) * o.root_correction + o.epsilon);
  }
}
PAGODA_VECTOR_VERSIONS(AdamRange, Operands)

using Loop = void (*)(const Operands&, int64_t begin, int64_t end);

Loop LoopOf(const DenseStepArgs& args) {
  switch (args.kind) {
    case DenseOptimizerKind::kSgd: return args.momentum == 0.0f ? RunSgdRange : RunMomentumRange;
    case DenseOptimizerKind::kAdagrad: return RunAdagradRange;
    case DenseOptimizerKind::kAdam:
    case DenseOptimizerKind::kAdamW: break;
  }
  return RunAdamRange;
}

int SlotsOf(const DenseStepArgs& args) {
  switch (args.kind) {
    case DenseOptimizerKind::kSgd: return args.momentum == 0.0f ? 0 : 1;
    case DenseOptimizerKind::kAdagrad: return 1;
    case DenseOptimizerKind::kAdam:
    case DenseOptimizerKind::kAdamW: break;
  }
  return 2;
}

}  // namespace

absl::Status DenseOptimizerStep(Context& ctx, const DenseStepArgs& args, const Tensor& gradient,
                                const Tensor& w, const Tensor& slot1, const Tensor& slot2) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "DenseOptimizerStep");
  const int slots = SlotsOf(args);
  check.That(args.step >= 1, "step is below 1");
  check.Present("w", w).Has("gradient", gradient, w.shape());
  if (slots >= 1) check.Has("slot1", slot1, w.shape());
  if (slots >= 2) check.Has("slot2", slot2, w.shape());
  if (!check.ok()) return check.status();

  const bool decoupled = args.kind == DenseOptimizerKind::kAdamW;
  const double step = static_cast<double>(args.step);
  const double rest1 = 1.0 - std::pow(static_cast<double>(args.beta1), step);
  const double rest2 = 1.0 - std::pow(static_cast<double>(args.beta2), step);
  const float first_correction = static_cast<float>(1.0 / rest1);
  const float root_correction = static_cast<float>(1.0 / std::sqrt(rest2));
  PAGODA_ON_GPU(ctx, DenseOptimizerStepGpu(ctx, args, first_correction, root_correction, gradient,
                                           w, slot1, slot2));
  const Operands operands{.gradient = gradient.data<float>(),
                          .w = w.data<float>(),
                          .slot1 = slot1.data<float>(),
                          .slot2 = slot2.data<float>(),
                          .gradient_scale = args.gradient_scale,
                          .l2 = decoupled ? 0.0f : args.weight_decay,
                          .learning_rate = args.learning_rate,
                          .momentum = args.momentum,
                          .beta1 = args.beta1,
                          .beta2 = args.beta2,
                          .epsilon = args.epsilon,
                          .decay = decoupled ? args.learning_rate * args.weight_decay : 0.0f,
                          .first_correction = first_correction,
                          .root_correction = root_correction};
  const Loop loop = LoopOf(args);
  ForChunks(ctx, w.size(), kChunkElements,
            [&](int64_t, int64_t begin, int64_t end) { loop(operands, begin, end); });
  return absl::OkStatus();
}

}  // namespace pagoda
