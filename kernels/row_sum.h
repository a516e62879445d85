// The inner loop that all gather and pooling operators on the CPU share: copy a
// row, or add up rows that lie anywhere, in a given order.
// For *_cpu.cc files; see vector_lanes.h for the rules of such templates.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/vector_lanes.h"

namespace pagoda {

// How many rows ahead to prefetch: a core can have about 16 cache lines in flight,
// and one more row is asked for with each row that is used.
inline constexpr int64_t kPrefetchRows = 16;

PAGODA_INLINE void PrefetchRow(const float* row, int64_t dim) {
  for (int64_t column = 0; column < dim; column += 16) __builtin_prefetch(row + column);
}

// A row to add, as it is or multiplied by `scale`.
struct PlainRow {
  const float* row;
};
struct ScaledRow {
  const float* row;
  float scale;
};

// y[0, dim) = x[0, dim).
template <int kLanes>
PAGODA_INLINE void CopyRow(const float* x, int64_t dim, float* y) {
  ForEachColumnBlock<kLanes>(
      0, dim, [&](auto lanes, int64_t c) __attribute__((always_inline)) {
        constexpr int kWidth = decltype(lanes)::value;
        *At<kWidth>(y + c) = *At<kWidth>(x + c);
      });
}

// y = beta * y + factor * (sum of source(i) over i in [begin, end), in order), on
// columns [column, column + kBlocks * kWidth). With beta == 0, y is not read.
// source(i) is a PlainRow or a ScaledRow; ahead(i) may prefetch.
template <int kWidth, int kBlocks, typename Source, typename Ahead>
PAGODA_INLINE void SumColumnBlocks(int64_t begin, int64_t end, int64_t column, float beta,
                                   float factor, float* y, const Source& source,
                                   const Ahead& ahead) {
  Lanes<kWidth> sum[kBlocks] = {};
  for (int64_t i = begin; i < end; ++i) {
    ahead(i);
    const auto from = source(i);
    PAGODA_UNROLL
    for (int b = 0; b < kBlocks; ++b) {
      const int64_t c = column + b * kWidth;
      if constexpr (std::is_same_v<decltype(from), const ScaledRow>) {
        sum[b] += *At<kWidth>(from.row + c) * from.scale;
      } else {
        sum[b] += *At<kWidth>(from.row + c);
      }
    }
  }
  PAGODA_UNROLL
  for (int b = 0; b < kBlocks; ++b) {
    Accumulate<kWidth>(beta, sum[b] * factor, y + column + b * kWidth);
  }
}

// The same on all columns of a row. kDim > 0 is the row's size, a multiple of 8
// known to the compiler, whose sums stay in registers; kDim == 0 leaves it to
// `dim`, block by block.
template <int kLanes, int kDim, typename Source, typename Ahead>
PAGODA_INLINE void SumRowsInOrder(int64_t begin, int64_t end, int64_t dim, float beta, float factor,
                                  float* y, const Source& source, const Ahead& ahead) {
  if constexpr (kDim > 0) {
    constexpr int kWidth = std::min(kLanes, kDim);
    SumColumnBlocks<kWidth, kDim / kWidth>(begin, end, 0, beta, factor, y, source, ahead);
  } else {
    ForEachColumnBlock<kLanes>(
        0, dim, [&](auto lanes, int64_t c) __attribute__((always_inline)) {
          constexpr int kWidth = decltype(lanes)::value;
          SumColumnBlocks<kWidth, 1>(
              begin, end, c, beta, factor, y,
              source, [&](int64_t i) __attribute__((always_inline)) {
                if (c == 0) ahead(i);
              });
        });
  }
}

// Calls body(std::integral_constant<int, kDim>{}) with the row sizes that are
// compiled for: 8, 16, 32, 64, and 0 for any other.
template <typename Body>
PAGODA_INLINE void ForRowSize(int64_t dim, const Body& body) {
  switch (dim) {
    case 8: return body(std::integral_constant<int, 8>{});
    case 16: return body(std::integral_constant<int, 16>{});
    case 32: return body(std::integral_constant<int, 32>{});
    case 64: return body(std::integral_constant<int, 64>{});
    default: return body(std::integral_constant<int, 0>{});
  }
}

// Pieces for a parallel loop over rows (or segments) whose work is uneven: row u
// has the items [offsets[u], offsets[u + 1]), and a few rows have most of them.
// Piece p of CountPieces is the rows [FirstOfPiece(p), FirstOfPiece(p + 1)), cut
// where items plus rows pass a multiple of kWorkPerPiece. Each row lies in one
// piece, so that cuts never touch a result.
inline constexpr int64_t kWorkPerPiece = 2048;  // About 20 us at dim 16.

inline int64_t CountPieces(int64_t num_items, int64_t num_rows) {
  return (num_items + num_rows) / kWorkPerPiece + 1;
}

inline int64_t FirstOfPiece(const int32_t* offsets, int64_t num_rows, int64_t piece) {
  int64_t low = 0;
  int64_t high = num_rows;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (offsets[middle] + middle < piece * kWorkPerPiece) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace pagoda
