// How the store sets RocksDB up, and what both sides of rocks_tier.h need of it.
// Included only where RocksDB may be.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/options.h>
#include <rocksdb/status.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

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

// Files that a merge has replaced and that are still there, because a reader holds them or
// RocksDB has not come to it.
// Threads: any method, any thread.
class ReplacedFiles {
 public:
  void Add(const std::string& path, int64_t bytes);
  void Remove(const std::string& path);
  int64_t bytes() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, int64_t> files_;
  int64_t bytes_ = 0;
};

// What the store and RocksDB's threads tell each other.
struct RocksSignals {
  // RocksDB has stopped its merges and writes because of an error, say a full disk.
  std::atomic<bool> stopped{false};
  // A merge waits, for a while, until its result has room within so many bytes of files
  // or no replaced file is left. 0: no limit.
  std::atomic<int64_t> bytes_max{0};
  ReplacedFiles replaced;
};

struct RocksSettings {
  int64_t cache_bytes = 0;  // Blocks, indexes, filters, readers, memtable.
  int64_t run_bytes = 0;    // One flush writes about so much.
  bool create = false;
  rocksdb::Env* env = nullptr;      // Null: RocksDB's own.
  RocksSignals* signals = nullptr;  // Null: none. Must outlive the database.
};

rocksdb::Options MakeRocksOptions(const RocksSettings& settings);

// Removes files that nobody needs any more; RocksDB itself may leave some for its next merge.
void RemoveObsoleteFiles(rocksdb::DB* db);

// DATA_LOSS, RESOURCE_EXHAUSTED, FAILED_PRECONDITION (locked), UNAVAILABLE or INTERNAL, naming
// `action` and what RocksDB says.
absl::Status FromRocks(const rocksdb::Status& status, absl::string_view action);

}  // namespace pagoda
