// Bound by memory: a warp has a row, which it reads again from L1. Forward 8 d bytes a row,
// backward 16 d, and 8 d more for the parameters' gradients, which are sums over columns.
#include "kernels/layer_norm_gpu.h"

#include "kernels/gpu_column_sum.h"
#include "kernels/gpu_reduce.h"
#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

struct Rows {
  const float* x;
  const float* gamma;
  const float* beta;  // Forward.
  const float* dy;    // Backward.
  float epsilon;
  float* mean;
  float* inv_std;
  float* out;
  int64_t n, d;
};

// The sum of term(c, k) over columns c + k of the row, in every lane.
template <int kPack, typename Term>
__device__ inline float RowSum(int64_t d, int lane, const Term& term) {
  float sum = 0.0f;
  for (int64_t c = int64_t{lane} * kPack; c < d; c += int64_t{kWarp} * kPack) sum += term(c);
  return WarpSum(sum);
}

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) ForwardKernel(const Rows r) {
  const float inverse_d = r.d > 0 ? 1.0f / static_cast<float>(r.d) : 0.0f;
  ForWarpRows(r.n, [&](int64_t i, int lane) {
    const float* const x = r.x + i * r.d;
    const float mean = RowSum<kPack>(r.d, lane,
                                     [&](int64_t c) {
                                       const FloatPack<kPack> v = LoadPack<kPack>(x + c);
                                       float sum = 0.0f;
                                       GPU_UNROLL
                                       for (int k = 0; k < kPack; ++k) sum += v.v[k];
                                       return sum;
                                     }) *
                       inverse_d;
    const float variance = RowSum<kPack>(r.d, lane,
                                         [&](int64_t c) {
                                           const FloatPack<kPack> v = LoadPack<kPack>(x + c);
                                           float sum = 0.0f;
                                           GPU_UNROLL
                                           for (int k = 0; k < kPack; ++k) {
                                             const float deviation = v.v[k] - mean;
                                             sum += deviation * deviation;
                                           }
                                           return sum;
                                         }) *
                           inverse_d;
    const float inv_std = 1.0f / sqrtf(variance + r.epsilon);
    if (lane == 0) {
      r.mean[i] = mean;
      r.inv_std[i] = inv_std;
    }
    for (int64_t c = int64_t{lane} * kPack; c < r.d; c += int64_t{kWarp} * kPack) {
      FloatPack<kPack> v = LoadPack<kPack>(x + c);
      const FloatPack<kPack> gamma = LoadPack<kPack>(r.gamma + c);
      const FloatPack<kPack> beta = LoadPack<kPack>(r.beta + c);
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) {
        v.v[k] = (v.v[k] - mean) * inv_std * gamma.v[k] + beta.v[k];
      }
      StorePack(v, r.out + i * r.d + c);
    }
  });
}

// With g = dy * gamma: dx += inv_std * (g - mean(g) - xhat * mean(g * xhat)).
template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) BackwardKernel(const Rows r) {
  const float inverse_d = r.d > 0 ? 1.0f / static_cast<float>(r.d) : 0.0f;
  ForWarpRows(r.n, [&](int64_t i, int lane) {
    const float* const x = r.x + i * r.d;
    const float* const dy = r.dy + i * r.d;
    const float mean = r.mean[i];
    const float inv_std = r.inv_std[i];
    float g_sum = 0.0f, g_xhat_sum = 0.0f;
    for (int64_t c = int64_t{lane} * kPack; c < r.d; c += int64_t{kWarp} * kPack) {
      const FloatPack<kPack> v = LoadPack<kPack>(x + c);
      const FloatPack<kPack> slope = LoadPack<kPack>(dy + c);
      const FloatPack<kPack> gamma = LoadPack<kPack>(r.gamma + c);
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) {
        const float g = slope.v[k] * gamma.v[k];
        g_sum += g;
        g_xhat_sum += g * ((v.v[k] - mean) * inv_std);
      }
    }
    const float g_mean = WarpSum(g_sum) * inverse_d;
    const float g_xhat_mean = WarpSum(g_xhat_sum) * inverse_d;
    for (int64_t c = int64_t{lane} * kPack; c < r.d; c += int64_t{kWarp} * kPack) {
      const FloatPack<kPack> v = LoadPack<kPack>(x + c);
      FloatPack<kPack> slope = LoadPack<kPack>(dy + c);
      const FloatPack<kPack> gamma = LoadPack<kPack>(r.gamma + c);
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) {
        const float xhat = (v.v[k] - mean) * inv_std;
        slope.v[k] = inv_std * (slope.v[k] * gamma.v[k] - g_mean - xhat * g_xhat_mean);
      }
      AccumulatePack(1.0f, slope, r.out + i * r.d + c);
    }
  });
}

