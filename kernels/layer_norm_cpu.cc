// One row at a time, which stays in cache between its passes: x is read from
// memory once forward, x and dy once backward.
#include "kernels/layer_norm.h"

#include <cmath>

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/layer_norm_gpu.h"
#include "kernels/norm_rows.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

struct Operands {
  int64_t d = 0;
  const float* x = nullptr;
  const float* gamma = nullptr;
  const float* beta = nullptr;
  float epsilon = 0.0f;
  float* y = nullptr;
  float* mean = nullptr;
  float* inv_std = nullptr;
  const float* dy = nullptr;
  float* dx = nullptr;          // Null: not wanted.
  float* dgamma_sum = nullptr;  // Sums of the rows of this call.
  float* dbeta_sum = nullptr;
};

template <int kLanes>
PAGODA_INLINE void ForwardRows(const Operands& o, int64_t begin, int64_t end) {
  const float inverse_d = o.d > 0 ? 1.0f / static_cast<float>(o.d) : 0.0f;
  for (int64_t i = begin; i < end; ++i) {
    const float* x = o.x + i * o.d;
    float* y = o.y + i * o.d;
    const float mean = SumOf<kLanes>(x, o.d) * inverse_d;
    const float variance = SquaredDeviationOf<kLanes>(x, mean, o.d) * inverse_d;
    const float inv_std = 1.0f / std::sqrt(variance + o.epsilon);
    o.mean[i] = mean;
    o.inv_std[i] = inv_std;
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.d; ++j) y[j] = (x[j] - mean) * inv_std * o.gamma[j] + o.beta[j];
  }
}
PAGODA_VECTOR_VERSIONS(ForwardRows, Operands)

// With g = dy * gamma: dx += inv_std * (g - mean(g) - xhat * mean(g * xhat)).
template <int kLanes>
PAGODA_INLINE void AddInputGradient(const Operands& o, int64_t begin, int64_t end) {
  const float inverse_d = o.d > 0 ? 1.0f / static_cast<float>(o.d) : 0.0f;
  for (int64_t i = begin; i < end; ++i) {
    const float* x = o.x + i * o.d;
    const float* dy = o.dy + i * o.d;
    float* dx = o.dx + i * o.d;
    const float mean = o.mean[i];
    const float inv_std = o.inv_std[i];
    const float g_mean = DotOf<kLanes>(dy, o.gamma, o.d) * inverse_d;
    const float g_xhat_mean =
        SumOver<kLanes>(
            o.d,
            [&](auto lanes, int64_t c, auto& sum) __attribute__((always_inline)) {
              constexpr int k = decltype(lanes)::value;
              const Lanes<k> g = *At<k>(dy + c) * *At<k>(o.gamma + c);
              sum += g * ((*At<k>(x + c) - mean) * inv_std);
            }) *
        inverse_d;
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.d; ++j) {
      const float xhat = (x[j] - mean) * inv_std;
      dx[j] += inv_std * (dy[j] * o.gamma[j] - g_mean - xhat * g_xhat_mean);
    }
  }
}
PAGODA_VECTOR_VERSIONS(AddInputGradient, Operands)

template <int kLanes>
PAGODA_INLINE void AddParameterGradients(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* x = o.x + i * o.d;
    const float* dy = o.dy + i * o.d;
    const float mean = o.mean[i];
    const float inv_std = o.inv_std[i];
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.d; ++j) {
      o.dgamma_sum[j] += dy[j] * ((x[j] - mean) * inv_std);
      o.dbeta_sum[j] += dy[j];
    }
  }
}
PAGODA_VECTOR_VERSIONS(AddParameterGradients, Operands)

}  // namespace

absl::Status LayerNormForward(Context& ctx, const Tensor& x, const Tensor& gamma,
                              const Tensor& beta, float epsilon, const Tensor& y,
                              const Tensor& saved_mean, const Tensor& saved_inv_std) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "LayerNormForward");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  const int64_t n = x.dim(0), d = x.dim(1);
  check.Has("gamma", gamma, {d}).Has("beta", beta, {d}).Has("y", y, {n, d});
  check.Has("saved_mean", saved_mean, {n}).Has("saved_inv_std", saved_inv_std, {n});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx,
                LayerNormForwardGpu(ctx, x, gamma, beta, epsilon, y, saved_mean, saved_inv_std));
  const Operands operands{.d = d,
                          .x = x.data<float>(),
                          .gamma = gamma.data<float>(),
                          .beta = beta.data<float>(),
                          .epsilon = epsilon,
                          .y = y.data<float>(),
                          .mean = saved_mean.data<float>(),
                          .inv_std = saved_inv_std.data<float>()};
  ForChunks(ctx, n, RowsPerChunk(d),
            [&](int64_t, int64_t begin, int64_t end) { RunForwardRows(operands, begin, end); });
  return absl::OkStatus();
}

absl::Status LayerNormBackward(Context& ctx, const Tensor& x, const Tensor& gamma,
                               const Tensor& saved_mean, const Tensor& saved_inv_std,
                               const Tensor& dy, const Tensor& dx, const Tensor& dgamma,
                               const Tensor& dbeta) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "LayerNormBackward");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  const int64_t n = x.dim(0), d = x.dim(1);
  check.Has("gamma", gamma, {d}).Has("saved_mean", saved_mean, {n});
  check.Has("saved_inv_std", saved_inv_std, {n}).Has("dy", dy, {n, d});
  check.HasOrAbsent("dx", dx, {n, d}).HasOrAbsent("dgamma", dgamma, {d});
  check.HasOrAbsent("dbeta", dbeta, {d});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(
      ctx, LayerNormBackwardGpu(ctx, x, gamma, saved_mean, saved_inv_std, dy, dx, dgamma, dbeta));

  const bool parameters = !dgamma.absent() || !dbeta.absent();
  const int64_t num_chunks = NumChunks(n, kReduceRows);
  Tensor sums;  // [num_chunks, 2, d]: of dy * xhat, and of dy.
  if (parameters) {
    PAGODA_ASSIGN_OR_RETURN(sums, ctx.Zeros({num_chunks, 2, d}));
  }
  ForChunks(ctx, n, kReduceRows, [&](int64_t index, int64_t begin, int64_t end) {
    Operands operands{.d = d,
                      .x = x.data<float>(),
                      .gamma = gamma.data<float>(),
                      .mean = saved_mean.data<float>(),
                      .inv_std = saved_inv_std.data<float>(),
                      .dy = dy.data<float>(),
                      .dx = dx.data<float>()};
    if (parameters) {
      operands.dgamma_sum = sums.data<float>() + 2 * index * d;
      operands.dbeta_sum = operands.dgamma_sum + d;
    }
    ForFewRows(begin, end, [&](int64_t first, int64_t last) {
      if (parameters) RunAddParameterGradients(operands, first, last);
      if (operands.dx != nullptr) RunAddInputGradient(operands, first, last);
    });
  });
  if (parameters) {
    AddChunkSums(sums.data<float>(), num_chunks, 2 * d, dgamma);
    AddChunkSums(sums.data<float>() + d, num_chunks, 2 * d, dbeta);
  }
  return absl::OkStatus();
}

}  // namespace pagoda
