// Gather and pooling on the host. Contract: embedding_bag.h.
//
// Memory-bound: forward reads 4 * dim * nnz bytes of rows in random order (the
// rows of the next occurrences are prefetched) and writes 4 * dim per segment
// once. Backward has one writer per row, which adds the row's occurrences in
// order. When the features fill the whole output in order and pool by sum, which
// is the rule, the output row of a segment is dout + segment * dim; otherwise each
// occurrence costs a division to find its sample and feature.
#include "kernels/embedding_bag.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/embedding_bag_gpu.h"
#include "kernels/row_sum.h"
#include "kernels/vector_lanes.h"

namespace pagoda {
namespace {

// Segments of one piece of the forward loop, and rows of one of a plain gather:
// at dim 16 they write 128 KB, which stays in a level-2 cache.
constexpr int64_t kRowsPerPiece = 2048;

enum PoolingValue : int32_t { kSum = 0, kMean = 1, kSqrtN = 2 };

PAGODA_INLINE float PoolingScale(int32_t pooling, int64_t count) {
  if (pooling == kSum || count <= 1) return 1.0f;
  const float n = static_cast<float>(count);
  return pooling == kMean ? 1.0f / n : 1.0f / std::sqrt(n);
}

// The operands of both directions, checked, without handles.
struct BagArgs {
  float* rows;  // [num_unique, dim]; the gradient in backward
  float* out;   // [batch, total_features, dim]; the gradient in backward
  int64_t total_features;
  int64_t dim;
  int64_t num_features;
  const int32_t* inverse;
  const int32_t* offsets;
  const int32_t* columns;
  const int32_t* pooling;
  const int32_t* occurrence_offsets;
  const int32_t* occurrence_segments;
  bool fills_output;  // Feature k is column k, and there is no other column.
  bool all_sums;
  float beta;
};

// Samples [begin, end).
template <int kLanes, int kDim>
PAGODA_INLINE void PoolSamples(const BagArgs& a, int64_t begin, int64_t end) {
  const int64_t dim = kDim > 0 ? kDim : a.dim;
  const int64_t first = a.offsets[begin * a.num_features];
  const int64_t last = a.offsets[end * a.num_features];
  const auto row = [&](int64_t i) __attribute__((always_inline)) {
    return PlainRow{a.rows + a.inverse[i] * dim};
  };
  const auto ahead = [&](int64_t i) __attribute__((always_inline)) {
    if (i + kPrefetchRows < last) PrefetchRow(row(i + kPrefetchRows).row, dim);
  };
  for (int64_t i = first; i < std::min(first + kPrefetchRows, last); ++i) {
    PrefetchRow(row(i).row, dim);
  }
  for (int64_t sample = begin; sample < end; ++sample) {
    const int32_t* offsets = a.offsets + sample * a.num_features;
    float* out = a.out + sample * a.total_features * dim;
    for (int64_t k = 0; k < a.num_features; ++k) {
      const int64_t from = offsets[k];
      const int64_t to = offsets[k + 1];
      if (to - from == 1) {
        ahead(from);
        CopyRow<kLanes>(row(from).row, dim, out + a.columns[k] * dim);
      } else {
        SumRowsInOrder<kLanes, kDim>(from, to, dim, 0.0f, PoolingScale(a.pooling[k], to - from),
                                     out + a.columns[k] * dim, row, ahead);
      }
    }
  }
}

template <int kLanes>
PAGODA_INLINE void BagForward(const BagArgs& a, int64_t begin, int64_t end) {
  ForRowSize(
      a.dim, [&](auto size) __attribute__((always_inline)) {
        PoolSamples<kLanes, decltype(size)::value>(a, begin, end);
      });
}
PAGODA_VECTOR_VERSIONS(BagForward, BagArgs)

// drows[u] for u in [begin, end): `source` finds what occurrence i adds.
template <int kLanes, int kDim, typename Source>
PAGODA_INLINE void SumOccurrences(const BagArgs& a, int64_t dim, int64_t begin, int64_t end,
                                  const Source& source) {
  const int64_t last = a.occurrence_offsets[end];
  const auto ahead = [&](int64_t i) __attribute__((always_inline)) {
    if (i + kPrefetchRows < last) PrefetchRow(source(i + kPrefetchRows).row, dim);
  };
  for (int64_t u = begin; u < end; ++u) {
    SumRowsInOrder<kLanes, kDim>(a.occurrence_offsets[u], a.occurrence_offsets[u + 1], dim, a.beta,
                                 1.0f, a.rows + u * dim, source, ahead);
  }
}

template <int kLanes>
PAGODA_INLINE void BagBackward(const BagArgs& a, int64_t begin, int64_t end) {
  ForRowSize(
      a.dim, [&](auto size) __attribute__((always_inline)) {
        constexpr int kDim = decltype(size)::value;
        const int64_t dim = kDim > 0 ? kDim : a.dim;
        if (a.fills_output && a.all_sums) {
          SumOccurrences<kLanes, kDim>(
              a, dim, begin, end, [&](int64_t i) __attribute__((always_inline)) {
                return PlainRow{a.out + a.occurrence_segments[i] * dim};
              });
          return;
        }
        SumOccurrences<kLanes, kDim>(
            a, dim, begin, end, [&](int64_t i) __attribute__((always_inline)) {
              const int32_t segment = a.occurrence_segments[i];
              const int64_t sample =
                  static_cast<uint32_t>(segment) / static_cast<uint32_t>(a.num_features);
              const int64_t k = segment - sample * a.num_features;
              return ScaledRow{
                  a.out + (sample * a.total_features + a.columns[k]) * dim,
                  PoolingScale(a.pooling[k], a.offsets[segment + 1] - a.offsets[segment])};
            });
      });
}
PAGODA_VECTOR_VERSIONS(BagBackward, BagArgs)

struct GatherArgs {
  const float* rows;
  const int32_t* inverse;
  float* out;
  int64_t dim;
};

template <int kLanes>
PAGODA_INLINE void Gather(const GatherArgs& a, int64_t begin, int64_t end) {
  ForRowSize(
      a.dim, [&](auto size) __attribute__((always_inline)) {
        constexpr int kDim = decltype(size)::value;
        const int64_t dim = kDim > 0 ? kDim : a.dim;
        for (int64_t i = begin; i < end; ++i) {
          if (i + kPrefetchRows < end)
            PrefetchRow(a.rows + a.inverse[i + kPrefetchRows] * dim, dim);
          CopyRow<kLanes>(a.rows + a.inverse[i] * dim, dim, a.out + i * dim);
        }
      });
}
PAGODA_VECTOR_VERSIONS(Gather, GatherArgs)

struct GatherBackwardArgs {
  const float* dout;
  const int32_t* occurrence_offsets;
  const int32_t* occurrences;
  float* drows;
  int64_t dim;
  float beta;
};

template <int kLanes>
PAGODA_INLINE void GatherBackward(const GatherBackwardArgs& a, int64_t begin, int64_t end) {
  ForRowSize(
      a.dim, [&](auto size) __attribute__((always_inline)) {
        constexpr int kDim = decltype(size)::value;
        const int64_t dim = kDim > 0 ? kDim : a.dim;
        const int64_t last = a.occurrence_offsets[end];
        const auto row = [&](int64_t i) __attribute__((always_inline)) {
          return PlainRow{a.dout + a.occurrences[i] * dim};
        };
        const auto ahead = [&](int64_t i) __attribute__((always_inline)) {
          if (i + kPrefetchRows < last) PrefetchRow(row(i + kPrefetchRows).row, dim);
        };
        for (int64_t u = begin; u < end; ++u) {
          SumRowsInOrder<kLanes, kDim>(a.occurrence_offsets[u], a.occurrence_offsets[u + 1], dim,
                                       a.beta, 1.0f, a.drows + u * dim, row, ahead);
        }
      });
}
PAGODA_VECTOR_VERSIONS(GatherBackward, GatherBackwardArgs)

// Checks that offsets [num_rows + 1] run from 0 to the size of what they cut.
void CheckOffsets(ArgumentCheck& check, bool on_gpu, const char* name, const Tensor& offsets,
                  int64_t num_rows, const Tensor& items) {
  if (!check.Has(name, offsets, {num_rows + 1}, DType::kI32).ok()) return;
  if (on_gpu) return;  // Its values are trusted: the host does not see them.
  const int32_t* values = offsets.data<int32_t>();
  check.That(values[0] == 0 && values[num_rows] == items.dim(0),
             "offsets do not run from 0 to the number of items that they cut");
}

// Checks the operands that both directions have, and strips them to pointers.
// What is returned is of use only when the check is ok.
BagArgs CheckBag(ArgumentCheck& check, bool on_gpu, const Tensor& rows,
                 const EmbeddingBagIndex& index, const char* out_name, const Tensor& out) {
  check.Rank(out_name, out, 3).Rank("rows", rows, 2).Rank("inverse", index.inverse, 1, DType::kI32);
  if (!check.ok()) return {};
  check.Has("rows", rows, {rows.dim(0), out.dim(2)});
  check.That(index.batch == out.dim(0), "the index has another batch size");
  check.That(index.num_features >= 0, "the index has a negative number of features");
  CheckOffsets(check, on_gpu, "offsets", index.offsets, index.batch * index.num_features,
               index.inverse);
  check.Has("columns", index.columns, {index.num_features}, DType::kI32);
  check.Has("pooling", index.pooling, {index.num_features}, DType::kI32);
  if (!check.ok()) return {};
  BagArgs args = {.rows = rows.data<float>(),
                  .out = out.data<float>(),
                  .total_features = out.dim(1),
                  .dim = out.dim(2),
                  .num_features = index.num_features,
                  .inverse = index.inverse.data<int32_t>(),
                  .offsets = index.offsets.data<int32_t>(),
                  .columns = index.columns.data<int32_t>(),
                  .pooling = index.pooling.data<int32_t>(),
                  .occurrence_offsets = nullptr,
                  .occurrence_segments = nullptr,
                  .fills_output = index.num_features == out.dim(1),
                  .all_sums = true,
                  .beta = 0.0f};
  if (on_gpu) return args;
  for (int64_t k = 0; k < index.num_features; ++k) {
    const int32_t column = args.columns[k];
    const int32_t pooling = args.pooling[k];
    check.That(column >= 0 && column < out.dim(1),
               "a value in columns is no feature of the output");
    check.That(pooling >= kSum && pooling <= kSqrtN, "a value in pooling is not 0, 1 or 2");
    args.fills_output = args.fills_output && column == k;
    args.all_sums = args.all_sums && pooling == kSum;
  }
  return args;
}

}  // namespace

absl::Status EmbeddingBagForward(Context& ctx, const Tensor& rows, const EmbeddingBagIndex& index,
                                 const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "EmbeddingBagForward");
  const BagArgs args = CheckBag(check, ctx.on_gpu(), rows, index, "out", out);
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, EmbeddingBagForwardGpu(ctx, rows, index, out));
  const int64_t samples =
      std::max<int64_t>(kRowsPerPiece / std::max<int64_t>(args.num_features, 1), 1);
  ForChunks(ctx, index.batch, samples,
            [&](int64_t, int64_t begin, int64_t end) { RunBagForward(args, begin, end); });
  return absl::OkStatus();
}

