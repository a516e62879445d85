// The rows on disk: the one door to RocksDB. RocksDB *is* the model; what memory
// holds is a cache of it, and the push log covers what it does not have yet.
//
// Rows enter only as whole sorted files ("runs"): a flush writes its dirty rows in
// key order with SstFileWriter and adds all files in one atomic step. That is 20
// to 30 times the rate of writing through a memtable, and a crash leaves all of a
// flush or nothing. RocksDB's own log is never written.
//
// Besides rows there are, sorted after all of them: parts of tables' states (counters,
// admission; table_state.h), then one key with RocksMeta, and for exact tables another one
// with RocksMeta.steps.
//
// Errors of every call: DATA_LOSS (a checksum or format is wrong; RocksDB names the
// file), RESOURCE_EXHAUSTED (no space), UNAVAILABLE (I/O errors).
// Threads: any method, any thread; one RunWriter at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "embedding_store/file_system.h"
#include "embedding_store/row_format.h"

namespace pagoda {

// What a flush says about the rows on disk; it becomes true together with them.
struct RocksMeta {
  uint64_t flushed_sequence = 0;  // Every push up to here is in the rows on disk.
  uint64_t highest_sequence = 0;  // No row on disk is newer than this.
  std::vector<uint64_t> rows;     // Rows on disk, by table.
  // What ClientWindows::Encode made of the pushes up to flushed_sequence; null: nothing.
  std::shared_ptr<const std::string> clients = nullptr;
  // Steps that exact tables had taken at flushed_sequence (shard_store_steps.cc); null: none.
  std::shared_ptr<const std::string> steps{};
};

struct RocksTierOptions {
  std::string directory;      // Of RocksDB's files.
  std::string run_directory;  // For runs not yet added; emptied on opening. Same file system.
  // Blocks, indexes, filters, readers of files, and the memtable that stays empty.
  int64_t cache_bytes = int64_t{8} << 20;
  int64_t filter_bytes = 0;  // Of row_filter.h; 0: none.
  int64_t run_bytes = 0;     // About as much as one flush writes; sizes files.
  bool read_only = false;    // Nothing in `directory` changes.
  bool create = false;       // Otherwise it must exist.
  // Carries out every change to files (rocks_file_system.h); nullptr: the real one.
  FileSystem* file_system = nullptr;
};

// Bytes of files with rows, as of now.
struct RocksDiskUse {
  int64_t files = 0;     // With the rows as they are.
  int64_t level0 = 0;    // Of these: runs not yet merged.
  int64_t below = 0;     // Of these: the level that runs are merged into next.
  int64_t replaced = 0;  // Beside `files`: replaced by a merge, but not yet removed.
  int64_t merge = 0;     // What a merge of other levels takes in at most.

  // At most what a merge takes for a while, with `run_bytes` more in level 0.
  int64_t MergeBytesMax(int64_t run_bytes) const;
};

class RocksTier {
 public:
  // FAILED_PRECONDITION  another process has it open
  static absl::StatusOr<std::unique_ptr<RocksTier>> Open(const RocksTierOptions& options);
  virtual ~RocksTier() = default;

  virtual RocksMeta meta() const = 0;

  // Calls on_row(i, value) for every keys[i], in order; an empty value means that
  // there is no such row. Stops at the first error and returns it.
  //   REQUIRES: keys rise strictly.
  using OnValue = std::function<absl::Status(size_t, absl::string_view)>;
  virtual absl::Status Read(std::span<const RowKey> keys, const OnValue& on_row) = 0;

  // Every row in key order, as of the call; `visit` returns false to stop.
  using Visit = std::function<absl::StatusOr<bool>(const RowKey&, absl::string_view)>;
  virtual absl::Status Scan(const Visit& visit) = 0;
  // The same for the buckets [begin, end).
  virtual absl::Status ScanBuckets(uint32_t begin, uint32_t end, const Visit& visit) = 0;

  // Rows in key order, one at a time, as they were when the cursor was made. One
  // thread at a time; must not outlive the tier.
  class Cursor {
   public:
    virtual ~Cursor() = default;
    virtual absl::Status Seek(const RowKey& key) = 0;  // To the first row at or after `key`.
    virtual absl::Status SeekToLast() = 0;
    virtual absl::Status Next() = 0;  // REQUIRES: valid().
    virtual bool valid() const = 0;   // On a row; false at the end, and before any Seek.
    virtual const RowKey& key() const = 0;
    virtual absl::string_view value() const = 0;  // Until the cursor moves.
  };
  virtual std::unique_ptr<Cursor> NewCursor() = 0;

  // Rows on their way to disk. Destroying it before Commit leaves no trace.
  class RunWriter {
   public:
    virtual ~RunWriter() = default;
    // REQUIRES: keys rise strictly over the life of the writer.
    virtual absl::Status Add(const RowKey& key, absl::string_view value) = 0;
    virtual absl::Status Remove(const RowKey& key) = 0;  // Whatever is there, if anything.
    // Replaces a part, below 65,536, of a table's state.
    //   REQUIRES: after all rows; (table, part) rise strictly.
    virtual absl::Status AddState(uint32_t table, uint32_t part, absl::string_view value) = 0;
    // Adds all rows and `meta` in one atomic, synced step.
    virtual absl::Status Commit(const RocksMeta& meta) = 0;
  };
  virtual absl::StatusOr<std::unique_ptr<RunWriter>> NewRun() = 0;

  // Every part of the states of the tables [begin, end), by table and part.
  using VisitState =
      std::function<absl::Status(uint32_t table, uint32_t part, absl::string_view value)>;
  virtual absl::Status ScanStates(uint32_t begin, uint32_t end, const VisitState& visit) = 0;

  // Hard-links a consistent copy to `directory`, which must not exist. Returns the
  // files' checksums (XXH3) where RocksDB knows them from when it wrote them.
  virtual absl::StatusOr<std::map<std::string, uint64_t>> Checkpoint(
      const std::string& directory) = 0;

  // Merges all runs into one, which drops every older version of a row. Needs room
  // for the rows a second time.
  virtual absl::Status Compact() = 0;

  virtual int64_t bytes_on_disk() const = 0;
  virtual RocksDiskUse disk_use() const = 0;
  // Removes those replaced files that no reader holds.
  virtual void RemoveReplaced() = 0;
  // Since opening: bytes of rows written to runs, and rows removed. Both only grow.
  virtual int64_t run_bytes_added() const = 0;
  virtual int64_t rows_removed() const = 0;

  // Merges wait, up to seconds, for replaced files to go where files would otherwise take
  // more than `bytes`. 0: no limit.
  virtual void SetBytesMax(int64_t bytes) = 0;

  // After a full disk or another error of a merge RocksDB stops merging until it is told
  // to go on. Costs nothing when it has not stopped.
  //   RESOURCE_EXHAUSTED, UNAVAILABLE  it still cannot
  virtual absl::Status Resume() = 0;

  // Whether row_filter.h screens reads: at once in an empty store, else when a thread has
  // gone through all rows since opening.
  virtual bool filter_is_complete() const = 0;
};

}  // namespace pagoda
