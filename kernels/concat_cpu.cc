// Copies of rows, bound by memory.
#include "kernels/concat.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/concat_gpu.h"
#include "kernels/dispatch.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

// to[i, :] = beta * to[i, :] + from[i, :], `width` columns of rows that are
// `from_stride` and `to_stride` apart. With beta == 0, `to` is not read.
struct Columns {
  const float* from;
  int64_t from_stride;
  float* to;
  int64_t to_stride;
  int64_t width;
  float beta;
};

template <int kLanes>
PAGODA_INLINE void MoveRows(const Columns& c, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* from = c.from + i * c.from_stride;
    float* to = c.to + i * c.to_stride;
    if (c.beta == 0.0f) {
      PAGODA_IVDEP
      for (int64_t j = 0; j < c.width; ++j) to[j] = from[j];
    } else {
      PAGODA_IVDEP
      for (int64_t j = 0; j < c.width; ++j) to[j] = c.beta * to[j] + from[j];
    }
  }
}
PAGODA_VECTOR_VERSIONS(MoveRows, Columns)

absl::Status CheckColumns(Context& ctx, const char* op, const Tensor& narrow, int64_t column,
                          const Tensor& wide) {
  ArgumentCheck check(ctx, op);
  if (!check.Rank("wide", wide, 2).Rank("narrow", narrow, 2).ok()) return check.status();
  if (!check.Has("narrow", narrow, {wide.dim(0), narrow.dim(1)}).ok()) return check.status();
  if (column < 0 || column > wide.dim(1) - narrow.dim(1)) {
    return absl::InvalidArgumentError(
        absl::StrCat(op, ": narrow ", ShapeString(narrow.shape()), " at column ", column,
                     " does not lie within wide ", ShapeString(wide.shape())));
  }
  return absl::OkStatus();
}

absl::Status Move(Context& ctx, const Columns& columns, int64_t n) {
  ForChunks(ctx, n, RowsPerChunk(columns.width),
            [&](int64_t, int64_t begin, int64_t end) { RunMoveRows(columns, begin, end); });
  return absl::OkStatus();
}

Columns IntoWide(const Tensor& narrow, int64_t column, const Tensor& wide, float beta) {
  return {narrow.data<float>(), narrow.dim(1), wide.data<float>() + column,
          wide.dim(1),          narrow.dim(1), beta};
}

}  // namespace

absl::Status WriteColumns(Context& ctx, const Tensor& narrow, int64_t column, const Tensor& wide) {
  KernelScope scope(ctx);
  PAGODA_RETURN_IF_ERROR(CheckColumns(ctx, "WriteColumns", narrow, column, wide));
  PAGODA_ON_GPU(ctx, WriteColumnsGpu(ctx, narrow, column, wide));
  return Move(ctx, IntoWide(narrow, column, wide, 0.0f), wide.dim(0));
}

absl::Status ReadColumns(Context& ctx, const Tensor& wide, int64_t column, float beta,
                         const Tensor& narrow) {
  KernelScope scope(ctx);
  PAGODA_RETURN_IF_ERROR(CheckColumns(ctx, "ReadColumns", narrow, column, wide));
  PAGODA_ON_GPU(ctx, ReadColumnsGpu(ctx, wide, column, beta, narrow));
  const Columns columns{wide.data<float>() + column,
                        wide.dim(1),
                        narrow.data<float>(),
                        narrow.dim(1),
                        narrow.dim(1),
                        beta};
  return Move(ctx, columns, wide.dim(0));
}

absl::Status AddColumns(Context& ctx, const Tensor& narrow, int64_t column, const Tensor& wide) {
  KernelScope scope(ctx);
  PAGODA_RETURN_IF_ERROR(CheckColumns(ctx, "AddColumns", narrow, column, wide));
  PAGODA_ON_GPU(ctx, AddColumnsGpu(ctx, narrow, column, wide));
  return Move(ctx, IntoWide(narrow, column, wide, 1.0f), wide.dim(0));
}

}  // namespace pagoda
