// Pooling of consecutive rows on the host. Contract: segment_sum.h.
//
// Memory-bound: 4 * d * (n + s) bytes in each direction. Forward has one writer
// per segment, which adds its rows in order, so one very long segment keeps one
// thread busy alone; backward is cut by rows and has no such weakness.
#include "kernels/segment_sum.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/row_sum.h"
#include "kernels/segment_sum_gpu.h"
#include "kernels/vector_lanes.h"

namespace pagoda {
namespace {

struct SegmentArgs {
  float* x;                // [n, d]; the gradient in backward
  float* out;              // [s, d]; the gradient in backward
  const int32_t* offsets;  // [s + 1]
  int64_t num_segments;
  int64_t d;
  float beta;
  SegmentPooling pooling;
};

PAGODA_INLINE float ScaleOf(SegmentPooling pooling, int64_t count) {
  if (pooling == SegmentPooling::kSum || count <= 1) return 1.0f;
  const float n = static_cast<float>(count);
  return pooling == SegmentPooling::kMean ? 1.0f / n : 1.0f / std::sqrt(n);
}

template <int kLanes>
PAGODA_INLINE void PoolSegments(const SegmentArgs& a, int64_t begin, int64_t end) {
  ForRowSize(
      a.d, [&](auto size) __attribute__((always_inline)) {
        constexpr int kDim = decltype(size)::value;
        const int64_t d = kDim > 0 ? kDim : a.d;
        for (int64_t s = begin; s < end; ++s) {
          const int64_t from = a.offsets[s];
          const int64_t to = a.offsets[s + 1];
          SumRowsInOrder<kLanes, kDim>(
              from, to, d, a.beta, ScaleOf(a.pooling, to - from), a.out + s * d,
              [&](int64_t i) __attribute__((always_inline)) { return PlainRow{a.x + i * d}; },
              [](int64_t)
                  __attribute__((always_inline)){});  // The processor sees consecutive rows.
        }
      });
}
PAGODA_VECTOR_VERSIONS(PoolSegments, SegmentArgs)

// Rows [begin, end) of dx.
template <int kLanes>
PAGODA_INLINE void SpreadToRows(const SegmentArgs& a, int64_t begin, int64_t end) {
  // The last segment that starts at or before `begin` is the one that holds it.
  int64_t s = std::upper_bound(a.offsets, a.offsets + a.num_segments + 1, begin) - a.offsets - 1;
  for (int64_t i = begin; i < end; ++i) {
    while (a.offsets[s + 1] <= i) ++s;
    const float scale = ScaleOf(a.pooling, a.offsets[s + 1] - a.offsets[s]);
    const float* from = a.out + s * a.d;
    float* to = a.x + i * a.d;
    ForEachColumnBlock<kLanes>(
        0, a.d, [&](auto lanes, int64_t c) __attribute__((always_inline)) {
          constexpr int kWidth = decltype(lanes)::value;
          Accumulate<kWidth>(a.beta, *At<kWidth>(from + c) * scale, to + c);
        });
  }
}
PAGODA_VECTOR_VERSIONS(SpreadToRows, SegmentArgs)

absl::StatusOr<SegmentArgs> CheckSegments(Context& ctx, const char* op, const char* x_name,
                                          const Tensor& x, const Tensor& offsets,
                                          const char* out_name, const Tensor& out) {
  ArgumentCheck check(ctx, op);
  check.Rank(x_name, x, 2).Rank(out_name, out, 2);
  if (!check.ok()) return check.status();
  check.Has(out_name, out, {out.dim(0), x.dim(1)});
  check.Has("offsets", offsets, {out.dim(0) + 1}, DType::kI32);
  if (!check.ok()) return check.status();
  const int32_t* values = offsets.data<int32_t>();
  // On a GPU its values are trusted: the host does not see them.
  check.That(ctx.on_gpu() || (values[0] == 0 && values[out.dim(0)] == x.dim(0)),
             "offsets do not run from 0 to the number of rows");
  if (!check.ok()) return check.status();
  return SegmentArgs{.x = x.data<float>(),
                     .out = out.data<float>(),
                     .offsets = values,
                     .num_segments = out.dim(0),
                     .d = x.dim(1),
                     .beta = 0.0f,
                     .pooling = SegmentPooling::kSum};
}

}  // namespace

absl::Status SegmentSumForward(Context& ctx, const Tensor& x, const Tensor& offsets,
                               SegmentPooling pooling, float beta, const Tensor& out) {
  KernelScope scope(ctx);
  PAGODA_ASSIGN_OR_RETURN(SegmentArgs args,
                          CheckSegments(ctx, "SegmentSumForward", "x", x, offsets, "out", out));
  PAGODA_ON_GPU(ctx, SegmentSumForwardGpu(ctx, x, offsets, pooling, beta, out));
  args.beta = beta;
  args.pooling = pooling;
  const int64_t num_pieces = CountPieces(x.dim(0), args.num_segments);
  ctx.pool().ParallelFor(num_pieces, [&](int64_t piece) {
    RunPoolSegments(args, FirstOfPiece(args.offsets, args.num_segments, piece),
                    FirstOfPiece(args.offsets, args.num_segments, piece + 1));
  });
  return absl::OkStatus();
}

absl::Status SegmentSumBackward(Context& ctx, const Tensor& dout, const Tensor& offsets,
                                SegmentPooling pooling, float beta, const Tensor& dx) {
  KernelScope scope(ctx);
  PAGODA_ASSIGN_OR_RETURN(
      SegmentArgs args, CheckSegments(ctx, "SegmentSumBackward", "dx", dx, offsets, "dout", dout));
  PAGODA_ON_GPU(ctx, SegmentSumBackwardGpu(ctx, dout, offsets, pooling, beta, dx));
  args.beta = beta;
  args.pooling = pooling;
  ForChunks(ctx, dx.dim(0), RowsPerChunk(args.d),
            [&](int64_t, int64_t begin, int64_t end) { RunSpreadToRows(args, begin, end); });
  return absl::OkStatus();
}

}  // namespace pagoda