struct ParameterTerms {
  const float* x;
  const float* dy;
  const float* mean;
  const float* inv_std;
  int64_t d;
  template <int kPack>
  __device__ void operator()(int64_t i, int64_t j, float (&values)[2][kPack]) const {
    const FloatPack<kPack> v = LoadPack<kPack>(x + i * d + j);
    const FloatPack<kPack> slope = LoadPack<kPack>(dy + i * d + j);
    const float row_mean = mean[i];
    const float row_inv_std = inv_std[i];
    GPU_UNROLL
    for (int c = 0; c < kPack; ++c) {
      values[0][c] = slope.v[c] * ((v.v[c] - row_mean) * row_inv_std);
      values[1][c] = slope.v[c];
    }
  }
};
struct AddParameters {
  float* dgamma;  // Null: not wanted.
  float* dbeta;
  __device__ void operator()(int64_t j, const float (&sums)[2]) const {
    if (dgamma != nullptr) dgamma[j] += sums[0];
    if (dbeta != nullptr) dbeta[j] += sums[1];
  }
};

}  // namespace

absl::Status LayerNormForwardGpu(Context& ctx, const Tensor& x, const Tensor& gamma,
                                 const Tensor& beta, float epsilon, const Tensor& y,
                                 const Tensor& saved_mean, const Tensor& saved_inv_std) {
  const Rows rows = {x.data<float>(),
                     gamma.data<float>(),
                     beta.data<float>(),
                     nullptr,
                     epsilon,
                     saved_mean.data<float>(),
                     saved_inv_std.data<float>(),
                     y.data<float>(),
                     x.dim(0),
                     x.dim(1)};
  if (rows.n == 0) return absl::OkStatus();
  const bool by_four = RowsMoveByFour(rows.d, {rows.x, rows.gamma, rows.beta, rows.out});
  return LaunchKernel(ctx, "LayerNormForward", by_four ? ForwardKernel<4> : ForwardKernel<1>,
                      GpuBlocks(rows.n, kGpuThreads / kWarp), kGpuThreads, 0, rows);
}

absl::Status LayerNormBackwardGpu(Context& ctx, const Tensor& x, const Tensor& gamma,
                                  const Tensor& saved_mean, const Tensor& saved_inv_std,
                                  const Tensor& dy, const Tensor& dx, const Tensor& dgamma,
                                  const Tensor& dbeta) {
  const Rows rows = {x.data<float>(),
                     gamma.data<float>(),
                     nullptr,
                     dy.data<float>(),
                     0.0f,
                     saved_mean.data<float>(),
                     saved_inv_std.data<float>(),
                     dx.data<float>(),
                     x.dim(0),
                     x.dim(1)};
  if (rows.out != nullptr && rows.n > 0) {
    const bool by_four = RowsMoveByFour(rows.d, {rows.x, rows.gamma, rows.dy, rows.out});
    PAGODA_RETURN_IF_ERROR(
        LaunchKernel(ctx, "LayerNormBackward", by_four ? BackwardKernel<4> : BackwardKernel<1>,
                     GpuBlocks(rows.n, kGpuThreads / kWarp), kGpuThreads, 0, rows));
  }
  if (dgamma.absent() && dbeta.absent()) return absl::OkStatus();
  return SumColumnsOnGpu<2, float>(ctx, "LayerNormBackward", rows.n, rows.d,
                                   RowsMoveByFour(rows.d, {rows.x, rows.dy}),
                                   ParameterTerms{rows.x, rows.dy, rows.mean, rows.inv_std, rows.d},
                                   AddParameters{dgamma.data<float>(), dbeta.data<float>()});
}

}  // namespace pagoda
