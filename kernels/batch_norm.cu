// Bound by memory: training reads x three times (sum, squared deviations, output), backward
// reads x and dy twice. Column sums are double, in pieces of rows that are added in order.
#include "kernels/batch_norm_gpu.h"

#include "kernels/gpu_column_sum.h"
#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

__device__ inline void Move(float* running, float momentum, double batch) {
  *running =
      static_cast<float>((1.0 - double{momentum}) * double{*running} + double{momentum} * batch);
}

struct SumTerms {
  const float* x;
  int64_t d;
  template <int kPack>
  __device__ void operator()(int64_t i, int64_t j, double (&values)[1][kPack]) const {
    const FloatPack<kPack> v = LoadPack<kPack>(x + i * d + j);
    GPU_UNROLL
    for (int c = 0; c < kPack; ++c) values[0][c] = double{v.v[c]};
  }
};
// Mean of a column, into saved_mean and the running one.
struct TakeMean {
  double count;
  bool moves;
  float momentum;
  float* saved;
  float* running;
  __device__ void operator()(int64_t j, const double (&sums)[1]) const {
    const double mean = sums[0] / count;
    saved[j] = static_cast<float>(mean);
    if (moves) Move(running + j, momentum, mean);
  }
};

struct DeviationTerms {
  const float* x;
  const float* mean;
  int64_t d;
  template <int kPack>
  __device__ void operator()(int64_t i, int64_t j, double (&values)[1][kPack]) const {
    const FloatPack<kPack> v = LoadPack<kPack>(x + i * d + j);
    const FloatPack<kPack> center = LoadPack<kPack>(mean + j);
    GPU_UNROLL
    for (int c = 0; c < kPack; ++c) {
      const float deviation = v.v[c] - center.v[c];
      values[0][c] = double{deviation * deviation};
    }
  }
};
struct TakeVariance {
  double count;
  bool moves;
  float momentum;
  double epsilon;
  float* inv_std;
  float* running;
  __device__ void operator()(int64_t j, const double (&sums)[1]) const {
    inv_std[j] = static_cast<float>(1.0 / sqrt(sums[0] / count + epsilon));
    if (moves) Move(running + j, momentum, sums[0] / (count - 1.0));
  }
};

__global__ void __launch_bounds__(kGpuThreads)
    InverseStdKernel(const float* variance, double epsilon, float* inv_std, int64_t d) {
  const int64_t j = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (j < d) inv_std[j] = static_cast<float>(1.0 / sqrt(double{variance[j]} + epsilon));
}

// y = (x - mean) * (gamma * inv_std) + beta.
struct Outputs {
  const float* x;
  const float* gamma;
  const float* beta;
  const float* mean;
  const float* inv_std;
  float* y;
  int64_t n, d;
  unsigned group;
};
template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) OutputKernel(const Outputs o) {
  ForRowPacks<kPack>(o.n, o.d, o.group, [&](int64_t i, int64_t j) {
    FloatPack<kPack> v = LoadPack<kPack>(o.x + i * o.d + j);
    const FloatPack<kPack> mean = LoadPack<kPack>(o.mean + j);
    const FloatPack<kPack> inv_std = LoadPack<kPack>(o.inv_std + j);
    const FloatPack<kPack> gamma = LoadPack<kPack>(o.gamma + j);
    const FloatPack<kPack> beta = LoadPack<kPack>(o.beta + j);
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) {
      v.v[k] = (v.v[k] - mean.v[k]) * (gamma.v[k] * inv_std.v[k]) + beta.v[k];
    }
    StorePack(v, o.y + i * o.d + j);
  });
}

struct GradientTerms {
  const float* x;
  const float* dy;
  const float* mean;
  const float* inv_std;
  int64_t d;
  template <int kPack>
  __device__ void operator()(int64_t i, int64_t j, double (&values)[2][kPack]) const {
    const FloatPack<kPack> v = LoadPack<kPack>(x + i * d + j);
    const FloatPack<kPack> slope = LoadPack<kPack>(dy + i * d + j);
    const FloatPack<kPack> center = LoadPack<kPack>(mean + j);
    const FloatPack<kPack> scale = LoadPack<kPack>(inv_std + j);
    GPU_UNROLL
    for (int c = 0; c < kPack; ++c) {
      values[0][c] = double{slope.v[c]};
      values[1][c] = double{slope.v[c] * ((v.v[c] - center.v[c]) * scale.v[c])};
    }
  }
};
// Adds to dgamma and dbeta, and keeps what dx is made of:
// dx = gamma / std * (dy - sum(dy) / n - xhat * sum(dy * xhat) / n).
struct TakeGradients {
  const float* gamma;
  const float* inv_std;
  double count;
  float* dgamma;  // Null: not wanted.
  float* dbeta;
  float* parts;  // [3, d]: factor of dy, slope of x - mean, offset.
  int64_t d;
  __device__ void operator()(int64_t j, const double (&sums)[2]) const {
    if (dgamma != nullptr) dgamma[j] += static_cast<float>(sums[1]);
    if (dbeta != nullptr) dbeta[j] += static_cast<float>(sums[0]);
    const double std = double{inv_std[j]};
    const double scale = double{gamma[j]} * std;
    parts[j] = static_cast<float>(scale);
    parts[d + j] = static_cast<float>(-scale * std * sums[1] / count);
    parts[2 * d + j] = static_cast<float>(-scale * sums[0] / count);
  }
};

