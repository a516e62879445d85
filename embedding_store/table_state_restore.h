// The states of tables (table_state.h) of a shard that is built from the cuts of a job with
// another number of shards.
//
// Admission counts are kept by bucket, as rows are, and so move with their bucket: an id is
// admitted by the push that would have admitted it without the move. Newest steps become
// the highest of all cuts'. What was refused and evicted so far is counted on by the first
// of the new shards, for all: the sum over the shards stays what it was.
//
// Memory: two sketches of one table, beside the budgets. Threads: one at a time per state.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "embedding_store/embedding_store.h"
#include "embedding_store/file_system.h"
#include "embedding_store/rocks_tier.h"

namespace pagoda {

// Writes the states of the buckets [begin, end) to `run`, whose rows are all written.
//   tables: of the new shard, by index
//   as EmbeddingStore::RestoreShard
absl::Status MoveTableStates(FileSystem* file_system, const ShardSources& sources,
                             const std::vector<TableOptions>& tables, uint32_t begin, uint32_t end,
                             RocksTier::RunWriter* run);

}  // namespace pagoda
