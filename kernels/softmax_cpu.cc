// Row by row; a row of x is read from memory once and revisited in cache. The
// exponentials are about as costly as moving the row.
#include "kernels/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/softmax_gpu.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

struct Operands {
  int64_t m = 0;
  const float* x = nullptr;
  const float* y = nullptr;
  const float* dy = nullptr;
  const int32_t* targets = nullptr;
  const int32_t* counts = nullptr;
  const float* weights = nullptr;  // Null: all 1.
  const float* dloss = nullptr;
  float* loss = nullptr;
  float* out = nullptr;
};

// out = softmax(x); returns log sum exp(x).
template <int kLanes>
PAGODA_INLINE float SoftmaxRow(const float* x, int64_t m, float* out) {
  const float most = MaxOf<kLanes>(x, m);
  const float greatest = most == -INFINITY ? 0.0f : most;
  PAGODA_IVDEP
  for (int64_t j = 0; j < m; ++j) out[j] = VectorExp(x[j] - greatest);
  const float sum = SumOf<kLanes>(out, m);
  const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
  PAGODA_IVDEP
  for (int64_t j = 0; j < m; ++j) out[j] *= inverse;
  return greatest + std::log(sum);
}

template <int kLanes>
PAGODA_INLINE void SoftmaxRows(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) SoftmaxRow<kLanes>(o.x + i * o.m, o.m, o.out + i * o.m);
}
PAGODA_VECTOR_VERSIONS(SoftmaxRows, Operands)

template <int kLanes>
PAGODA_INLINE void MaskedSoftmaxRows(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const int64_t count = std::min<int64_t>(o.counts[i], o.m);
    float* out = o.out + i * o.m;
    if (count > 0) SoftmaxRow<kLanes>(o.x + i * o.m, count, out);
    for (int64_t j = std::max<int64_t>(count, 0); j < o.m; ++j) out[j] = 0.0f;
  }
}
PAGODA_VECTOR_VERSIONS(MaskedSoftmaxRows, Operands)

template <int kLanes>
PAGODA_INLINE void SoftmaxSlopeRows(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* y = o.y + i * o.m;
    const float* dy = o.dy + i * o.m;
    float* out = o.out + i * o.m;
    const float dot = DotOf<kLanes>(dy, y, o.m);
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.m; ++j) out[j] += y[j] * (dy[j] - dot);
  }
}
PAGODA_VECTOR_VERSIONS(SoftmaxSlopeRows, Operands)

template <int kLanes>
PAGODA_INLINE void CrossEntropyRows(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* x = o.x + i * o.m;
    const float log_sum = SoftmaxRow<kLanes>(x, o.m, o.out + i * o.m);
    const int32_t target = o.targets[i];
    const float weight = o.weights == nullptr ? 1.0f : o.weights[i];
    if (target == -1) {
      o.loss[i] = 0.0f;
    } else if (target < 0 || target >= o.m) {
      o.loss[i] = std::numeric_limits<float>::quiet_NaN();
    } else {
      o.loss[i] = weight * (log_sum - x[target]);
    }
  }
}
PAGODA_VECTOR_VERSIONS(CrossEntropyRows, Operands)

template <int kLanes>
PAGODA_INLINE void CrossEntropySlopeRows(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const int32_t target = o.targets[i];
    if (target < 0 || target >= o.m) continue;
    const float scale = o.dloss[i] * (o.weights == nullptr ? 1.0f : o.weights[i]);
    const float* y = o.y + i * o.m;
    float* out = o.out + i * o.m;
    const float before = out[target];
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.m; ++j) out[j] += scale * y[j];
    out[target] = before + scale * (y[target] - 1.0f);
  }
}
PAGODA_VECTOR_VERSIONS(CrossEntropySlopeRows, Operands)

using Loop = void (*)(const Operands&, int64_t begin, int64_t end);

