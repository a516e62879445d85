// How a store divides StoreOptions::memory_bytes among what it holds in memory. Why
// these shares, and what was measured: docs/decisions/0004-budgets.md.
//
// First 10 MiB, or an eighth where that is less, go to what does not grow with the budget:
// buffers of a flush and a merge, read-ahead, clients' windows (at most 0.7 MB), threads.
// Of the others
//
//   rows      3/4    memory tier: rows and their index. Hard.
//   cache     1/8    RocksDB's block cache, which also pays for indexes, filters, readers
//                    of open files, files' metadata, filters being built and the memtable.
//                    Passed only by blocks that reads under way hold.
//   filter    1/32   which rows may be on disk (row_filter.h). Hard.
//   keys      1/32   keys that a flush sorts at a time.
//   segment   1/64   a log segment, which recovery reads as a whole.
//   batch     1/256  what a thread keeps of one batch for the next.
//
// and the rest, 1/16 and what a part leaves unused, is for batches being loaded and for what
// malloc holds free.
#pragma once

#include <cstdint>

namespace pagoda {

struct MemoryShares {
  int64_t rows = 0;
  int64_t cache = 0;
  int64_t filter = 0;
  int64_t keys = 0;
  int64_t segment = 0;
  int64_t batch = 0;
};

// Of budgets that a store takes; below it buffers of fixed size would not fit.
inline constexpr int64_t kMemoryBytesMin = int64_t{16} << 20;

// REQUIRES: memory_bytes >= kMemoryBytesMin.
MemoryShares DivideMemory(int64_t memory_bytes);

}  // namespace pagoda
