// Bound by memory: forward reads 4 f d bytes a sample; backward reads them twice (the
// second time from L1 or L2) and writes as much. A group of a warp's lanes has a sample, a
// lane a pack of its columns.
#include "kernels/fm_gpu.h"

#include "kernels/gpu_reduce.h"
#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

struct FmArguments {
  const float* x;
  const float* dout;  // Backward.
  float* out;         // Or dx.
  int64_t n, f, d;
  float beta;
  unsigned group;  // Lanes; a power of two.
};

template <int kPack>
__device__ inline void AddPack(FloatPack<kPack>& sum, const FloatPack<kPack>& value) {
  GPU_UNROLL
  for (int c = 0; c < kPack; ++c) sum.v[c] += value.v[c];
}

// Half of (the sum's square - the sum of squares), over a lane's columns of one sample.
template <int kPack>
__device__ inline float PairSum(const FmArguments& a, int64_t i, unsigned lane) {
  const float* const x = a.x + i * a.f * a.d;
  float total = 0.0f;
  for (int64_t c = int64_t{lane} * kPack; c < a.d; c += int64_t{a.group} * kPack) {
    FloatPack<kPack> sum = {}, squares = {};
    for (int64_t k = 0; k < a.f; ++k) {
      FloatPack<kPack> value = LoadPack<kPack>(x + k * a.d + c);
      AddPack(sum, value);
      GPU_UNROLL
      for (int p = 0; p < kPack; ++p) squares.v[p] += value.v[p] * value.v[p];
    }
    GPU_UNROLL
    for (int p = 0; p < kPack; ++p) total += sum.v[p] * sum.v[p] - squares.v[p];
  }
  return 0.5f * total;
}

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) FmForwardKernel(const FmArguments a) {
  const unsigned samples = blockDim.x / a.group;
  const unsigned lane = threadIdx.x & (a.group - 1);
  // All lanes of a warp go round together, for the sum over a group's.
  for (int64_t first = int64_t{blockIdx.x} * samples; first < a.n;
       first += int64_t{gridDim.x} * samples) {
    const int64_t i = first + threadIdx.x / a.group;
    const float sum = GroupSum(i < a.n ? PairSum<kPack>(a, i, lane) : 0.0f, a.group);
    if (i < a.n && lane == 0) a.out[i] = sum;
  }
}

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads, 4) FmBackwardKernel(const FmArguments a) {
  ForRowPacks<kPack>(a.n, a.d, a.group, [&](int64_t i, int64_t c) {
    const float* const x = a.x + i * a.f * a.d + c;
    float* const dx = a.out + i * a.f * a.d + c;
    const float dout = a.dout[i];
    FloatPack<kPack> sum = {};
    GPU_UNROLL_BY_TWO
    for (int64_t k = 0; k < a.f; ++k) AddPack(sum, LoadPack<kPack>(x + k * a.d));
    GPU_UNROLL_BY_TWO
    for (int64_t k = 0; k < a.f; ++k) {
      FloatPack<kPack> slope = LoadPack<kPack>(x + k * a.d);
      GPU_UNROLL
      for (int p = 0; p < kPack; ++p) slope.v[p] = dout * (sum.v[p] - slope.v[p]);
      AccumulatePack(a.beta, slope, dx + k * a.d);
    }
  });
}

using Kernel = void (*)(FmArguments);

absl::Status Launch(Context& ctx, const char* name, FmArguments a, bool by_four, Kernel by_four_of,
                    Kernel by_one_of) {
  a.group = RowGroup(by_four ? a.d / 4 : a.d, kWarp);
  return LaunchKernel(ctx, name, by_four ? by_four_of : by_one_of,
                      GpuBlocks(a.n, kGpuThreads / a.group), kGpuThreads, 0, a);
}

}  // namespace

absl::Status FmForwardGpu(Context& ctx, const Tensor& x, const Tensor& out) {
  if (out.size() == 0) return absl::OkStatus();
  const FmArguments arguments = {
      x.data<float>(), nullptr, out.data<float>(), x.dim(0), x.dim(1), x.dim(2), 0.0f, 1};
  return Launch(ctx, "FmForward", arguments, RowsMoveByFour(arguments.d, {arguments.x}),
                FmForwardKernel<4>, FmForwardKernel<1>);
}

absl::Status FmBackwardGpu(Context& ctx, const Tensor& x, const Tensor& dout, float beta,
                           const Tensor& dx) {
  if (x.size() == 0) return absl::OkStatus();
  const FmArguments arguments = {
      x.data<float>(), dout.data<float>(), dx.data<float>(), x.dim(0), x.dim(1), x.dim(2), beta, 1};
  return Launch(ctx, "FmBackward", arguments,
                RowsMoveByFour(arguments.d, {arguments.x, arguments.out}), FmBackwardKernel<4>,
                FmBackwardKernel<1>);
}

}  // namespace pagoda
