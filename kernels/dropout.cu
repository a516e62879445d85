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
  uint64_t first;           // Counter of element 0.
  const int64_t* counters;  // Of the first element of each row of d, instead.
  uint32_t threshold;       // Kept where the 24 random bits are not below.
  float scale;
  float beta;
  int64_t n;  // Elements, or rows.
  int64_t d;
  unsigned group;
};

// base/hash.h's MixBits and base/random.h's RandomBits; the test compares every bit.
__device__ inline uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// What is left of the elements [counter, counter + kPack), scaled.
template <int kPack>
__device__ inline void ApplyMask(const Mask& m, uint64_t counter, FloatPack<kPack>* value) {
  GPU_UNROLL
  for (int k = 0; k < kPack; ++k) {
    const uint64_t place = counter + static_cast<uint64_t>(k);
    const uint64_t bits = Mix(Mix(m.key + place * 0x9e3779b97f4a7c15u) ^ m.key);
    const bool kept = static_cast<uint32_t>(bits >> 40) >= m.threshold;
    value->v[k] = kept ? value->v[k] * m.scale : 0.0f;
  }
}

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) DropoutKernel(const Mask m) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x * kPack;
  for (int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kPack; i < m.n; i += step) {
    FloatPack<kPack> value = LoadPack<kPack>(m.x + i);
    ApplyMask(m, m.first + static_cast<uint64_t>(i), &value);
    AccumulatePack(m.beta, value, m.out + i);
  }
}

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) DropoutRowsKernel(const Mask m) {
  ForRowPacks<kPack>(m.n, m.d, m.group, [&](int64_t i, int64_t j) {
    FloatPack<kPack> value = LoadPack<kPack>(m.x + i * m.d + j);
    ApplyMask(m, static_cast<uint64_t>(m.counters[i] + j), &value);
    AccumulatePack(m.beta, value, m.out + i * m.d + j);
  });
}

Mask MakeMask(const Tensor& x, const DropoutArgs& args, float beta, const Tensor& out) {
  Mask mask = {};
  mask.x = x.data<float>();
  mask.out = out.data<float>();
  mask.key = args.key.value;
  mask.threshold = static_cast<uint32_t>(std::ceil(args.rate * 16777216.0f));
  mask.scale = 1.0f / (1.0f - args.rate);
  mask.beta = beta;
  return mask;
}

}  // namespace

absl::Status DropoutGpu(Context& ctx, const Tensor& x, const DropoutArgs& args, float beta,
                        const Tensor& out) {
  if (x.size() == 0) return absl::OkStatus();
  Mask mask = MakeMask(x, args, beta, out);
  mask.first = args.first_row * static_cast<uint64_t>(x.size() / x.dim(0));
  mask.n = x.size();
  const bool by_four = RowsMoveByFour(mask.n, {mask.x, mask.out});
  return LaunchKernel(ctx, "Dropout", by_four ? DropoutKernel<4> : DropoutKernel<1>,
                      GpuBlocks(mask.n, kGpuThreads * (by_four ? 4 : 1)), kGpuThreads, 0, mask);
}

absl::Status DropoutRowsGpu(Context& ctx, const Tensor& x, const Tensor& counters,
                            const DropoutArgs& args, float beta, const Tensor& out) {
  if (x.size() == 0) return absl::OkStatus();
  Mask mask = MakeMask(x, args, beta, out);
  mask.counters = counters.data<int64_t>();
  mask.n = x.dim(0);
  mask.d = x.dim(1);
  const bool by_four = RowsMoveByFour(mask.d, {mask.x, mask.out});
  mask.group = RowGroup(by_four ? mask.d / 4 : mask.d, kGpuThreads);
  return LaunchKernel(ctx, "DropoutRows", by_four ? DropoutRowsKernel<4> : DropoutRowsKernel<1>,
                      GpuBlocks(mask.n, kGpuThreads / mask.group), kGpuThreads, 0, mask);
}

}  // namespace pagoda
