// Tables of embedding rows keyed by 64-bit ids: durable in RocksDB, recently used
// rows in memory. One store is one shard.
//
//   row  = weights [dim], then optimizer slots [SlotDim]; docs/formats.md
//   Pull : ids [n]                  ->  weights [n, dim], row-major
//   Push : ids [n], grads [n, dim]  ->  one optimizer step per row
//
// Threads: any method, any thread; Push, Flush, Cut and Restore run one at a time
// inside. A row is never seen half-updated; a batch is not atomic to readers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/ids.h"
#include "base/thread_pool.h"
#include "embedding_store/bulk_load.h"
#include "embedding_store/client_windows.h"
#include "embedding_store/eviction.h"
#include "embedding_store/table_options.h"

namespace pagoda {

class FileSystem;

enum class Durability {
  kNone,     // A crash loses at most what came since the last cut.
  kProcess,  // An acknowledged push survives kill -9 of the process.
  kMachine,  // And the loss of power: it is acknowledged once it is on the disk.
};

// Ways to break the store's promises, for tests that show that they would notice.
struct StoreFaults {
  bool apply_twice = false;     // Replay ignores that a row has a push already.
  bool forget_clients = false;  // A push sent again is a new one.
};

struct StoreOptions {
  std::string path;  // Directory; created when missing.
  Durability durability = Durability::kProcess;
  // Everything the store keeps in memory (memory_budget.h); at least 16 MiB.
  int64_t memory_bytes = int64_t{1} << 30;
  // Rows, log, and what a flush and a merge need for a while; cuts are not counted. A push
  // that would pass it is refused. 0: none.
  int64_t disk_bytes_max = 0;
  // The log's hard ceiling: at half of it rows are flushed and the log is cut, and at the
  // whole pushes wait for that. The same at half of and at 30 s of replay, going by how
  // long the logged pushes took and how many rows they found in memory that replay will
  // have to load, so that reopening after a kill with as much memory stays below 60 s.
  int64_t log_bytes_max = int64_t{4} << 30;
  int64_t flush_age_seconds = 300;    // No row stays unwritten much longer.
  bool read_only = false;             // Nothing under `path` is changed.
  bool evicts_by_policy = true;       // In the background, where a table has a policy for it.
  ThreadPool* pool = nullptr;         // Must outlive the store; nullptr: one thread.
  FileSystem* file_system = nullptr;  // All changes to files; nullptr: the real one.
  StoreFaults faults;
};

struct StorePull {
  uint32_t table = 0;
  std::span<const FeatureId> ids;  // May repeat.
  float* weights = nullptr;        // [n, dim]
  // [n, 2], or null: how many pushes a row has taken, and the step of the last one (of an
  // exact table: its own step). A loaded row has taken one, in the load's step. {0, 0}:
  // there is no row.
  uint32_t* statistics = nullptr;
};
struct StorePush {
  uint32_t table = 0;
  std::span<const FeatureId> ids;    // Distinct.
  std::span<const float> gradients;  // [n, dim]
};

struct StoreCut {
  uint64_t sequence = 0;  // Of the last push it holds.
  uint64_t rows = 0;
  uint64_t checksum = 0;  // Of its manifest file.
};
struct StoreDiskUse {
  int64_t rows = 0;  // Files with rows, also replaced ones that are still there.
  int64_t log = 0;
  int64_t reserved = 0;  // What flushing all rows, and the merge after it, may add for a while.
  int64_t max = 0;       // StoreOptions::disk_bytes_max.

