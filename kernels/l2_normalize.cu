// Bound by memory: a warp has a row, which it reads again from L1. Forward 8 d bytes a row,
// backward 16 d.
#include "kernels/l2_normalize_gpu.h"

#include "kernels/gpu_reduce.h"
#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

struct Rows {
  const float* in;  // x forward, y backward.
  const float* dy;
  float epsilon;
  float* norms;
  float* out;
  int64_t n, d;
};

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) ForwardKernel(const Rows r) {
  ForWarpRows(r.n, [&](int64_t i, int lane) {
    const float* const x = r.in + i * r.d;
    const float norm = sqrtf(RowDot<kPack>(x, x, r.d, lane) + r.epsilon);
    const float inverse = 1.0f / norm;
    if (lane == 0) r.norms[i] = norm;
    for (int64_t c = int64_t{lane} * kPack; c < r.d; c += int64_t{kWarp} * kPack) {
      FloatPack<kPack> v = LoadPack<kPack>(x + c);
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) v.v[k] *= inverse;
      StorePack(v, r.out + i * r.d + c);
    }
  });
}

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) BackwardKernel(const Rows r) {
  ForWarpRows(r.n, [&](int64_t i, int lane) {
    const float* const y = r.in + i * r.d;
    const float* const dy = r.dy + i * r.d;
    const float inverse = 1.0f / r.norms[i];
    const float dot = RowDot<kPack>(y, dy, r.d, lane);
    for (int64_t c = int64_t{lane} * kPack; c < r.d; c += int64_t{kWarp} * kPack) {
      const FloatPack<kPack> u = LoadPack<kPack>(y + c);
      FloatPack<kPack> v = LoadPack<kPack>(dy + c);
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) v.v[k] = (v.v[k] - u.v[k] * dot) * inverse;
      AccumulatePack(1.0f, v, r.out + i * r.d + c);
    }
  });
}

}  // namespace

absl::Status L2NormalizeForwardGpu(Context& ctx, const Tensor& x, float epsilon, const Tensor& y,
                                   const Tensor& norms) {
  const Rows rows = {x.data<float>(), nullptr,  epsilon, norms.data<float>(),
                     y.data<float>(), x.dim(0), x.dim(1)};
  if (rows.n == 0) return absl::OkStatus();
  const bool by_four = RowsMoveByFour(rows.d, {rows.in, rows.out});
  return LaunchKernel(ctx, "L2NormalizeForward", by_four ? ForwardKernel<4> : ForwardKernel<1>,
                      GpuBlocks(rows.n, kGpuThreads / kWarp), kGpuThreads, 0, rows);
}

absl::Status L2NormalizeBackwardGpu(Context& ctx, const Tensor& y, const Tensor& norms,
                                    const Tensor& dy, const Tensor& dx) {
  const Rows rows = {y.data<float>(),  dy.data<float>(), 0.0f,    norms.data<float>(),
                     dx.data<float>(), y.dim(0),         y.dim(1)};
  if (rows.n == 0) return absl::OkStatus();
  const bool by_four = RowsMoveByFour(rows.d, {rows.in, rows.dy, rows.out});
  return LaunchKernel(ctx, "L2NormalizeBackward", by_four ? BackwardKernel<4> : BackwardKernel<1>,
                      GpuBlocks(rows.n, kGpuThreads / kWarp), kGpuThreads, 0, rows);
}

}  // namespace pagoda
