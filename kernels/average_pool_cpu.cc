// A sum of `window` for each output, in the order of columns; backward spreads each slope over
// its window, a row at a time.
#include "kernels/average_pool.h"

#include <algorithm>

#include "kernels/average_pool_gpu.h"
#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

constexpr int64_t kMostColumns = int64_t{1} << 30;

struct Pool {
  const float* from;
  float* to;
  int64_t d, m, window, stride;
  float scale;  // 1 / window
  float beta = 0.0f;
};

template <int kLanes>
PAGODA_INLINE void PoolRows(const Pool& p, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* row = p.from + i * p.d;
    float* out = p.to + i * p.m;
    for (int64_t j = 0; j < p.m; ++j) {
      out[j] = SumOf<kLanes>(row + j * p.stride, p.window) * p.scale;
    }
  }
}
PAGODA_VECTOR_VERSIONS(PoolRows, Pool)

template <int kLanes>
PAGODA_INLINE void SpreadRows(const Pool& p, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* slopes = p.from + i * p.m;
    float* dx = p.to + i * p.d;
    if (p.beta == 0.0f) {
      for (int64_t c = 0; c < p.d; ++c) dx[c] = 0.0f;
    } else {
      for (int64_t c = 0; c < p.d; ++c) dx[c] *= p.beta;
    }
    for (int64_t j = 0; j < p.m; ++j) {
      const float share = slopes[j] * p.scale;
      float* to = dx + j * p.stride;
      for (int64_t c = 0; c < p.window; ++c) to[c] += share;
    }
  }
}
PAGODA_VECTOR_VERSIONS(SpreadRows, Pool)

// The checks of both directions: wide [n, d], pooled [n, m].
absl::Status Check(Context& ctx, const char* op, const Tensor& wide, const AveragePoolArgs& args,
                   const Tensor& pooled) {
  ArgumentCheck check(ctx, op);
  check.Rank("the unpooled operand", wide, 2)
      .That(args.window >= 1, "window must be at least 1")
      .That(args.stride >= 1, "stride must be at least 1");
  if (!check.ok()) return check.status();
  check.That(args.stride <= kMostColumns && wide.dim(1) <= kMostColumns, "rows are too wide");
  const int64_t m = NumPoolWindows(wide.dim(1), args);
  return check.That(m > 0, "window is wider than the rows")
      .Has("the pooled operand", pooled, {wide.dim(0), m})
      .status();
}

}  // namespace

int64_t NumPoolWindows(int64_t d, const AveragePoolArgs& args) {
  return args.window > d ? 0 : (d - args.window) / args.stride + 1;
}

absl::Status AveragePoolForward(Context& ctx, const Tensor& x, const AveragePoolArgs& args,
                                const Tensor& out) {
  KernelScope scope(ctx);
  PAGODA_RETURN_IF_ERROR(Check(ctx, "AveragePoolForward", x, args, out));
  PAGODA_ON_GPU(ctx, AveragePoolForwardGpu(ctx, x, args, out));
  const Pool pool = {x.data<float>(),
                     out.data<float>(),
                     x.dim(1),
                     out.dim(1),
                     args.window,
                     args.stride,
                     1.0f / static_cast<float>(args.window)};
  ForChunks(ctx, x.dim(0), RowsPerChunk(x.dim(1)),
            [&](int64_t, int64_t begin, int64_t end) { RunPoolRows(pool, begin, end); });
  return absl::OkStatus();
}

absl::Status AveragePoolBackward(Context& ctx, const Tensor& dout, const AveragePoolArgs& args,
                                 float beta, const Tensor& dx) {
  KernelScope scope(ctx);
  PAGODA_RETURN_IF_ERROR(Check(ctx, "AveragePoolBackward", dx, args, dout));
  PAGODA_ON_GPU(ctx, AveragePoolBackwardGpu(ctx, dout, args, beta, dx));
  const Pool pool = {dout.data<float>(),
                     dx.data<float>(),
                     dx.dim(1),
                     dout.dim(1),
                     args.window,
                     args.stride,
                     1.0f / static_cast<float>(args.window),
                     beta};
  ForChunks(ctx, dx.dim(0), RowsPerChunk(dx.dim(1)),
            [&](int64_t, int64_t begin, int64_t end) { RunSpreadRows(pool, begin, end); });
  return absl::OkStatus();
}

}  // namespace pagoda
