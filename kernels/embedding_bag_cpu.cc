// Gather and pooling on the host. Contract: embedding_bag.h.
//
// Memory-bound: forward reads 4 * dim * nnz bytes of rows in random order (the
// rows of the next occurrences are prefetched) and writes 4 * dim per segment
// once. It runs over blocks of samples and, within a block, over tables, so that
// a block of `out` is complete while it is in cache. Backward has one writer per
// row, which adds the row's occurrences in order.
#include "kernels/embedding_bag.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/row_sum.h"
#include "kernels/vector_lanes.h"

namespace pagoda {
namespace {

// Samples of one piece of the forward loop: with 26 features of dim 16 a block of
// `out` is 106 KB, which stays in a level-2 cache.
constexpr int64_t kSamplesPerPiece = 64;
// Rows of one piece of a plain gather.
constexpr int64_t kGatherRowsPerPiece = 2048;

enum PoolingValue : int32_t { kSum = 0, kMean = 1, kSqrtN = 2 };

PAGODA_INLINE float PoolingScale(int32_t pooling, int64_t count) {
  if (pooling == kSum || count <= 1) return 1.0f;
  const float n = static_cast<float>(count);
  return pooling == kMean ? 1.0f / n : 1.0f / std::sqrt(n);
}

// What the loops need of one table, without handles.
struct Table {
  float* rows;  // [num_unique, dim]
  int64_t num_unique;
  int64_t num_features;
  int64_t nnz;
  const int32_t* inverse;
  const int32_t* offsets;
  const int32_t* columns;
  const int32_t* pooling;
  const int32_t* occurrence_offsets;
  const int32_t* occurrence_segments;
};

struct Bags {
  std::vector<Table> tables;
  float* out;  // [batch, total_features, dim]
  int64_t batch;
  int64_t total_features;
  int64_t dim;
};

// The samples [begin, end) of one table.
template <int kLanes, int kDim>
PAGODA_INLINE void ForwardTable(const Bags& bags, const Table& t, int64_t begin, int64_t end) {
  const int64_t dim = kDim > 0 ? kDim : bags.dim;
  const int64_t first = t.offsets[begin * t.num_features];
  const int64_t last = t.offsets[end * t.num_features];
  const auto row = [&](int64_t i) __attribute__((always_inline)) {
    return static_cast<const float*>(t.rows + t.inverse[i] * dim);
  };
  const auto ahead = [&](int64_t i) __attribute__((always_inline)) {
    if (i + kPrefetchRows < last) PrefetchRow(row(i + kPrefetchRows), dim);
  };
  for (int64_t i = first; i < std::min(first + kPrefetchRows, last); ++i) PrefetchRow(row(i), dim);
  for (int64_t sample = begin; sample < end; ++sample) {
    for (int64_t k = 0; k < t.num_features; ++k) {
      const int64_t segment = sample * t.num_features + k;
      const int64_t from = t.offsets[segment];
      const int64_t to = t.offsets[segment + 1];
      float* out = bags.out + (sample * bags.total_features + t.columns[k]) * dim;
      if (to - from == 1) {
        ahead(from);
        CopyRow<kLanes>(row(from), dim, out);
      } else {
        SumRowsInOrder<kLanes, kDim>(from, to, dim, 0.0f, PoolingScale(t.pooling[k], to - from),
                                     out, row, ahead);
      }
    }
  }
}

template <int kLanes>
PAGODA_INLINE void ForwardSamples(const Bags& bags, int64_t begin, int64_t end) {
  for (const Table& t : bags.tables) {
    ForRowSize(
        bags.dim, [&](auto size) __attribute__((always_inline)) {
          ForwardTable<kLanes, decltype(size)::value>(bags, t, begin, end);
        });
  }
}
PAGODA_VECTOR_VERSIONS(ForwardSamples, Bags)

struct BackwardArgs {
  const Bags& bags;
  const Table& table;
  float beta;
};

// The gradients of rows [begin, end) of one table. With one feature a segment is
// a sample, which saves a division per occurrence.
template <int kLanes, int kDim, bool kOneFeature>
PAGODA_INLINE void BackwardTable(const BackwardArgs& args, int64_t begin, int64_t end) {
  const Table& t = args.table;
  const int64_t dim = kDim > 0 ? kDim : args.bags.dim;
  const auto source = [&](int64_t i) __attribute__((always_inline)) {
    const int32_t segment = t.occurrence_segments[i];
    const uint32_t num_features = static_cast<uint32_t>(t.num_features);
    uint32_t sample = static_cast<uint32_t>(segment);
    uint32_t k = 0;
    if constexpr (!kOneFeature) {
      k = sample % num_features;
      sample /= num_features;
    }
    const int64_t count = t.offsets[segment + 1] - t.offsets[segment];
    return ScaledRow{args.bags.out + (sample * args.bags.total_features + t.columns[k]) * dim,
                     PoolingScale(t.pooling[k], count)};
  };
  const int64_t last = t.occurrence_offsets[end];
  const auto ahead = [&](int64_t i) __attribute__((always_inline)) {
    if (i + kPrefetchRows < last) PrefetchRow(source(i + kPrefetchRows).row, dim);
  };
  for (int64_t u = begin; u < end; ++u) {
    SumRowsInOrder<kLanes, kDim>(t.occurrence_offsets[u], t.occurrence_offsets[u + 1], dim,
                                 args.beta, 1.0f, t.rows + u * dim, source, ahead);
  }
}

template <int kLanes>
PAGODA_INLINE void BackwardRows(const BackwardArgs& args, int64_t begin, int64_t end) {
  ForRowSize(
      args.bags.dim, [&](auto size) __attribute__((always_inline)) {
        constexpr int kDim = decltype(size)::value;
        if (args.table.num_features == 1) {
          BackwardTable<kLanes, kDim, true>(args, begin, end);
        } else {
          BackwardTable<kLanes, kDim, false>(args, begin, end);
        }
      });
}
PAGODA_VECTOR_VERSIONS(BackwardRows, BackwardArgs)

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
          return a.dout + a.occurrences[i] * dim;
        };
        const auto ahead = [&](int64_t i) __attribute__((always_inline)) {
          if (i + kPrefetchRows < last) PrefetchRow(row(i + kPrefetchRows), dim);
        };
        for (int64_t u = begin; u < end; ++u) {
          SumRowsInOrder<kLanes, kDim>(a.occurrence_offsets[u], a.occurrence_offsets[u + 1], dim,
                                       a.beta, 1.0f, a.drows + u * dim, row, ahead);
        }
      });
}
PAGODA_VECTOR_VERSIONS(GatherBackward, GatherBackwardArgs)

