// Each pass over x is bound by memory: training reads x three times (sum, squared
// deviations, output), backward reads x and dy twice. Column sums are f32 within
// a chunk of rows and double across chunks, in chunk order.
#include "kernels/batch_norm.h"

#include <cmath>
#include <vector>

#include "kernels/batch_norm_gpu.h"
#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

struct Operands {
  int64_t d = 0;
  const float* x = nullptr;
  const float* dy = nullptr;
  const float* mean = nullptr;
  const float* inv_std = nullptr;
  // The output is slope[j] * x + offset[j], plus factor[j] * dy in the backward pass.
  const float* slope = nullptr;
  const float* offset = nullptr;
  const float* factor = nullptr;
  float* sum = nullptr;
  float* sum2 = nullptr;
  float* out = nullptr;
};

template <int kLanes>
PAGODA_INLINE void AddColumnSums(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* x = o.x + i * o.d;
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.d; ++j) o.sum[j] += x[j];
  }
}
PAGODA_VECTOR_VERSIONS(AddColumnSums, Operands)

template <int kLanes>
PAGODA_INLINE void AddSquaredDeviations(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* x = o.x + i * o.d;
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.d; ++j) {
      const float deviation = x[j] - o.mean[j];
      o.sum[j] += deviation * deviation;
    }
  }
}
PAGODA_VECTOR_VERSIONS(AddSquaredDeviations, Operands)

template <int kLanes>
PAGODA_INLINE void Normalize(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* x = o.x + i * o.d;
    float* out = o.out + i * o.d;
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.d; ++j) out[j] = (x[j] - o.mean[j]) * o.slope[j] + o.offset[j];
  }
}
PAGODA_VECTOR_VERSIONS(Normalize, Operands)

// sum += dy; sum2 += dy * (x - mean) / std.
template <int kLanes>
PAGODA_INLINE void AddGradientSums(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* x = o.x + i * o.d;
    const float* dy = o.dy + i * o.d;
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.d; ++j) {
      o.sum[j] += dy[j];
      o.sum2[j] += dy[j] * ((x[j] - o.mean[j]) * o.inv_std[j]);
    }
  }
}
PAGODA_VECTOR_VERSIONS(AddGradientSums, Operands)

template <int kLanes>
PAGODA_INLINE void AddInputGradient(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* x = o.x + i * o.d;
    const float* dy = o.dy + i * o.d;
    float* out = o.out + i * o.d;
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.d; ++j) {
      out[j] += o.factor[j] * dy[j] + ((x[j] - o.mean[j]) * o.slope[j] + o.offset[j]);
    }
  }
}
PAGODA_VECTOR_VERSIONS(AddInputGradient, Operands)

using Loop = void (*)(const Operands&, int64_t begin, int64_t end);

// Runs `loop` on chunks of rows with sums of their own, and adds those in chunk
// order. [width, d] sums, where width is 1 (sum) or 2 (sum and sum2).
absl::StatusOr<std::vector<double>> ColumnSums(Context& ctx, Loop loop, const Operands& operands,
                                               int64_t n, int64_t width) {
  const int64_t d = operands.d;
  const int64_t num_chunks = NumChunks(n, kReduceRows);
  PAGODA_ASSIGN_OR_RETURN(Tensor partials, ctx.Zeros({num_chunks, width, d}));
  ForChunks(ctx, n, kReduceRows, [&](int64_t index, int64_t begin, int64_t end) {
    Operands chunk = operands;
    chunk.sum = partials.data<float>() + index * width * d;
    chunk.sum2 = chunk.sum + d;
    loop(chunk, begin, end);
  });
  std::vector<double> sums(static_cast<size_t>(width * d), 0.0);
  const float* partial = partials.data<float>();
  for (int64_t c = 0; c < num_chunks; ++c) {
    for (size_t j = 0; j < sums.size(); ++j) sums[j] += static_cast<double>(*partial++);
  }
  return sums;
}

void RunRows(Context& ctx, Loop loop, const Operands& operands, int64_t n) {
  ForChunks(ctx, n, RowsPerChunk(operands.d),
            [&](int64_t, int64_t begin, int64_t end) { loop(operands, begin, end); });
}

ArgumentCheck CheckForward(Context& ctx, const char* op, const Tensor& x, const Tensor& gamma,
                           const Tensor& beta, const Tensor& running_mean,
                           const Tensor& running_var, const Tensor& y) {
  ArgumentCheck check(ctx, op);
  if (!check.Rank("x", x, 2).ok()) return check;
  const int64_t d = x.dim(1);
  check.Has("gamma", gamma, {d}).Has("beta", beta, {d}).Has("running_mean", running_mean, {d});
  check.Has("running_var", running_var, {d}).Has("y", y, x.shape());
  return check;
}

// y = (x - mean) * (gamma * inv_std) + beta.
void WriteOutput(Context& ctx, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                 const float* mean, const float* inv_std, const Tensor& y) {
  const int64_t d = x.dim(1);
  std::vector<float> slope(static_cast<size_t>(d));
  for (int64_t j = 0; j < d; ++j) {
    slope[static_cast<size_t>(j)] = gamma.data<float>()[j] * inv_std[j];
  }
  RunRows(ctx, RunNormalize,
          {.d = d,
           .x = x.data<float>(),
           .mean = mean,
           .slope = slope.data(),
           .offset = beta.data<float>(),
           .out = y.data<float>()},
          x.dim(0));
}

// running <- (1 - momentum) * running + momentum * batch.
void Move(float* running, float momentum, double batch) {
  *running =
      static_cast<float>((1.0 - static_cast<double>(momentum)) * static_cast<double>(*running) +
                         static_cast<double>(momentum) * batch);
}

}  // namespace