  int64_t needed() const { return rows + log + reserved; }
};
// The rows that one shard owns, out of the cuts of a job with other shards.
struct ShardSources {
  std::vector<std::string> cuts;  // The cut directories of all shards, in any order.
  uint32_t shard = 0;             // Takes the ids with ShardOf(id, num_shards) == shard.
  uint32_t num_shards = 1;
};
struct StoreTableStat {
  TableOptions options;
  uint64_t rows = 0;
  uint64_t bytes_memory = 0;
  uint64_t bytes_disk = 0;  // Estimated share of the SST files.
  // Since the store was opened: ids pulled, and those of them that were not in memory.
  uint64_t pulled = 0;
  uint64_t missed = 0;
  uint64_t pushed = 0;  // Gradients taken since then; replayed ones count, refused ones do not.
  // Of one row: key and value on disk, without index, filter and older versions; and
  // in memory with its share of the index.
  uint64_t row_bytes_disk = 0;
  uint64_t row_bytes_memory = 0;
  uint64_t refused = 0;          // Gradients that admission dropped, over the table's life.
  uint64_t evicted = 0;          // Rows, likewise.
  uint64_t bytes_admission = 0;  // Of memory for its counters.
};
struct StoredRow {
  FeatureId id = 0;
  std::vector<float> weights, slots;
  Step last_step = 0;  // Of its last push; of an exact table: the table's own count.
};

class EmbeddingStore {
 public:
  // Opens or creates, and replays the log.
  //   INVALID_ARGUMENT     an option is out of range
  //   FAILED_PRECONDITION  in use by another process, or another format version
  //   NOT_FOUND            read_only, and there is no store, or none that was ever whole
  //   DATA_LOSS            a checksum does not match (names the file)
  //   RESOURCE_EXHAUSTED   no disk space
  static absl::StatusOr<std::unique_ptr<EmbeddingStore>> Open(const StoreOptions& options);
  virtual ~EmbeddingStore() = default;  // Flushes; ignores what fails (the log has it).

  // Creates the table, or checks it against the stored one; returns its index,
  // stable across reopening. A table of sgd may be opened with another optimizer once
  // (GrowsSlots, table_options.h): its rows keep their weights and grow slots.
  //   FAILED_PRECONDITION  stored with another dim, seed, initializer, optimizer or
  //                        admission (says which)
  //   RESOURCE_EXHAUSTED   no memory for the counters of its admission
  virtual absl::StatusOr<uint32_t> OpenTable(const TableOptions& options) = 0;
  virtual std::vector<TableOptions> tables() const = 0;  // By index.

  // Copies weights; an unknown id reads as its seeded initial value and is not stored.
  //   NOT_FOUND  no such table;  DATA_LOSS, RESOURCE_EXHAUSTED  from the disk
  virtual absl::Status Pull(std::span<const StorePull> pulls) = 0;

  // One optimizer step for each row of all tables: all or nothing. Every check
  // comes before the first write. An exact table (row_catch_up.h) takes one step for
  // each push that lists it, also without ids. An id without a row that its table does
  // not admit (admission.h) gets none: its gradient is dropped and counted.
  //   INVALID_ARGUMENT     sizes disagree, an id repeats, a gradient is not finite
  //                        (names table and id)
  //   FAILED_PRECONDITION  a frozen table, a read-only store, or a learning rate at
  //                        which an exact table's rows could not be made up
  //   RESOURCE_EXHAUSTED   no disk space for the log, longer than the log may be, or the
  //                        disk budget is used up even after merging; nothing applied,
  //                        and a later call succeeds when there is room
  //   UNAVAILABLE          the log broke: pushes are refused until the store is reopened.
  //                        With kMachine this one may be applied and visible then, and
  //                        whether it survives the machine is not known
  // With kMachine rows can be read before the push is on the disk; it returns after.
  // Pushes that wait for the disk at the same time share one sync.
  virtual absl::Status Push(std::span<const StorePush> pushes, Step step,
                            float learning_rate_factor) = 0;

  // The same, once for each origin: sent again it returns OK and changes nothing, also
  // after a crash that it survived (client_windows.h).
  //   INVALID_ARGUMENT     origin.sequence is 0
  //   FAILED_PRECONDITION  the client has pushed with a higher incarnation
  //   RESOURCE_EXHAUSTED   too far behind the client's newest push to be known
  virtual absl::Status PushOnce(const PushOrigin& origin, std::span<const StorePush> pushes,
                                Step step, float learning_rate_factor) = 0;