absl::Status EmbeddingBagBackward(Context& ctx, const Tensor& dout, const EmbeddingBagIndex& index,
                                  float beta, const Tensor& drows) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "EmbeddingBagBackward");
  BagArgs args = CheckBag(check, ctx.on_gpu(), drows, index, "dout", dout);
  if (!check.ok()) return check.status();
  const int64_t nnz = index.inverse.dim(0);
  const int64_t num_unique = drows.dim(0);
  check.Has("occurrence_segments", index.occurrence_segments, {nnz}, DType::kI32);
  CheckOffsets(check, ctx.on_gpu(), "occurrence_offsets", index.occurrence_offsets, num_unique,
               index.inverse);
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, EmbeddingBagBackwardGpu(ctx, dout, index, beta, drows));
  args.occurrence_offsets = index.occurrence_offsets.data<int32_t>();
  args.occurrence_segments = index.occurrence_segments.data<int32_t>();
  args.beta = beta;
  ctx.pool().ParallelFor(CountPieces(nnz, num_unique), [&](int64_t piece) {
    RunBagBackward(args, FirstOfPiece(args.occurrence_offsets, num_unique, piece),
                   FirstOfPiece(args.occurrence_offsets, num_unique, piece + 1));
  });
  return absl::OkStatus();
}

