// Bound by memory: forward reads 4 d bytes a row from memory once, windows that overlap from L1
// again, and writes 4 m; backward the other way round. A thread has one output of forward, whose
// window it reads in packs, and one pack of backward's columns, for which it reads the windows
// over them.
#include "kernels/average_pool_gpu.h"

#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

struct Pool {
  const float* from;
  float* to;
  int64_t n, d, m;
  int64_t window, stride;
  float scale;  // 1 / window
  float beta;
  unsigned group;
};

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) AveragePoolKernel(const Pool p) {
  ForRowPacks<1>(p.n, p.m, p.group, [&](int64_t i, int64_t j) {
    const float* const row = p.from + i * p.d;
    const int64_t begin = j * p.stride;
    const int64_t end = begin + p.window;
    float sum = 0.0f;
    for (int64_t c = begin & ~int64_t{kPack - 1}; c < end; c += kPack) {
      const FloatPack<kPack> x = LoadPack<kPack>(row + c);
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) {
        const bool inside = c + k >= begin && c + k < end;
        sum += inside ? x.v[k] : 0.0f;
      }
    }
    p.to[i * p.m + j] = sum * p.scale;
  });
}

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) SpreadPoolKernel(const Pool p) {
  // Columns and windows are counted in 32 bits, as 64-bit divisions are subroutines.
  const uint32_t stride = static_cast<uint32_t>(p.stride);
  ForRowPacks<kPack>(p.n, p.d, p.group, [&](int64_t i, int64_t c) {
    const float* const slopes = p.from + i * p.m;
    // The first window that ends behind column c, and the last that begins in the pack.
    const int64_t ended = c + p.stride - p.window;
    const int64_t first = ended > 0 ? static_cast<uint32_t>(ended) / stride : 0;
    const int64_t last = static_cast<uint32_t>(c + kPack - 1) / stride;
    FloatPack<kPack> sum = {};
    for (int64_t j = first; j <= last && j < p.m; ++j) {
      const float share = slopes[j] * p.scale;
      const int64_t begin = j * p.stride;
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) {
        sum.v[k] += c + k >= begin && c + k < begin + p.window ? share : 0.0f;
      }
    }
    AccumulatePack(p.beta, sum, p.to + i * p.d + c);
  });
}

Pool PoolOf(const Tensor& from, const Tensor& to, int64_t d, int64_t m,
            const AveragePoolArgs& args) {
  Pool pool = {};
  pool.from = from.data<float>();
  pool.to = to.data<float>();
  pool.n = from.dim(0);
  pool.d = d;
  pool.m = m;
  pool.window = args.window;
  pool.stride = args.stride;
  pool.scale = 1.0f / static_cast<float>(args.window);
  return pool;
}

}  // namespace

absl::Status AveragePoolForwardGpu(Context& ctx, const Tensor& x, const AveragePoolArgs& args,
                                   const Tensor& out) {
  Pool pool = PoolOf(x, out, x.dim(1), out.dim(1), args);
  if (pool.n == 0) return absl::OkStatus();
  const bool by_four = RowsMoveByFour(pool.d, {x.raw()});
  pool.group = RowGroup(pool.m, kGpuThreads);
  return LaunchKernel(ctx, "AveragePoolForward",
                      by_four ? AveragePoolKernel<4> : AveragePoolKernel<1>,
                      GpuBlocks(pool.n, kGpuThreads / pool.group), kGpuThreads, 0, pool);
}

absl::Status AveragePoolBackwardGpu(Context& ctx, const Tensor& dout, const AveragePoolArgs& args,
                                    float beta, const Tensor& dx) {
  Pool pool = PoolOf(dout, dx, dx.dim(1), dout.dim(1), args);
  if (pool.n == 0) return absl::OkStatus();
  pool.beta = beta;
  const bool by_four = RowsMoveByFour(pool.d, {dx.raw()});
  pool.group = RowGroup(pool.d / (by_four ? 4 : 1), kGpuThreads);
  return LaunchKernel(ctx, "AveragePoolBackward",
                      by_four ? SpreadPoolKernel<4> : SpreadPoolKernel<1>,
                      GpuBlocks(pool.n, kGpuThreads / pool.group), kGpuThreads, 0, pool);
}

}  // namespace pagoda
