// Bound by memory: 8 bytes an element, 12 where it adds.
#include "kernels/concat_gpu.h"

#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

struct Columns {
  const float* from;
  int64_t from_stride;
  float* to;
  int64_t to_stride;
  int64_t width;
  int64_t n;
  float beta;
  unsigned group;
};

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) MoveColumnsKernel(const Columns c) {
  ForRowPacks<kPack>(c.n, c.width, c.group, [&](int64_t i, int64_t j) {
    AccumulatePack(c.beta, LoadPack<kPack>(c.from + i * c.from_stride + j),
                   c.to + i * c.to_stride + j);
  });
}

absl::Status Move(Context& ctx, const char* name, Columns columns) {
  if (columns.n * columns.width == 0) return absl::OkStatus();
  const bool by_four = RowsMoveByFour(columns.width, {columns.from, columns.to}) &&
                       columns.from_stride % 4 == 0 && columns.to_stride % 4 == 0;
  columns.group = RowGroup(columns.width / (by_four ? 4 : 1), kGpuThreads);
  return LaunchKernel(ctx, name, by_four ? MoveColumnsKernel<4> : MoveColumnsKernel<1>,
                      GpuBlocks(columns.n, kGpuThreads / columns.group), kGpuThreads, 0, columns);
}

Columns IntoWide(const Tensor& narrow, int64_t column, const Tensor& wide, float beta) {
  return {narrow.data<float>(),
          narrow.dim(1),
          wide.data<float>() + column,
          wide.dim(1),
          narrow.dim(1),
          wide.dim(0),
          beta,
          1};
}

}  // namespace

absl::Status WriteColumnsGpu(Context& ctx, const Tensor& narrow, int64_t column,
                             const Tensor& wide) {
  return Move(ctx, "WriteColumns", IntoWide(narrow, column, wide, 0.0f));
}
absl::Status ReadColumnsGpu(Context& ctx, const Tensor& wide, int64_t column, float beta,
                            const Tensor& narrow) {
  return Move(ctx, "ReadColumns",
              {wide.data<float>() + column, wide.dim(1), narrow.data<float>(), narrow.dim(1),
               narrow.dim(1), wide.dim(0), beta, 1});
}
absl::Status AddColumnsGpu(Context& ctx, const Tensor& narrow, int64_t column, const Tensor& wide) {
  return Move(ctx, "AddColumns", IntoWide(narrow, column, wide, 1.0f));
}

}  // namespace pagoda
