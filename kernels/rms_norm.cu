// Bound by memory: a warp has a row, which it reads again from L1. Forward 8 d bytes a row,
// backward 16 d, and 8 d more for gamma's gradient, which is a sum over columns.
#include "kernels/rms_norm_gpu.h"

#include "kernels/gpu_column_sum.h"
#include "kernels/gpu_reduce.h"
#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

struct Rows {
  const float* x;
  const float* gamma;
  const float* dy;  // Backward.
  float epsilon;
  float* inv_rms;
  float* out;
  int64_t n, d;
};

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) ForwardKernel(const Rows r) {
  const float inverse_d = r.d > 0 ? 1.0f / static_cast<float>(r.d) : 0.0f;
  ForWarpRows(r.n, [&](int64_t i, int lane) {
    const float* const x = r.x + i * r.d;
    const float squares = RowDot<kPack>(x, x, r.d, lane);
    const float inv_rms = 1.0f / sqrtf(squares * inverse_d + r.epsilon);
    if (lane == 0) r.inv_rms[i] = inv_rms;
    for (int64_t c = int64_t{lane} * kPack; c < r.d; c += int64_t{kWarp} * kPack) {
      FloatPack<kPack> v = LoadPack<kPack>(x + c);
      const FloatPack<kPack> gamma = LoadPack<kPack>(r.gamma + c);
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) v.v[k] = v.v[k] * inv_rms * gamma.v[k];
      StorePack(v, r.out + i * r.d + c);
    }
  });
}

// With g = dy * gamma and xhat = x * inv_rms: dx += inv_rms * (g - xhat * mean(g * xhat)).
template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) BackwardKernel(const Rows r) {
  const float inverse_d = r.d > 0 ? 1.0f / static_cast<float>(r.d) : 0.0f;
  ForWarpRows(r.n, [&](int64_t i, int lane) {
    const float* const x = r.x + i * r.d;
    const float* const dy = r.dy + i * r.d;
    const float inv_rms = r.inv_rms[i];
    float g_xhat_sum = 0.0f;
    for (int64_t c = int64_t{lane} * kPack; c < r.d; c += int64_t{kWarp} * kPack) {
      const FloatPack<kPack> v = LoadPack<kPack>(x + c);
      const FloatPack<kPack> slope = LoadPack<kPack>(dy + c);
      const FloatPack<kPack> gamma = LoadPack<kPack>(r.gamma + c);
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) g_xhat_sum += slope.v[k] * gamma.v[k] * (v.v[k] * inv_rms);
    }
    const float g_xhat_mean = WarpSum(g_xhat_sum) * inverse_d;
    for (int64_t c = int64_t{lane} * kPack; c < r.d; c += int64_t{kWarp} * kPack) {
      const FloatPack<kPack> v = LoadPack<kPack>(x + c);
      FloatPack<kPack> slope = LoadPack<kPack>(dy + c);
      const FloatPack<kPack> gamma = LoadPack<kPack>(r.gamma + c);
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) {
        slope.v[k] = inv_rms * (slope.v[k] * gamma.v[k] - v.v[k] * inv_rms * g_xhat_mean);
      }
      AccumulatePack(1.0f, slope, r.out + i * r.d + c);
    }
  });
}

struct GammaTerms {
  const float* x;
  const float* dy;
  const float* inv_rms;
  int64_t d;
  template <int kPack>
  __device__ void operator()(int64_t i, int64_t j, float (&values)[1][kPack]) const {
    const FloatPack<kPack> v = LoadPack<kPack>(x + i * d + j);
    const FloatPack<kPack> slope = LoadPack<kPack>(dy + i * d + j);
    const float row_inv_rms = inv_rms[i];
    GPU_UNROLL
    for (int c = 0; c < kPack; ++c) values[0][c] = slope.v[c] * (v.v[c] * row_inv_rms);
  }
};

}  // namespace

absl::Status RmsNormForwardGpu(Context& ctx, const Tensor& x, const Tensor& gamma, float epsilon,
                               const Tensor& y, const Tensor& saved_inv_rms) {
  const Rows rows = {x.data<float>(),
                     gamma.data<float>(),
                     nullptr,
                     epsilon,
                     saved_inv_rms.data<float>(),
                     y.data<float>(),
                     x.dim(0),
                     x.dim(1)};
  if (rows.n == 0) return absl::OkStatus();
  const bool by_four = RowsMoveByFour(rows.d, {rows.x, rows.gamma, rows.out});
  return LaunchKernel(ctx, "RmsNormForward", by_four ? ForwardKernel<4> : ForwardKernel<1>,
                      GpuBlocks(rows.n, kGpuThreads / kWarp), kGpuThreads, 0, rows);
}

absl::Status RmsNormBackwardGpu(Context& ctx, const Tensor& x, const Tensor& gamma,
                                const Tensor& saved_inv_rms, const Tensor& dy, const Tensor& dx,
                                const Tensor& dgamma) {
  const Rows rows = {x.data<float>(),
                     gamma.data<float>(),
                     dy.data<float>(),
                     0.0f,
                     saved_inv_rms.data<float>(),
                     dx.data<float>(),
                     x.dim(0),
                     x.dim(1)};
  if (rows.out != nullptr && rows.n > 0) {
    const bool by_four = RowsMoveByFour(rows.d, {rows.x, rows.gamma, rows.dy, rows.out});
    PAGODA_RETURN_IF_ERROR(
        LaunchKernel(ctx, "RmsNormBackward", by_four ? BackwardKernel<4> : BackwardKernel<1>,
                     GpuBlocks(rows.n, kGpuThreads / kWarp), kGpuThreads, 0, rows));
  }
  if (dgamma.absent()) return absl::OkStatus();
  return SumColumnsOnGpu<1, float>(
      ctx, "RmsNormBackward", rows.n, rows.d, RowsMoveByFour(rows.d, {rows.x, rows.dy}),
      GammaTerms{rows.x, rows.dy, rows.inv_rms, rows.d}, AddColumnSum{dgamma.data<float>(), 1.0f});
}

}  // namespace pagoda
