// Cutting an operator's work into pieces for the thread pool.
//
// The pieces depend on the shapes alone, never on the number of threads; a
// reduction writes one partial result per piece and adds them up in piece
// order. That is the whole of "same bits on any number of threads" (DESIGN
// ruling 3).
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/context.h"

namespace pagoda {

// Elements per piece of an elementwise loop: 64 KiB of f32 per operand, so that
// three operands fit in L2 and a piece outlasts waking a thread (a few us).
inline constexpr int64_t kChunkElements = 16384;

// Rows per piece of a reduction over rows. Also bounds the length of a plain
// f32 running sum, and so its rounding error.
inline constexpr int64_t kReduceRows = 256;

// Rows per piece for an operator that treats rows of `row_elements` one by one.
inline int64_t RowsPerChunk(int64_t row_elements) {
  return std::clamp<int64_t>(kChunkElements / std::max<int64_t>(row_elements, 1), 1, 4096);
}

inline int64_t NumChunks(int64_t count, int64_t chunk) {
  return (count + chunk - 1) / chunk;
}

// Calls body(index, begin, end) for the pieces [begin, end) of [0, count).
template <typename Body>
void ForChunks(Context& ctx, int64_t count, int64_t chunk, const Body& body) {
  const int64_t num_chunks = NumChunks(count, chunk);
  if (num_chunks == 1) {
    body(int64_t{0}, int64_t{0}, count);
    return;
  }
  ctx.pool().ParallelFor(num_chunks, [&](int64_t index) {
    const int64_t begin = index * chunk;
    body(index, begin, std::min(count, begin + chunk));
  });
}

}  // namespace pagoda
