// Builds the state of a shard from the cuts of a job that had other shards.
//
// A key begins with its bucket and a shard owns a range of buckets, so a shard's rows
// are one range of keys of each source. They are read in key order (cut_rows.h) and
// written as one sorted run, which RocksDB takes in at its lowest level without
// merging. When a source lies in the target's range as a whole (as in going from 4
// shards to 1), the one with the most rows is not read at all: its files are linked, and
// only the others' rows are written. Finer links are impossible with RocksDB 7: it
// takes in only files that SstFileWriter wrote, not those that its own merges made.
//
// Sequences. A row carries the sequence of its last push on the shard it was on, and
// replay skips a push whose sequence is not above the row's: "the row has it already".
// The new shard therefore counts on from the highest sequence of all sources. No row is
// newer, so no later push is taken for one that a row has; and its log is empty, so no
// earlier push is replayed. Sequences of two sources are not comparable, and need not
// be: each row is only ever compared with pushes that came after the move.
//
// Exact tables. The new shard has taken the steps that all sources agree on
// (exact_steps.h). Windows of clients (client_windows.h) begin anew: those that pushed
// belong to the job epoch that the restore ends, and the servers refuse them.
//
// Threads: one at a time per state.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "embedding_store/embedding_store.h"
#include "embedding_store/file_system.h"

namespace pagoda {

// Fills `state`, an empty directory: REGISTRY and rocksdb/. All of it is synced.
// Errors: EmbeddingStore::RestoreShard.
absl::Status BuildShardState(FileSystem* file_system, const ShardSources& sources,
                             const std::string& state);

}  // namespace pagoda
