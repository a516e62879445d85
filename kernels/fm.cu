// Bound by memory: forward reads 4 f d bytes a sample; backward reads them twice (the
// second time from L1 or L2) and writes as much. A warp a sample; its lanes take columns.
#include "kernels/fm_gpu.h"

#include "kernels/gpu_reduce.h"
#include "kernels/gpu_stream.h"

namespace pagoda {
namespace {

struct FmArguments {
  const float* x;
  const float* dout;  // Backward.
  float* out;         // Or dx.
  int64_t n, f, d;
  float beta;
};

__global__ void __launch_bounds__(kGpuThreads) FmForwardKernel(const FmArguments a) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t step = int64_t{gridDim.x} * (blockDim.x / kWarp);
  for (int64_t i = int64_t{blockIdx.x} * (blockDim.x / kWarp) + threadIdx.x / kWarp; i < a.n;
       i += step) {
    const float* const x = a.x + i * a.f * a.d;
    float total = 0.0f;
    for (int64_t c = lane; c < a.d; c += kWarp) {
      float sum = 0.0f, squares = 0.0f;
      for (int64_t k = 0; k < a.f; ++k) {
        const float value = x[k * a.d + c];
        sum += value;
        squares += value * value;
      }
      total += sum * sum - squares;
    }
    total = WarpSum(total);
    if (lane == 0) a.out[i] = 0.5f * total;
  }
}

__global__ void __launch_bounds__(kGpuThreads) FmBackwardKernel(const FmArguments a) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t step = int64_t{gridDim.x} * (blockDim.x / kWarp);
  for (int64_t i = int64_t{blockIdx.x} * (blockDim.x / kWarp) + threadIdx.x / kWarp; i < a.n;
       i += step) {
    const float* const x = a.x + i * a.f * a.d;
    float* const dx = a.out + i * a.f * a.d;
    const float dout = a.dout[i];
    for (int64_t c = lane; c < a.d; c += kWarp) {
      float sum = 0.0f;
      for (int64_t k = 0; k < a.f; ++k) sum += x[k * a.d + c];
      for (int64_t k = 0; k < a.f; ++k) {
        const float slope = dout * (sum - x[k * a.d + c]);
        float* const to = dx + k * a.d + c;
        *to = a.beta == 0.0f ? slope : a.beta * *to + slope;
      }
    }
  }
}

}  // namespace

absl::Status FmForwardGpu(Context& ctx, const Tensor& x, const Tensor& out) {
  if (out.size() == 0) return absl::OkStatus();
  const FmArguments arguments = {x.data<float>(), nullptr, out.data<float>(), x.dim(0), x.dim(1),
                                 x.dim(2),        0.0f};
  return LaunchKernel(ctx, "FmForward", FmForwardKernel, GpuBlocks(x.dim(0), kGpuThreads / kWarp),
                      kGpuThreads, 0, arguments);
}

absl::Status FmBackwardGpu(Context& ctx, const Tensor& x, const Tensor& dout, float beta,
                           const Tensor& dx) {
  if (x.size() == 0) return absl::OkStatus();
  const FmArguments arguments = {
      x.data<float>(), dout.data<float>(), dx.data<float>(), x.dim(0), x.dim(1), x.dim(2), beta};
  return LaunchKernel(ctx, "FmBackward", FmBackwardKernel, GpuBlocks(x.dim(0), kGpuThreads / kWarp),
                      kGpuThreads, 0, arguments);
}

}  // namespace pagoda
