// Bound by memory: 8 d bytes a row. A group of threads moves along a row.
#include "kernels/swap_axes_gpu.h"

#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

struct Blocks {
  const float* x;
  float* y;
  int64_t rows, d;
  uint32_t b, c;
  float beta;
  unsigned group;
};

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) SwapAxesKernel(const Blocks s) {
  ForRowPacks<kPack>(s.rows, s.d, s.group, [&](int64_t row, int64_t j) {
    // Row (a, c, b) of y; rows are counted in 32 bits.
    const uint32_t block = static_cast<uint32_t>(row) / s.b;
    const uint32_t b = static_cast<uint32_t>(row) - block * s.b;
    const uint32_t a = block / s.c;
    const uint32_t c = block - a * s.c;
    const int64_t from = ((int64_t{a} * s.b + b) * s.c + c) * s.d;
    AccumulatePack(s.beta, LoadPack<kPack>(s.x + from + j), s.y + row * s.d + j);
  });
}

}  // namespace

absl::Status SwapAxesGpu(Context& ctx, const Tensor& x, float beta, const Tensor& y) {
  if (x.size() == 0) return absl::OkStatus();
  Blocks s = {};
  s.x = x.data<float>();
  s.y = y.data<float>();
  s.rows = x.dim(0) * x.dim(1) * x.dim(2);
  s.d = x.dim(3);
  s.b = static_cast<uint32_t>(x.dim(1));
  s.c = static_cast<uint32_t>(x.dim(2));
  s.beta = beta;
  const bool by_four = RowsMoveByFour(s.d, {s.x, s.y});
  s.group = RowGroup(by_four ? s.d / 4 : s.d, kGpuThreads);
  return LaunchKernel(ctx, "SwapAxes", by_four ? SwapAxesKernel<4> : SwapAxesKernel<1>,
                      GpuBlocks(s.rows, kGpuThreads / s.group), kGpuThreads, 0, s);
}

}  // namespace pagoda
