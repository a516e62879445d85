// Copies of rows of d, bound by memory.
#include "kernels/swap_axes.h"

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/swap_axes_gpu.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

struct Blocks {
  const float* x;
  float* y;
  int64_t b, c, d;
  float beta;
};

// Rows [begin, end) of y's A * C blocks of B rows.
template <int kLanes>
PAGODA_INLINE void SwapRows(const Blocks& s, int64_t begin, int64_t end) {
  for (int64_t block = begin; block < end; ++block) {
    const int64_t a = block / s.c, c = block % s.c;
    for (int64_t b = 0; b < s.b; ++b) {
      const float* from = s.x + ((a * s.b + b) * s.c + c) * s.d;
      float* to = s.y + (block * s.b + b) * s.d;
      if (s.beta == 0.0f) {
        PAGODA_IVDEP
        for (int64_t j = 0; j < s.d; ++j) to[j] = from[j];
      } else {
        PAGODA_IVDEP
        for (int64_t j = 0; j < s.d; ++j) to[j] = s.beta * to[j] + from[j];
      }
    }
  }
}
PAGODA_VECTOR_VERSIONS(SwapRows, Blocks)

}  // namespace

absl::Status SwapAxes(Context& ctx, const Tensor& x, float beta, const Tensor& y) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SwapAxes");
  if (!check.Rank("x", x, 4).ok()) return check.status();
  if (!check.Has("y", y, {x.dim(0), x.dim(2), x.dim(1), x.dim(3)}).ok()) return check.status();
  PAGODA_ON_GPU(ctx, SwapAxesGpu(ctx, x, beta, y));
  const Blocks blocks{x.data<float>(), y.data<float>(), x.dim(1), x.dim(2), x.dim(3), beta};
  ForChunks(ctx, x.dim(0) * x.dim(2), RowsPerChunk(x.dim(1) * x.dim(3)),
            [&](int64_t, int64_t begin, int64_t end) { RunSwapRows(blocks, begin, end); });
  return absl::OkStatus();
}

}  // namespace pagoda
