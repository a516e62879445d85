// A table as one would put it together from absl: flat_hash_map from id to row number, rows
// in one array, lookups prefetched. It has no locks, log, eviction or checks.
//
// Threads: batches one at a time; `pool` splits a batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/ids.h"
#include "base/thread_pool.h"

namespace pagoda {

class FlatHashMapTable {
 public:
  // Room for `rows` rows of `dim` weights and as many slots.
  FlatHashMapTable(int64_t rows, int64_t dim, ThreadPool* pool);

  void Insert(FeatureId id);  // REQUIRES: absent, and room.

  // weights [n, dim] of ids that are all here.
  void Pull(std::span<const FeatureId> ids, float* weights);
  // Adagrad for each row; ids are distinct and all here.
  void PushAdagrad(std::span<const FeatureId> ids, const float* gradients, float learning_rate);

 private:
  template <typename Visit>
  void VisitRows(std::span<const FeatureId> ids, size_t prefetched_bytes, const Visit& visit);

  const size_t dim_;
  ThreadPool* const pool_;
  absl::flat_hash_map<FeatureId, uint32_t> numbers_;
  std::vector<float> rows_;
};

}  // namespace pagoda
