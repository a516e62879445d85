// Bound by memory: 8 bytes an element, 12 where it adds.
#include "kernels/concat_gpu.h"

#include "kernels/gpu_stream.h"

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
};

// A thread an element; neighbours in a row are neighbours in a warp.
__global__ void __launch_bounds__(kGpuThreads) MoveColumnsKernel(const Columns c) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t e = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; e < c.n * c.width; e += step) {
    const int64_t i = e / c.width;
    const int64_t j = e - i * c.width;
    const float value = c.from[i * c.from_stride + j];
    float* const to = c.to + i * c.to_stride + j;
    *to = c.beta == 0.0f ? value : c.beta * *to + value;
  }
}

absl::Status Move(Context& ctx, const char* name, const Columns& columns) {
  const int64_t count = columns.n * columns.width;
  if (count == 0) return absl::OkStatus();
  return LaunchKernel(ctx, name, MoveColumnsKernel, GpuBlocks(count, kGpuThreads), kGpuThreads, 0,
                      columns);
}

Columns IntoWide(const Tensor& narrow, int64_t column, const Tensor& wide, float beta) {
  return {
      narrow.data<float>(), narrow.dim(1), wide.data<float>() + column, wide.dim(1), narrow.dim(1),
      wide.dim(0),          beta};
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
               narrow.dim(1), wide.dim(0), beta});
}
absl::Status AddColumnsGpu(Context& ctx, const Tensor& narrow, int64_t column, const Tensor& wide) {
  return Move(ctx, "AddColumns", IntoWide(narrow, column, wide, 1.0f));
}

}  // namespace pagoda
