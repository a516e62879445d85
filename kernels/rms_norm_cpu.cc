// One row at a time, which stays in cache between its passes: bound by memory, x is
// read once forward, x and dy once backward.
#include "kernels/rms_norm.h"

#include <cmath>

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/norm_rows.h"
#include "kernels/rms_norm_gpu.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

struct Operands {
  int64_t d = 0;
  const float* x = nullptr;
  const float* gamma = nullptr;
  float epsilon = 0.0f;
  float* y = nullptr;
  float* inv_rms = nullptr;
  const float* dy = nullptr;
  float* dx = nullptr;
  float* dgamma_sum = nullptr;  // Sums of the rows of this call.
};

template <int kLanes>
PAGODA_INLINE void ForwardRows(const Operands& o, int64_t begin, int64_t end) {
  const float inverse_d = o.d > 0 ? 1.0f / static_cast<float>(o.d) : 0.0f;
  for (int64_t i = begin; i < end; ++i) {
    const float* x = o.x + i * o.d;
    float* y = o.y + i * o.d;
    const float inv_rms = 1.0f / std::sqrt(DotOf<kLanes>(x, x, o.d) * inverse_d + o.epsilon);
    o.inv_rms[i] = inv_rms;
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.d; ++j) y[j] = x[j] * inv_rms * o.gamma[j];
  }
}
PAGODA_VECTOR_VERSIONS(ForwardRows, Operands)

// With g = dy * gamma and xhat = x * inv_rms: dx += inv_rms * (g - xhat * mean(g * xhat)).
template <int kLanes>
PAGODA_INLINE void AddInputGradient(const Operands& o, int64_t begin, int64_t end) {
  const float inverse_d = o.d > 0 ? 1.0f / static_cast<float>(o.d) : 0.0f;
  for (int64_t i = begin; i < end; ++i) {
    const float* x = o.x + i * o.d;
    const float* dy = o.dy + i * o.d;
    float* dx = o.dx + i * o.d;
    const float inv_rms = o.inv_rms[i];
    const float g_xhat_mean =
        SumOver<kLanes>(
            o.d,
            [&](auto lanes, int64_t c, auto& sum) __attribute__((always_inline)) {
              constexpr int k = decltype(lanes)::value;
              const Lanes<k> g = *At<k>(dy + c) * *At<k>(o.gamma + c);
              sum += g * (*At<k>(x + c) * inv_rms);
            }) *
        inverse_d;
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.d; ++j) {
      dx[j] += inv_rms * (dy[j] * o.gamma[j] - x[j] * inv_rms * g_xhat_mean);
    }
  }
}
PAGODA_VECTOR_VERSIONS(AddInputGradient, Operands)

template <int kLanes>
PAGODA_INLINE void AddParameterGradient(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* x = o.x + i * o.d;
    const float* dy = o.dy + i * o.d;
    const float inv_rms = o.inv_rms[i];
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.d; ++j) o.dgamma_sum[j] += dy[j] * (x[j] * inv_rms);
  }
}
PAGODA_VECTOR_VERSIONS(AddParameterGradient, Operands)

}  // namespace

absl::Status RmsNormForward(Context& ctx, const Tensor& x, const Tensor& gamma, float epsilon,
                            const Tensor& y, const Tensor& saved_inv_rms) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "RmsNormForward");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  const int64_t n = x.dim(0), d = x.dim(1);
  check.Has("gamma", gamma, {d}).Has("y", y, {n, d}).Has("saved_inv_rms", saved_inv_rms, {n});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, RmsNormForwardGpu(ctx, x, gamma, epsilon, y, saved_inv_rms));
  const Operands operands{.d = d,
                          .x = x.data<float>(),
                          .gamma = gamma.data<float>(),
                          .epsilon = epsilon,
                          .y = y.data<float>(),
                          .inv_rms = saved_inv_rms.data<float>()};
  ForChunks(ctx, n, RowsPerChunk(d),
            [&](int64_t, int64_t begin, int64_t end) { RunForwardRows(operands, begin, end); });
  return absl::OkStatus();
}

absl::Status RmsNormBackward(Context& ctx, const Tensor& x, const Tensor& gamma,
                             const Tensor& saved_inv_rms, const Tensor& dy, const Tensor& dx,
                             const Tensor& dgamma) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "RmsNormBackward");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  const int64_t n = x.dim(0), d = x.dim(1);
  check.Has("gamma", gamma, {d}).Has("saved_inv_rms", saved_inv_rms, {n}).Has("dy", dy, {n, d});
  check.HasOrAbsent("dx", dx, {n, d}).HasOrAbsent("dgamma", dgamma, {d});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, RmsNormBackwardGpu(ctx, x, gamma, saved_inv_rms, dy, dx, dgamma));

  const int64_t num_chunks = NumChunks(n, kReduceRows);
  Tensor sums;  // [num_chunks, d]
  if (!dgamma.absent()) {
    PAGODA_ASSIGN_OR_RETURN(sums, ctx.Zeros({num_chunks, d}));
  }
  ForChunks(ctx, n, kReduceRows, [&](int64_t index, int64_t begin, int64_t end) {
    Operands operands{.d = d,
                      .x = x.data<float>(),
                      .gamma = gamma.data<float>(),
                      .inv_rms = saved_inv_rms.data<float>(),
                      .dy = dy.data<float>(),
                      .dx = dx.data<float>()};
    if (!dgamma.absent()) operands.dgamma_sum = sums.data<float>() + index * d;
    ForFewRows(begin, end, [&](int64_t first, int64_t last) {
      if (operands.dgamma_sum != nullptr) RunAddParameterGradient(operands, first, last);
      if (operands.dx != nullptr) RunAddInputGradient(operands, first, last);
    });
  });
  if (!dgamma.absent()) AddChunkSums(sums.data<float>(), num_chunks, d, dgamma);
  return absl::OkStatus();
}

}  // namespace pagoda
