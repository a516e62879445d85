// Bound by memory while f is below 100 or so: forward reads 4 f d bytes a sample and writes
// 2 f (f - 1), backward the other way round and 4 f d more. A block has a sample, whose rows
// lie in shared memory; where they are too large for it they are read from L2 again.
#include "kernels/dot_interaction_gpu.h"

#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kSharedMax = 48 << 10;

__host__ __device__ inline int64_t PairsBefore(int64_t row) {
  return row * (row - 1) / 2;
}

struct DotArguments {
  const float* x;     // [n, f, d]
  const float* dout;  // [n, pairs], backward
  float* out;         // [n, pairs]; dx in backward
  int64_t n, f, d;
  float beta;
};

// Copies `count` floats, four at a time where kPack says so.
template <int kPack>
__device__ inline void CopyToShared(const float* from, int64_t count, float* to) {
  for (int64_t i = int64_t{threadIdx.x} * kPack; i < count; i += int64_t{kThreads} * kPack) {
    StorePack(LoadPack<kPack>(from + i), to + i);
  }
}

template <int kPack, bool kShared>
__global__ void __launch_bounds__(kThreads) DotForwardKernel(const DotArguments a) {
  const int64_t pairs = PairsBefore(a.f);
  for (int64_t i = blockIdx.x; i < a.n; i += gridDim.x) {
    const float* x = a.x + i * a.f * a.d;
    if constexpr (kShared) {
      GPU_DYNAMIC_SHARED(float4, buffer);
      float* const shared = reinterpret_cast<float*>(buffer);
      CopyToShared<kPack>(x, a.f * a.d, shared);
      __syncthreads();
      x = shared;
    }
    for (int64_t p = threadIdx.x; p < pairs; p += kThreads) {
      // The row of the triangle that pair p is in; rounding of the root is put right.
      int64_t row =
          static_cast<int64_t>((1.0f + sqrtf(1.0f + 8.0f * static_cast<float>(p))) * 0.5f);
      while (PairsBefore(row) > p) --row;
      while (PairsBefore(row + 1) <= p) ++row;
      const float* const left = x + row * a.d;
      const float* const right = x + (p - PairsBefore(row)) * a.d;
      float sum = 0.0f;
      for (int64_t c = 0; c < a.d; c += kPack) {
        const FloatPack<kPack> u = LoadPack<kPack>(left + c);
        const FloatPack<kPack> v = LoadPack<kPack>(right + c);
        GPU_UNROLL
        for (int k = 0; k < kPack; ++k) sum += u.v[k] * v.v[k];
      }
      a.out[i * pairs + p] = sum;
    }
    if constexpr (kShared) __syncthreads();
  }
}

template <int kPack, bool kShared>
__global__ void __launch_bounds__(kThreads) DotBackwardKernel(const DotArguments a) {
  const int64_t pairs = PairsBefore(a.f);
  const uint32_t packs = static_cast<uint32_t>(a.d) / kPack;
  for (int64_t i = blockIdx.x; i < a.n; i += gridDim.x) {
    const float* x = a.x + i * a.f * a.d;
    const float* t = a.dout + i * pairs;
    if constexpr (kShared) {
      GPU_DYNAMIC_SHARED(float4, buffer);
      float* const shared = reinterpret_cast<float*>(buffer);
      CopyToShared<kPack>(x, a.f * a.d, shared);
      CopyToShared<1>(t, pairs, shared + a.f * a.d);
      __syncthreads();
      x = shared;
      t = shared + a.f * a.d;
    }
    for (uint32_t q = threadIdx.x; q < static_cast<uint32_t>(a.f) * packs; q += kThreads) {
      const int64_t row = q / packs;
      const int64_t c = (q - static_cast<uint32_t>(row) * packs) * kPack;
      FloatPack<kPack> sum = {};
      GPU_UNROLL_BY_TWO
      for (int64_t b = 0; b < a.f; ++b) {
        if (b == row) continue;
        const float slope = b < row ? t[PairsBefore(row) + b] : t[PairsBefore(b) + row];
        const FloatPack<kPack> v = LoadPack<kPack>(x + b * a.d + c);
        GPU_UNROLL
        for (int k = 0; k < kPack; ++k) sum.v[k] += slope * v.v[k];
      }
      AccumulatePack(a.beta, sum, a.out + (i * a.f + row) * a.d + c);
    }
    if constexpr (kShared) __syncthreads();
  }
}

using Kernel = void (*)(DotArguments);

absl::Status Launch(Context& ctx, const char* name, const DotArguments& a, int64_t shared_floats,
                    bool by_four, Kernel (*choose)(bool by_four, bool shared)) {
  const int64_t bytes = 4 * shared_floats;
  const bool shared = bytes <= kSharedMax;
  return LaunchKernel(ctx, name, choose(by_four, shared), GpuBlocks(a.n, 1), kThreads,
                      shared ? static_cast<size_t>(bytes) : 0, a);
}

Kernel ChooseForward(bool by_four, bool shared) {
  if (by_four) return shared ? DotForwardKernel<4, true> : DotForwardKernel<4, false>;
  return shared ? DotForwardKernel<1, true> : DotForwardKernel<1, false>;
}
Kernel ChooseBackward(bool by_four, bool shared) {
  if (by_four) return shared ? DotBackwardKernel<4, true> : DotBackwardKernel<4, false>;
  return shared ? DotBackwardKernel<1, true> : DotBackwardKernel<1, false>;
}

}  // namespace

absl::Status DotInteractionForwardGpu(Context& ctx, const Tensor& x, const Tensor& out) {
  if (out.size() == 0) return absl::OkStatus();
  const DotArguments a = {x.data<float>(), nullptr, out.data<float>(), x.dim(0), x.dim(1),
                          x.dim(2),        0.0f};
  return Launch(ctx, "DotInteractionForward", a, a.f * a.d, RowsMoveByFour(a.d, {a.x}),
                ChooseForward);
}

absl::Status DotInteractionBackwardGpu(Context& ctx, const Tensor& x, const Tensor& dout,
                                       float beta, const Tensor& dx) {
  if (dx.size() == 0) return absl::OkStatus();
  const DotArguments a = {
      x.data<float>(), dout.data<float>(), dx.data<float>(), x.dim(0), x.dim(1), x.dim(2), beta};
  return Launch(ctx, "DotInteractionBackward", a, a.f * a.d + PairsBefore(a.f),
                RowsMoveByFour(a.d, {a.x, a.out}), ChooseBackward);
}

}  // namespace pagoda