absl::Status RunRows(Context& ctx, Loop loop, const Operands& operands, int64_t n) {
  ForChunks(ctx, n, RowsPerChunk(operands.m),
            [&](int64_t, int64_t begin, int64_t end) { loop(operands, begin, end); });
  return absl::OkStatus();
}

}  // namespace

absl::Status SoftmaxForward(Context& ctx, const Tensor& x, const Tensor& y) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SoftmaxForward");
  if (!check.Rank("x", x, 2).Has("y", y, x.shape()).ok()) return check.status();
  PAGODA_ON_GPU(ctx, SoftmaxForwardGpu(ctx, x, y));
  return RunRows(ctx, RunSoftmaxRows, {.m = x.dim(1), .x = x.data<float>(), .out = y.data<float>()},
                 x.dim(0));
}

absl::Status MaskedSoftmaxForward(Context& ctx, const Tensor& x, const Tensor& counts,
                                  const Tensor& y) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "MaskedSoftmaxForward");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  check.Has("counts", counts, {x.dim(0)}, DType::kI32).Has("y", y, x.shape());
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, MaskedSoftmaxForwardGpu(ctx, x, counts, y));
  return RunRows(ctx, RunMaskedSoftmaxRows,
                 {.m = x.dim(1),
                  .x = x.data<float>(),
                  .counts = counts.data<int32_t>(),
                  .out = y.data<float>()},
                 x.dim(0));
}

absl::Status SoftmaxBackward(Context& ctx, const Tensor& y, const Tensor& dy, const Tensor& dx) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SoftmaxBackward");
  check.Rank("y", y, 2).Has("dy", dy, y.shape()).Has("dx", dx, y.shape());
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, SoftmaxBackwardGpu(ctx, y, dy, dx));
  return RunRows(
      ctx, RunSoftmaxSlopeRows,
      {.m = y.dim(1), .y = y.data<float>(), .dy = dy.data<float>(), .out = dx.data<float>()},
      y.dim(0));
}

absl::Status SoftmaxCrossEntropyForward(Context& ctx, const Tensor& x, const Tensor& targets,
                                        const Tensor& weights, const Tensor& loss,
                                        const Tensor& probabilities) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SoftmaxCrossEntropyForward");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  const int64_t n = x.dim(0), m = x.dim(1);
  check.Has("targets", targets, {n}, DType::kI32).HasOrAbsent("weights", weights, {n});
  check.Has("loss", loss, {n}).Has("probabilities", probabilities, {n, m});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, SoftmaxCrossEntropyForwardGpu(ctx, x, targets, weights, loss, probabilities));
  return RunRows(ctx, RunCrossEntropyRows,
                 {.m = m,
                  .x = x.data<float>(),
                  .targets = targets.data<int32_t>(),
                  .weights = weights.data<float>(),
                  .loss = loss.data<float>(),
                  .out = probabilities.data<float>()},
                 n);
}

absl::Status SoftmaxCrossEntropyBackward(Context& ctx, const Tensor& probabilities,
                                         const Tensor& targets, const Tensor& weights,
                                         const Tensor& dloss, const Tensor& dx) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SoftmaxCrossEntropyBackward");
  if (!check.Rank("probabilities", probabilities, 2).ok()) return check.status();
  const int64_t n = probabilities.dim(0), m = probabilities.dim(1);
  check.Has("targets", targets, {n}, DType::kI32).HasOrAbsent("weights", weights, {n});
  check.Has("dloss", dloss, {n}).Has("dx", dx, {n, m});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx,
                SoftmaxCrossEntropyBackwardGpu(ctx, probabilities, targets, weights, dloss, dx));
  return RunRows(ctx, RunCrossEntropySlopeRows,
                 {.m = m,
                  .y = probabilities.data<float>(),
                  .targets = targets.data<int32_t>(),
                  .weights = weights.data<float>(),
                  .dloss = dloss.data<float>(),
                  .out = dx.data<float>()},
                 n);
}

}  // namespace pagoda
