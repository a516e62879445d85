// Bound by memory.
#include "kernels/copy_indexed_rows.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/copy_indexed_rows_gpu.h"
#include "kernels/dispatch.h"

namespace pagoda {

absl::Status CopyIndexedRows(Context& ctx, const Tensor& from, const Tensor& from_index,
                             const Tensor& to_index, const Tensor& to, int64_t first_column) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "CopyIndexedRows");
  if (!check.Rank("from", from, 2).Rank("to", to, 2).ok()) return check.status();
  int64_t m = from.dim(0);
  if (!from_index.absent()) {
    m = from_index.size();
  } else if (!to_index.absent()) {
    m = to_index.size();
  }
  check.HasOrAbsent("from_index", from_index, {m}, DType::kI32)
      .HasOrAbsent("to_index", to_index, {m}, DType::kI32)
      .That(first_column >= 0 && first_column + to.dim(1) <= from.dim(1),
            "to has columns that from has not")
      .That(!from_index.absent() || m <= from.dim(0), "from has fewer rows than are copied")
      .That(!to_index.absent() || m <= to.dim(0), "to has fewer rows than are copied");
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, CopyIndexedRowsGpu(ctx, from, from_index, to_index, to, first_column));
  const int64_t d = to.dim(1), stride = from.dim(1);
  const float* const source = from.data<float>() + first_column;
  float* const target = to.data<float>();
  const int32_t* const source_rows = from_index.data<int32_t>();
  const int32_t* const target_rows = to_index.data<int32_t>();
  ForChunks(ctx, m, RowsPerChunk(d), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = source_rows == nullptr ? i : source_rows[i];
      const int64_t place = target_rows == nullptr ? i : target_rows[i];
      std::copy_n(source + at * stride, d, target + place * d);
    }
  });
  return absl::OkStatus();
}

}  // namespace pagoda
