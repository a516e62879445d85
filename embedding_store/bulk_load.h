// Many rows at once: how a table is filled from a file instead of by training.
//
//   size_t at = 0;
//   auto next = [&]() -> absl::StatusOr<RowsToLoad> { return Slice(at, at += 4096); };
//   PAGODA_ASSIGN_OR_RETURN(BulkLoadResult loaded, store->BulkLoad(table, 0, next));
//
// Rows come in any order; the store sorts them (bulk_sorter.h) and adds them to RocksDB as
// sorted files in one atomic step, past log and memtable: a kill leaves all rows of a load
// or none, and pulls see all or none. A load needs room on disk for its rows twice, whatever
// StoreOptions::disk_bytes_max says: that holds pushes up afterwards.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "absl/status/statusor.h"
#include "base/ids.h"

namespace pagoda {

// Some of the rows of a load.
struct RowsToLoad {
  std::span<const FeatureId> ids;
  std::span<const float> weights;  // [ids, dim]
  // [ids, SlotDim]; or empty, in all of a load or in none: those of a row never pushed.
  std::span<const float> slots;
};

// Returns the next rows, or none (no ids) at the end; called until then, on one thread.
// What it returns must stay until the next call.
using NextRows = std::function<absl::StatusOr<RowsToLoad>()>;

struct BulkLoadResult {
  uint64_t rows = 0;      // Loaded.
  uint64_t replaced = 0;  // Of these, stored before.
};

}  // namespace pagoda
