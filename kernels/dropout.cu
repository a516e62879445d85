// Bound by memory, and by the 20 integer operations of a mask's bits: 8 bytes an element.
#include "kernels/dropout_gpu.h"

#include <cmath>

#include "kernels/gpu_stream.h"

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

__global__ void __launch_bounds__(kGpuThreads) DropoutKernel(const Mask m) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < m.n; i += step) {
    const uint64_t counter = m.first + static_cast<uint64_t>(i);
    const uint64_t bits = Mix(Mix(m.key + counter * 0x9e3779b97f4a7c15u) ^ m.key);
    const float value = static_cast<uint32_t>(bits >> 40) >= m.threshold ? m.x[i] * m.scale : 0.0f;
    m.out[i] = m.beta == 0.0f ? value : m.beta * m.out[i] + value;
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
  return LaunchKernel(ctx, "Dropout", DropoutKernel, GpuBlocks(mask.n, kGpuThreads), kGpuThreads, 0,
                      mask);
}

}  // namespace pagoda
