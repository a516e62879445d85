// What shard_store.h keeps for each table, and what its parts hand to each other. Locks:
// those of ShardStore.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/random.h"
#include "embedding_store/admission.h"
#include "embedding_store/row_catch_up.h"
#include "embedding_store/row_format.h"
#include "embedding_store/table_options.h"
#include "embedding_store/table_state.h"

namespace pagoda {

// One table of a shard.
struct ShardTable {
  TableOptions options;
  RandomKey initial_key;
  RandomKey rounding_key;
  RowShape shape;
  uint64_t name_hash = 0;
  std::atomic<int64_t> rows{0};  // Stored, in memory or on disk.
  std::atomic<uint64_t> pulled{0}, missed{0}, pushed{0};
  std::unique_ptr<RowCatchUp> catch_up;  // Of an exact table; guarded by steps_mutex_.
  // Null: every id is admitted. Its counts and the counters are guarded by
  // admission_mutex_; a push may read the counts without, as only pushes change them.
  std::unique_ptr<TableAdmission> admission;
  TableCounters counters;
  uint64_t counters_loaded = 0;    // counters.sequence when they were loaded.
  TableCounters counters_on_disk;  // Guarded by flush_mutex_.
};
// What is left of one part of a push in which ids were refused, and those ids.
struct AdmittedRows {
  std::vector<FeatureId> ids;
  std::vector<float> gradients;
  std::vector<FeatureId> refused;
};
// Parts of tables' states in a run.
struct WrittenStates {
  std::vector<TableCounters> counters;               // By table.
  std::vector<std::pair<uint32_t, uint32_t>> pages;  // Table, page of its sketch.
};
// Rows to load: distinct keys in order, and which items each stands for.
struct LoadPlan {
  std::vector<RowKey> keys;
  std::vector<size_t> items;  // Grouped by key.
  std::vector<size_t> begin;  // [keys + 1], into items.
};
struct LoadedRow {
  std::span<const size_t> items;  // Of the plan: all that asked for it.
  char* row = nullptr;            // Initial when nothing is stored.
  bool on_disk = false;
};

}  // namespace pagoda
