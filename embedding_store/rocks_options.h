// How the store sets RocksDB up, and what both sides of rocks_tier.h need of it.
// Included only where RocksDB may be.
#pragma once

#include <rocksdb/env.h>
#include <rocksdb/options.h>
#include <rocksdb/status.h>

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace pagoda {

// The name of the files' checksum, XXH3, in RocksDB's metadata.
inline constexpr char kRocksChecksumName[] = "pagoda.xxh3";

// A merge takes in at most about so many files, except one of level 0, which takes all of
// level 0 and what it meets in the level below.
inline constexpr uint64_t kMergeFilesMax = 16;

// Of files but those that a flush writes, where one flush writes about `run_bytes`.
uint64_t RocksFileBytes(int64_t run_bytes);

struct RocksSettings {
  int64_t cache_bytes = 0;  // Blocks, indexes, filters, readers, memtable.
  int64_t run_bytes = 0;    // One flush writes about so much.
  bool create = false;
  rocksdb::Env* env = nullptr;  // Null: RocksDB's own.
  // Set when RocksDB stops its merges and writes because of an error, say a full disk.
  // Must outlive the database.
  std::atomic<bool>* stopped = nullptr;  // Null: nobody asks.
};

rocksdb::Options MakeRocksOptions(const RocksSettings& settings);

// DATA_LOSS, RESOURCE_EXHAUSTED, FAILED_PRECONDITION (locked), UNAVAILABLE or INTERNAL, naming
// `action` and what RocksDB says.
absl::Status FromRocks(const rocksdb::Status& status, absl::string_view action);

}  // namespace pagoda