absl::Status BatchNormTrain(Context& ctx, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                            const BatchNormArgs& args, const Tensor& running_mean,
                            const Tensor& running_var, const Tensor& y, const Tensor& saved_mean,
                            const Tensor& saved_inv_std) {
  KernelScope scope(ctx);
  ArgumentCheck check =
      CheckForward(ctx, "BatchNormTrain", x, gamma, beta, running_mean, running_var, y);
  if (!check.ok()) return check.status();
  const int64_t n = x.dim(0), d = x.dim(1);
  check.Has("saved_mean", saved_mean, {d}).Has("saved_inv_std", saved_inv_std, {d});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, BatchNormTrainGpu(ctx, x, gamma, beta, args, running_mean, running_var, y,
                                       saved_mean, saved_inv_std));

  const double count = static_cast<double>(n > 0 ? n : 1);
  Operands operands{.d = d, .x = x.data<float>(), .mean = saved_mean.data<float>()};
  PAGODA_ASSIGN_OR_RETURN(const std::vector<double> sums,
                          ColumnSums(ctx, RunAddColumnSums, operands, n, 1));
  for (int64_t j = 0; j < d; ++j) {
    const double mean = sums[static_cast<size_t>(j)] / count;
    saved_mean.data<float>()[j] = static_cast<float>(mean);
    if (n > 0) Move(running_mean.data<float>() + j, args.momentum, mean);
  }
  PAGODA_ASSIGN_OR_RETURN(const std::vector<double> squares,
                          ColumnSums(ctx, RunAddSquaredDeviations, operands, n, 1));
  for (int64_t j = 0; j < d; ++j) {
    const double square = squares[static_cast<size_t>(j)];
    saved_inv_std.data<float>()[j] =
        static_cast<float>(1.0 / std::sqrt(square / count + static_cast<double>(args.epsilon)));
    if (n > 1) Move(running_var.data<float>() + j, args.momentum, square / (count - 1.0));
  }
  WriteOutput(ctx, x, gamma, beta, saved_mean.data<float>(), saved_inv_std.data<float>(), y);
  return absl::OkStatus();
}

absl::Status BatchNormInfer(Context& ctx, const Tensor& x, const Tensor& gamma, const Tensor& beta,
                            const BatchNormArgs& args, const Tensor& running_mean,
                            const Tensor& running_var, const Tensor& y) {
  KernelScope scope(ctx);
  const ArgumentCheck check =
      CheckForward(ctx, "BatchNormInfer", x, gamma, beta, running_mean, running_var, y);
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, BatchNormInferGpu(ctx, x, gamma, beta, args, running_mean, running_var, y));
  std::vector<float> inv_std(static_cast<size_t>(x.dim(1)));
  for (size_t j = 0; j < inv_std.size(); ++j) {
    inv_std[j] =
        static_cast<float>(1.0 / std::sqrt(static_cast<double>(running_var.data<float>()[j]) +
                                           static_cast<double>(args.epsilon)));
  }
  WriteOutput(ctx, x, gamma, beta, running_mean.data<float>(), inv_std.data(), y);
  return absl::OkStatus();
}

absl::Status BatchNormBackward(Context& ctx, const Tensor& x, const Tensor& gamma,
                               const Tensor& saved_mean, const Tensor& saved_inv_std,
                               const Tensor& dy, const Tensor& dx, const Tensor& dgamma,
                               const Tensor& dbeta) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "BatchNormBackward");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  const int64_t n = x.dim(0), d = x.dim(1);
  check.Has("gamma", gamma, {d}).Has("saved_mean", saved_mean, {d});
  check.Has("saved_inv_std", saved_inv_std, {d}).Has("dy", dy, {n, d});
  check.HasOrAbsent("dx", dx, {n, d}).HasOrAbsent("dgamma", dgamma, {d});
  check.HasOrAbsent("dbeta", dbeta, {d});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(
      ctx, BatchNormBackwardGpu(ctx, x, gamma, saved_mean, saved_inv_std, dy, dx, dgamma, dbeta));

  Operands operands{.d = d,
                    .x = x.data<float>(),
                    .dy = dy.data<float>(),
                    .mean = saved_mean.data<float>(),
                    .inv_std = saved_inv_std.data<float>()};
  PAGODA_ASSIGN_OR_RETURN(const std::vector<double> sums,
                          ColumnSums(ctx, RunAddGradientSums, operands, n, 2));
  const double* dy_sum = sums.data();
  const double* dy_xhat_sum = sums.data() + d;
  for (int64_t j = 0; j < d; ++j) {
    if (!dgamma.absent()) dgamma.data<float>()[j] += static_cast<float>(dy_xhat_sum[j]);
    if (!dbeta.absent()) dbeta.data<float>()[j] += static_cast<float>(dy_sum[j]);
  }
  if (dx.absent() || n == 0) return absl::OkStatus();

  // dx = gamma / std * (dy - sum(dy) / n - xhat * sum(dy * xhat) / n).
  std::vector<float> factor(static_cast<size_t>(d)), slope(factor), offset(factor);
  for (size_t j = 0; j < factor.size(); ++j) {
    const double inv_std = static_cast<double>(operands.inv_std[j]);
    const double scale = static_cast<double>(gamma.data<float>()[j]) * inv_std;
    factor[j] = static_cast<float>(scale);
    slope[j] = static_cast<float>(-scale * inv_std * dy_xhat_sum[j] / static_cast<double>(n));
    offset[j] = static_cast<float>(-scale * dy_sum[j] / static_cast<double>(n));
  }
  operands.factor = factor.data();
  operands.slope = slope.data();
  operands.offset = offset.data();
  operands.out = dx.data<float>();
  RunRows(ctx, RunAddInputGradient, operands, n);
  return absl::OkStatus();
}

}  // namespace pagoda