// Checks that offsets [num_rows + 1] run from 0 to the size of what they cut.
void CheckOffsets(ArgumentCheck& check, const char* name, const Tensor& offsets, int64_t num_rows,
                  const Tensor& items) {
  if (!check.Has(name, offsets, {num_rows + 1}, DType::kI32).ok()) return;
  const int32_t* values = offsets.data<int32_t>();
  check.That(values[0] == 0 && values[num_rows] == items.dim(0),
             "offsets do not run from 0 to the number of items that they cut");
}

void CheckIndex(ArgumentCheck& check, const EmbeddingBagIndex& index, const Shape& out) {
  check.That(index.batch == out[0], "the index has another batch size");
  check.That(index.num_features >= 0, "the index has a negative number of features");
  if (!check.Rank("inverse", index.inverse, 1, DType::kI32).ok()) return;
  CheckOffsets(check, "offsets", index.offsets, index.batch * index.num_features, index.inverse);
  check.Has("columns", index.columns, {index.num_features}, DType::kI32);
  check.Has("pooling", index.pooling, {index.num_features}, DType::kI32);
  if (!check.ok()) return;
  for (int64_t k = 0; k < index.num_features; ++k) {
    const int32_t column = index.columns.data<int32_t>()[k];
    const int32_t pooling = index.pooling.data<int32_t>()[k];
    check.That(column >= 0 && column < out[1], "a value in columns is no feature of the output");
    check.That(pooling >= kSum && pooling <= kSqrtN, "a value in pooling is not 0, 1 or 2");
  }
}

