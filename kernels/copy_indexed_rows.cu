// Bound by memory: 8 d bytes a row, and 4 for each index. A group of threads moves along a
// row.
#include "kernels/copy_indexed_rows_gpu.h"
#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

struct Rows {
  const float* from;
  const int32_t* from_index;
  const int32_t* to_index;
  float* to;
  int64_t m, d, stride;  // `stride` of from.
  unsigned group;
};

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) CopyIndexedRowsKernel(const Rows s) {
  ForRowPacks<kPack>(s.m, s.d, s.group, [&](int64_t i, int64_t c) {
    const int64_t at = s.from_index == nullptr ? i : s.from_index[i];
    const int64_t place = s.to_index == nullptr ? i : s.to_index[i];
    StorePack(LoadPack<kPack>(s.from + at * s.stride + c), s.to + place * s.d + c);
  });
}

}  // namespace

absl::Status CopyIndexedRowsGpu(Context& ctx, const Tensor& from, const Tensor& from_index,
                                const Tensor& to_index, const Tensor& to, int64_t first_column) {
  Rows s = {};
  s.from = from.data<float>() + first_column;
  s.from_index = from_index.data<int32_t>();
  s.to_index = to_index.data<int32_t>();
  s.to = to.data<float>();
  s.m = from.dim(0);
  if (s.from_index != nullptr) {
    s.m = from_index.size();
  } else if (s.to_index != nullptr) {
    s.m = to_index.size();
  }
  s.d = to.dim(1);
  s.stride = from.dim(1);
  if (s.m == 0 || s.d == 0) return absl::OkStatus();
  const bool by_four = s.stride % 4 == 0 && RowsMoveByFour(s.d, {s.from, s.to});
  s.group = RowGroup(by_four ? s.d / 4 : s.d, kGpuThreads);
  return LaunchKernel(ctx, "CopyIndexedRows",
                      by_four ? CopyIndexedRowsKernel<4> : CopyIndexedRowsKernel<1>,
                      GpuBlocks(s.m, kGpuThreads / s.group), kGpuThreads, 0, s);
}

}  // namespace pagoda