struct InputGradients {
  const float* x;
  const float* dy;
  const float* mean;
  const float* parts;
  float* dx;
  int64_t n, d;
  unsigned group;
};
template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) InputGradientKernel(const InputGradients g) {
  ForRowPacks<kPack>(g.n, g.d, g.group, [&](int64_t i, int64_t j) {
    const FloatPack<kPack> x = LoadPack<kPack>(g.x + i * g.d + j);
    FloatPack<kPack> slope = LoadPack<kPack>(g.dy + i * g.d + j);
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) {
      slope.v[k] = g.parts[j + k] * slope.v[k] +
                   ((x.v[k] - g.mean[j + k]) * g.parts[g.d + j + k] + g.parts[2 * g.d + j + k]);
    }
    AccumulatePack(1.0f, slope, g.dx + i * g.d + j);
  });
}

absl::Status WriteOutput(Context& ctx, const char* name, Outputs outputs) {
  if (outputs.n * outputs.d == 0) return absl::OkStatus();
  const bool by_four = RowsMoveByFour(outputs.d, {outputs.x, outputs.gamma, outputs.beta,
                                                  outputs.mean, outputs.inv_std, outputs.y});
  outputs.group = RowGroup(outputs.d / (by_four ? 4 : 1), kGpuThreads);
  return LaunchKernel(ctx, name, by_four ? OutputKernel<4> : OutputKernel<1>,
                      GpuBlocks(outputs.n, kGpuThreads / outputs.group), kGpuThreads, 0, outputs);
}

}  // namespace

absl::Status BatchNormTrainGpu(Context& ctx, const Tensor& x, const Tensor& gamma,
                               const Tensor& beta, const BatchNormArgs& args,
                               const Tensor& running_mean, const Tensor& running_var,
                               const Tensor& y, const Tensor& saved_mean,
                               const Tensor& saved_inv_std) {
  const int64_t n = x.dim(0), d = x.dim(1);
  const double count = static_cast<double>(n > 0 ? n : 1);
  PAGODA_RETURN_IF_ERROR((SumColumnsOnGpu<1, double>(
      ctx, "BatchNormTrain", n, d, RowsMoveByFour(d, {x.raw()}), SumTerms{x.data<float>(), d},
      TakeMean{count, n > 0, args.momentum, saved_mean.data<float>(),
               running_mean.data<float>()})));
  PAGODA_RETURN_IF_ERROR((SumColumnsOnGpu<1, double>(
      ctx, "BatchNormTrain", n, d, RowsMoveByFour(d, {x.raw(), saved_mean.raw()}),
      DeviationTerms{x.data<float>(), saved_mean.data<float>(), d},
      TakeVariance{count, n > 1, args.momentum, double{args.epsilon}, saved_inv_std.data<float>(),
                   running_var.data<float>()})));
  return WriteOutput(
      ctx, "BatchNormTrain",
      {x.data<float>(), gamma.data<float>(), beta.data<float>(), saved_mean.data<float>(),
       saved_inv_std.data<float>(), y.data<float>(), n, d, 1});
}

absl::Status BatchNormInferGpu(Context& ctx, const Tensor& x, const Tensor& gamma,
                               const Tensor& beta, const BatchNormArgs& args,
                               const Tensor& running_mean, const Tensor& running_var,
                               const Tensor& y) {
  const int64_t d = x.dim(1);
  if (x.size() == 0) return absl::OkStatus();
  PAGODA_ASSIGN_OR_RETURN(const Tensor inv_std, ctx.Empty({d}));
  PAGODA_RETURN_IF_ERROR(LaunchKernel(ctx, "BatchNormInfer", InverseStdKernel,
                                      static_cast<unsigned>((d + kGpuThreads - 1) / kGpuThreads),
                                      kGpuThreads, 0, running_var.data<float>(),
                                      double{args.epsilon}, inv_std.data<float>(), d));
  return WriteOutput(
      ctx, "BatchNormInfer",
      {x.data<float>(), gamma.data<float>(), beta.data<float>(), running_mean.data<float>(),
       inv_std.data<float>(), y.data<float>(), x.dim(0), d, 1});
}

absl::Status BatchNormBackwardGpu(Context& ctx, const Tensor& x, const Tensor& gamma,
                                  const Tensor& saved_mean, const Tensor& saved_inv_std,
                                  const Tensor& dy, const Tensor& dx, const Tensor& dgamma,
                                  const Tensor& dbeta) {
  const int64_t n = x.dim(0), d = x.dim(1);
  PAGODA_ASSIGN_OR_RETURN(const Tensor parts, ctx.Empty({3, d}));
  PAGODA_RETURN_IF_ERROR((SumColumnsOnGpu<2, double>(
      ctx, "BatchNormBackward", n, d,
      RowsMoveByFour(d, {x.raw(), dy.raw(), saved_mean.raw(), saved_inv_std.raw()}),
      GradientTerms{x.data<float>(), dy.data<float>(), saved_mean.data<float>(),
                    saved_inv_std.data<float>(), d},
      TakeGradients{gamma.data<float>(), saved_inv_std.data<float>(),
                    static_cast<double>(n > 0 ? n : 1), dgamma.data<float>(), dbeta.data<float>(),
                    parts.data<float>(), d})));
  if (dx.absent() || n * d == 0) return absl::OkStatus();
  InputGradients gradients = {x.data<float>(),
                              dy.data<float>(),
                              saved_mean.data<float>(),
                              parts.data<float>(),
                              dx.data<float>(),
                              n,
                              d,
                              1};
  const bool by_four = RowsMoveByFour(d, {gradients.x, gradients.dy, gradients.dx});
  gradients.group = RowGroup(d / (by_four ? 4 : 1), kGpuThreads);
  return LaunchKernel(ctx, "BatchNormBackward",
                      by_four ? InputGradientKernel<4> : InputGradientKernel<1>,
                      GpuBlocks(n, kGpuThreads / gradients.group), kGpuThreads, 0, gradients);
}

}  // namespace pagoda
