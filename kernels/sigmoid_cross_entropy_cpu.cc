// One exponential an element, forward and backward.
#include "kernels/sigmoid_cross_entropy.h"

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/sigmoid_cross_entropy_gpu.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

struct Operands {
  const float* logits;
  const float* labels;
  const float* weights;  // Null: all 1.
  const float* dloss;
  float* out;
};

PAGODA_INLINE float LogLoss(float z, float label) {
  const float positive = z > 0.0f ? z : 0.0f;
  return positive - z * label + VectorLog1pUnit(VectorExp(-std::fabs(z)));
}

template <int kLanes>
PAGODA_INLINE void LossRange(const Operands& o, int64_t begin, int64_t end) {
  PAGODA_IVDEP
  for (int64_t i = begin; i < end; ++i) o.out[i] = LogLoss(o.logits[i], o.labels[i]);
  if (o.weights == nullptr) return;
  PAGODA_IVDEP
  for (int64_t i = begin; i < end; ++i) o.out[i] *= o.weights[i];
}
PAGODA_VECTOR_VERSIONS(LossRange, Operands)

template <int kLanes>
PAGODA_INLINE void SlopeRange(const Operands& o, int64_t begin, int64_t end) {
  if (o.weights == nullptr) {
    PAGODA_IVDEP
    for (int64_t i = begin; i < end; ++i) {
      o.out[i] += o.dloss[i] * (VectorSigmoid(o.logits[i]) - o.labels[i]);
    }
  } else {
    PAGODA_IVDEP
    for (int64_t i = begin; i < end; ++i) {
      o.out[i] += o.dloss[i] * o.weights[i] * (VectorSigmoid(o.logits[i]) - o.labels[i]);
    }
  }
}
PAGODA_VECTOR_VERSIONS(SlopeRange, Operands)

}  // namespace

absl::Status SigmoidCrossEntropyForward(Context& ctx, const Tensor& logits, const Tensor& labels,
                                        const Tensor& weights, const Tensor& loss) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SigmoidCrossEntropyForward");
  check.Present("logits", logits).Has("labels", labels, logits.shape());
  check.HasOrAbsent("weights", weights, logits.shape()).Has("loss", loss, logits.shape());
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, SigmoidCrossEntropyForwardGpu(ctx, logits, labels, weights, loss));
  const Operands operands{logits.data<float>(), labels.data<float>(), weights.data<float>(),
                          nullptr, loss.data<float>()};
  ForChunks(ctx, logits.size(), kChunkElements,
            [&](int64_t, int64_t begin, int64_t end) { RunLossRange(operands, begin, end); });
  return absl::OkStatus();
}

absl::Status SigmoidCrossEntropyBackward(Context& ctx, const Tensor& logits, const Tensor& labels,
                                         const Tensor& weights, const Tensor& dloss,
                                         const Tensor& dlogits) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SigmoidCrossEntropyBackward");
  check.Present("logits", logits).Has("labels", labels, logits.shape());
  check.HasOrAbsent("weights", weights, logits.shape()).Has("dloss", dloss, logits.shape());
  check.Has("dlogits", dlogits, logits.shape());
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, SigmoidCrossEntropyBackwardGpu(ctx, logits, labels, weights, dloss, dlogits));
  const Operands operands{logits.data<float>(), labels.data<float>(), weights.data<float>(),
                          dloss.data<float>(), dlogits.data<float>()};
  ForChunks(ctx, logits.size(), kChunkElements,
            [&](int64_t, int64_t begin, int64_t end) { RunSlopeRange(operands, begin, end); });
  return absl::OkStatus();
}

}  // namespace pagoda
