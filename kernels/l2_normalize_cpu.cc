// Row by row: a row is read from memory once and revisited in cache.
#include "kernels/l2_normalize.h"

#include <cmath>

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/l2_normalize_gpu.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

struct Operands {
  int64_t d = 0;
  const float* in = nullptr;  // x forward, y backward.
  const float* dy = nullptr;
  float epsilon = 0.0f;
  float* norms = nullptr;
  float* out = nullptr;
};

template <int kLanes>
PAGODA_INLINE void ForwardRows(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* x = o.in + i * o.d;
    float* y = o.out + i * o.d;
    const float norm = std::sqrt(DotOf<kLanes>(x, x, o.d) + o.epsilon);
    const float inverse = 1.0f / norm;
    o.norms[i] = norm;
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.d; ++j) y[j] = x[j] * inverse;
  }
}
PAGODA_VECTOR_VERSIONS(ForwardRows, Operands)

// dx += (dy - y * <y, dy>) / norm.
template <int kLanes>
PAGODA_INLINE void BackwardRows(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* y = o.in + i * o.d;
    const float* dy = o.dy + i * o.d;
    float* dx = o.out + i * o.d;
    const float inverse = 1.0f / o.norms[i];
    const float dot = DotOf<kLanes>(y, dy, o.d);
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.d; ++j) dx[j] += (dy[j] - y[j] * dot) * inverse;
  }
}
PAGODA_VECTOR_VERSIONS(BackwardRows, Operands)

}  // namespace

absl::Status L2NormalizeForward(Context& ctx, const Tensor& x, float epsilon, const Tensor& y,
                                const Tensor& norms) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "L2NormalizeForward");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  const int64_t n = x.dim(0), d = x.dim(1);
  if (!check.Has("y", y, {n, d}).Has("norms", norms, {n}).ok()) return check.status();
  PAGODA_ON_GPU(ctx, L2NormalizeForwardGpu(ctx, x, epsilon, y, norms));
  const Operands operands{.d = d,
                          .in = x.data<float>(),
                          .epsilon = epsilon,
                          .norms = norms.data<float>(),
                          .out = y.data<float>()};
  ForChunks(ctx, n, RowsPerChunk(d),
            [&](int64_t, int64_t begin, int64_t end) { RunForwardRows(operands, begin, end); });
  return absl::OkStatus();
}

absl::Status L2NormalizeBackward(Context& ctx, const Tensor& y, const Tensor& norms,
                                 const Tensor& dy, const Tensor& dx) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "L2NormalizeBackward");
  if (!check.Rank("y", y, 2).ok()) return check.status();
  const int64_t n = y.dim(0), d = y.dim(1);
  check.Has("norms", norms, {n}).Has("dy", dy, {n, d}).Has("dx", dx, {n, d});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, L2NormalizeBackwardGpu(ctx, y, norms, dy, dx));
  const Operands operands{.d = d,
                          .in = y.data<float>(),
                          .dy = dy.data<float>(),
                          .norms = norms.data<float>(),
                          .out = dx.data<float>()};
  ForChunks(ctx, n, RowsPerChunk(d),
            [&](int64_t, int64_t begin, int64_t end) { RunBackwardRows(operands, begin, end); });
  return absl::OkStatus();
}

}  // namespace pagoda