absl::Status GatherRows(Context& ctx, const Tensor& rows, const Tensor& inverse,
                        const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "GatherRows");
  check.Rank("rows", rows, 2).Rank("inverse", inverse, 1, DType::kI32);
  if (!check.ok()) return check.status();
  const int64_t n = inverse.dim(0);
  if (!check.Has("out", out, {n, rows.dim(1)}).ok()) return check.status();
  PAGODA_ON_GPU(ctx, GatherRowsGpu(ctx, rows, inverse, out));
  const GatherArgs args = {.rows = rows.data<float>(),
                           .inverse = inverse.data<int32_t>(),
                           .out = out.data<float>(),
                           .dim = rows.dim(1)};
  ForChunks(ctx, n, kRowsPerPiece,
            [&](int64_t, int64_t begin, int64_t end) { RunGather(args, begin, end); });
  return absl::OkStatus();
}

absl::Status GatherRowsBackward(Context& ctx, const Tensor& dout, const Tensor& occurrence_offsets,
                                const Tensor& occurrences, float beta, const Tensor& drows) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "GatherRowsBackward");
  check.Rank("drows", drows, 2).Rank("occurrences", occurrences, 1, DType::kI32);
  if (!check.ok()) return check.status();
  const int64_t num_rows = drows.dim(0);
  check.Has("dout", dout, {occurrences.dim(0), drows.dim(1)});
  CheckOffsets(check, ctx.on_gpu(), "occurrence_offsets", occurrence_offsets, num_rows,
               occurrences);
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx,
                GatherRowsBackwardGpu(ctx, dout, occurrence_offsets, occurrences, beta, drows));
  const GatherBackwardArgs args = {.dout = dout.data<float>(),
                                   .occurrence_offsets = occurrence_offsets.data<int32_t>(),
                                   .occurrences = occurrences.data<int32_t>(),
                                   .drows = drows.data<float>(),
                                   .dim = drows.dim(1),
                                   .beta = beta};
  ctx.pool().ParallelFor(CountPieces(occurrences.dim(0), num_rows), [&](int64_t piece) {
    RunGatherBackward(args, FirstOfPiece(args.occurrence_offsets, num_rows, piece),
                      FirstOfPiece(args.occurrence_offsets, num_rows, piece + 1));
  });
  return absl::OkStatus();
}

}  // namespace pagoda