  // Stores rows as they are given, in place of what was there; all or none, also across
  // a crash, and synced when it returns. `step`: their last step (an exact table's rows
  // are as of the steps that it has taken). Takes a sequence, as a push does. Frozen
  // tables are loaded, too. Pushes wait while the sorted rows are written: about half a
  // microsecond a row, and in a table that has rows some more for looking for each id.
  // Every check comes before the first write.
  //   INVALID_ARGUMENT     sizes disagree, an id repeats, a value is not finite (names it)
  //   NOT_FOUND            no such table
  //   FAILED_PRECONDITION  a read-only store
  //   RESOURCE_EXHAUSTED   no disk space: the rows are written twice, once unsorted
  //   what `next` returns
  virtual absl::StatusOr<BulkLoadResult> BulkLoad(uint32_t table, Step step,
                                                  const NextRows& next) = 0;

  virtual uint64_t sequence() const = 0;  // Pushes and loads applied over the store's life.

  // A consistent copy of everything pushed so far in `directory` (must not exist;
  // hard links where possible), with a checksummed manifest written last.
  virtual absl::StatusOr<StoreCut> Cut(const std::string& directory) = 0;
  // Checks a cut's manifest and every file's checksum.   DATA_LOSS names the file.
  static absl::StatusOr<StoreCut> VerifyCut(const std::string& directory);
  // Replaces this store's contents by the cut's. Newer state moves to `set_aside`
  // when not empty, else it is deleted. Table indices may change: call OpenTable again.
  virtual absl::Status Restore(const std::string& directory, const std::string& set_aside) = 0;
  // The same with the rows of several cuts that belong to one shard, so that a job goes
  // on with another number of shards: every row keeps its bits.
  //   INVALID_ARGUMENT     no cuts, or shard >= num_shards
  //   FAILED_PRECONDITION  the cuts' tables have different settings, or two hold one row
  //   as Restore           each naming the cut
  virtual absl::Status RestoreShard(const ShardSources& sources, const std::string& set_aside) = 0;

  // Merges everything on disk, which drops older versions of rows; needs as much room
  // again while it runs.   FAILED_PRECONDITION  a read-only store
  virtual absl::Status Compact() = 0;

  // Removes the rows that `rule` names; pushes wait at most for one range of buckets. A
  // table with a policy (TableOptions::eviction) does the same in the background.
  // A row pushed to since the call began stays. Cuts made before keep their rows.
  //   INVALID_ARGUMENT     the rule sets nothing, or nonsense
  //   FAILED_PRECONDITION  a frozen or exact table, or a read-only store
  virtual absl::StatusOr<EvictionResult> Evict(uint32_t table, const EvictionRule& rule) = 0;

  // For who frees room, say by Evict: pushes are refused from needed() > max > 0 on.
  virtual absl::StatusOr<StoreDiskUse> DiskUse() = 0;
  // Changes StoreOptions::disk_bytes_max; counts from the next push on.
  //   INVALID_ARGUMENT  negative
  virtual absl::Status SetDiskBytesMax(int64_t bytes) = 0;

  virtual absl::StatusOr<std::vector<StoreTableStat>> Stat() = 0;
  // NOT_FOUND when the row has never been pushed.
  virtual absl::StatusOr<StoredRow> Get(uint32_t table, FeatureId id) = 0;
  // Every stored row by (bucket, table, id); `visit` returns false to stop, may not push.
  virtual absl::Status Scan(const std::function<bool(uint32_t table, const StoredRow&)>& visit) = 0;
  // A hash of every stored row (table name, id, weights, slots, last step; rows of
  // exact tables as they are stored, before what they missed),
  // independent of where rows are held. It is a sum over rows modulo 2^64: the sum
  // over the shards of a job is the hash of one store with all their rows.
  virtual absl::StatusOr<uint64_t> ContentHash() = 0;
};

}  // namespace pagoda
