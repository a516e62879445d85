// The limit that the store's hot path is held against: a table in memory and nothing
// else. Open addressing, rows at the store's stride, slots and rows prefetched ahead;
// no locks, no log, no eviction, no checks.
//
// Threads: batches one at a time; `pool` splits a batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/thread_pool.h"

namespace pagoda {

class BareTable {
 public:
  // Room for `rows` rows of `dim` weights, `slot_dim` slots, and a header of 16 bytes.
  BareTable(int64_t rows, int64_t dim, int64_t slot_dim, ThreadPool* pool);
  ~BareTable();
  BareTable(const BareTable&) = delete;
  BareTable& operator=(const BareTable&) = delete;

  void Insert(FeatureId id);  // REQUIRES: absent, and room.

  // weights [n, dim] of ids that are all here.
  void Pull(std::span<const FeatureId> ids, float* weights);
  // Adagrad for each row; ids are distinct and all here.
  void PushAdagrad(std::span<const FeatureId> ids, const float* gradients, float learning_rate);

 private:
  struct Slot {
    FeatureId id = 0;
    uint64_t row = 0;  // 1 + its number; 0: empty.
  };
  const Slot* Find(FeatureId id) const;
  template <bool kWrite, typename Visit>
  void VisitRows(std::span<const FeatureId> ids, const Visit& visit);

  const int64_t dim_;
  const size_t stride_;  // Bytes.
  ThreadPool* const pool_;
  uint64_t mask_ = 0;
  uint64_t next_row_ = 0;
  size_t slots_bytes_ = 0, rows_bytes_ = 0;
  Slot* slots_ = nullptr;
  char* rows_ = nullptr;
};

}  // namespace pagoda