// Checks all operands and strips them to pointers.
absl::StatusOr<Bags> CheckBags(ArgumentCheck& check, std::span<const EmbeddingBagTable> tables,
                               const char* out_name, const Tensor& out) {
  if (!check.Rank(out_name, out, 3).ok()) return check.status();
  Bags bags = {.tables = {},
               .out = out.data<float>(),
               .batch = out.dim(0),
               .total_features = out.dim(1),
               .dim = out.dim(2)};
  for (const auto& [rows, index] : tables) {
    if (!check.Rank("rows", rows, 2).ok()) return check.status();
    check.Has("rows", rows, {rows.dim(0), bags.dim});
    CheckIndex(check, index, out.shape());
    if (!check.ok()) return check.status();
    bags.tables.push_back({.rows = rows.data<float>(),
                           .num_unique = rows.dim(0),
                           .num_features = index.num_features,
                           .nnz = index.inverse.dim(0),
                           .inverse = index.inverse.data<int32_t>(),
                           .offsets = index.offsets.data<int32_t>(),
                           .columns = index.columns.data<int32_t>(),
                           .pooling = index.pooling.data<int32_t>(),
                           .occurrence_offsets = nullptr,
                           .occurrence_segments = nullptr});
  }
  return bags;
}

}  // namespace

absl::Status EmbeddingBagsForward(Context& ctx, std::span<const EmbeddingBagTable> tables,
                                  const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "EmbeddingBagForward");
  PAGODA_ASSIGN_OR_RETURN(const Bags bags, CheckBags(check, tables, "out", out));
  ForChunks(ctx, bags.batch, kSamplesPerPiece,
            [&](int64_t, int64_t begin, int64_t end) { RunForwardSamples(bags, begin, end); });
  return absl::OkStatus();
}

absl::Status EmbeddingBagsBackward(Context& ctx, const Tensor& dout,
                                   std::span<const EmbeddingBagTable> tables, float beta) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "EmbeddingBagBackward");
  PAGODA_ASSIGN_OR_RETURN(Bags bags, CheckBags(check, tables, "dout", dout));
  std::vector<int64_t> first_piece = {0};  // Of each table, among the pieces of all.
  for (size_t i = 0; i < tables.size(); ++i) {
    const EmbeddingBagIndex& index = tables[i].index;
    Table& t = bags.tables[i];
    check.Has("occurrence_segments", index.occurrence_segments, {t.nnz}, DType::kI32);
    CheckOffsets(check, "occurrence_offsets", index.occurrence_offsets, t.num_unique,
                 index.occurrence_segments);
    if (!check.ok()) return check.status();
    t.occurrence_offsets = index.occurrence_offsets.data<int32_t>();
    t.occurrence_segments = index.occurrence_segments.data<int32_t>();
    first_piece.push_back(first_piece.back() + CountPieces(t.nnz, t.num_unique));
  }
  ctx.pool().ParallelFor(first_piece.back(), [&](int64_t piece) {
    const auto after = std::upper_bound(first_piece.begin(), first_piece.end(), piece);
    const size_t k = static_cast<size_t>(after - first_piece.begin()) - 1;
    const Table& t = bags.tables[k];
    const int64_t p = piece - first_piece[k];
    RunBackwardRows({bags, t, beta}, FirstOfPiece(t.occurrence_offsets, t.num_unique, p),
                    FirstOfPiece(t.occurrence_offsets, t.num_unique, p + 1));
  });
  return absl::OkStatus();
}

absl::Status EmbeddingBagForward(Context& ctx, const Tensor& rows, const EmbeddingBagIndex& index,
                                 const Tensor& out) {
  const EmbeddingBagTable table{rows, index};
  return EmbeddingBagsForward(ctx, {&table, 1}, out);
}

absl::Status EmbeddingBagBackward(Context& ctx, const Tensor& dout, const EmbeddingBagIndex& index,
                                  float beta, const Tensor& drows) {
  const EmbeddingBagTable table{drows, index};
  return EmbeddingBagsBackward(ctx, dout, {&table, 1}, beta);
}

absl::Status GatherRows(Context& ctx, const Tensor& rows, const Tensor& inverse,
                        const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "GatherRows");
  check.Rank("rows", rows, 2).Rank("inverse", inverse, 1, DType::kI32);
  if (!check.ok()) return check.status();
  const int64_t n = inverse.dim(0);
  if (!check.Has("out", out, {n, rows.dim(1)}).ok()) return check.status();
  const GatherArgs args = {.rows = rows.data<float>(),
                           .inverse = inverse.data<int32_t>(),
                           .out = out.data<float>(),
                           .dim = rows.dim(1)};
  ForChunks(ctx, n, kGatherRowsPerPiece,
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
  CheckOffsets(check, "occurrence_offsets", occurrence_offsets, num_rows, occurrences);
  if (!check.ok()) return check.status();
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
