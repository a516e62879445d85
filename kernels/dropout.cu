// Bound by memory, and by the 20 integer operations of a mask's bits: 8 bytes an element.
// A thread has a pack of elements.
#include "kernels/dropout_gpu.h"

#include <cmath>

#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

struct Mask {
  const float* x;
  float* out;
  uint64_t key;
  uint64_t first;      // Counter of element 0.
  uint32_t threshold;  // Kept where the 24 random bits are not below.
  float scale;
  float beta;
  int64_t n;
};

// base/hash.h's MixBits and base/random.h's RandomBits; the test compares every bit.
__device__ inline uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) DropoutKernel(const Mask m) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x * kPack;
  for (int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kPack; i < m.n; i += step) {
    FloatPack<kPack> value = LoadPack<kPack>(m.x + i);
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) {
      const uint64_t counter = m.first + static_cast<uint64_t>(i + k);
      const uint64_t bits = Mix(Mix(m.key + counter * 0x9e3779b97f4a7c15u) ^ m.key);
      value.v[k] = static_cast<uint32_t>(bits >> 40) >= m.threshold ? value.v[k] * m.scale : 0.0f;
    }
    AccumulatePack(m.beta, value, m.out + i);
  }
}

}  // namespace

absl::Status DropoutGpu(Context& ctx, const Tensor& x, const DropoutArgs& args, float beta,
                        const Tensor& out) {
  if (x.size() == 0) return absl::OkStatus();
  Mask mask = {};
  mask.x = x.data<float>();
  mask.out = out.data<float>();
  mask.key = args.key.value;
  mask.first = args.first_row * static_cast<uint64_t>(x.size() / x.dim(0));
  mask.threshold = static_cast<uint32_t>(std::ceil(args.rate * 16777216.0f));
  mask.scale = 1.0f / (1.0f - args.rate);
  mask.beta = beta;
  mask.n = x.size();
  const bool by_four = RowsMoveByFour(mask.n, {mask.x, mask.out});
  return LaunchKernel(ctx, "Dropout", by_four ? DropoutKernel<4> : DropoutKernel<1>,
                      GpuBlocks(mask.n, kGpuThreads * (by_four ? 4 : 1)), kGpuThreads, 0, mask);
}

}  // namespace pagoda
