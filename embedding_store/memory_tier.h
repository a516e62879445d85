// The rows in memory: a cache and write buffer of RocksDB, inside a hard byte budget
// for rows and index. Work comes in batches, grouped by partition so that each
// partition's lock is taken once a batch, with slots and rows prefetched ahead.
//
// A batch goes: Group, then for each partition Read; or PinFound, Add what was
// missing, then Apply or Unpin. What is not here is loaded by the caller
// (shard_store.h). Results do not depend on the number of partitions or threads.
//
// Threads: any method, any thread, except AddTable, which excludes all others.
// Pins belong to one push at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "base/row_update.h"
#include "embedding_store/memory_partition.h"
#include "embedding_store/row_catch_up.h"
#include "embedding_store/row_format.h"
#include "embedding_store/run_parts.h"

namespace pagoda {

// One row of a batch.
struct RowRequest {
  FeatureId id = 0;
  union {
    uint32_t hash = 0;
    uint32_t place;  // Of a pinned row: where its slot was (MemoryPartition::FindNear).
  };
  uint32_t table = 0;
  union {
    float* weights = nullptr;  // Pull: where they go, [dim].
    const float* gradient;     // Push: [dim].
  };
  union {
    char* row = nullptr;   // Push: the pinned row.
    uint32_t* statistics;  // Pull: where they go (CopyStatistics); null: not wanted.
  };
};

// The ids of one table in a batch.
struct RowSource {
  uint32_t table = 0;
  int64_t dim = 0;
  std::span<const FeatureId> ids;
  float* weights = nullptr;          // Either this,
  const float* gradients = nullptr;  // or this: [n, dim].
  uint32_t* statistics = nullptr;    // With weights: [n, 2], or null.
};

// A batch grouped by partition; within one, the order of the sources. Reusable.
class RowBatch {
 public:
  size_t size() const { return size_; }
  std::span<RowRequest> partition(size_t p) {
    return {requests_.get() + begin_[p], begin_[p + 1] - begin_[p]};
  }

 private:
  friend class MemoryTier;
  // A stretch of one source's ids.
  struct Part {
    const RowSource* source = nullptr;
    size_t begin = 0, end = 0;
  };

  size_t size_ = 0;
  size_t capacity_ = 0;
  std::vector<Part> parts_;
  std::vector<size_t> next_;  // [parts, partitions]: where each part's requests go.
  std::unique_ptr<RowRequest[]> requests_;
  std::vector<size_t> begin_;
};

// A row that was not in memory, and what its partition's modified_evictions() was
// when that was found.
struct RowMiss {
  RowRequest request;
  uint64_t epoch = 0;
};

// What became of a miss: a row from disk, or an initial one (sequence 0).
struct ReadRow {
  const RowMiss* miss = nullptr;
  char* row = nullptr;
  bool on_disk = false;
};

// What Apply needs of one table.
struct TableUpdate {
  SparseOptimizerKind kind = SparseOptimizerKind::kSgd;
  RowUpdateSettings settings;
  int64_t dim = 0;
  RandomKey rounding;                    // Of rows that are not f32; see RoundingKey.
  std::atomic<int64_t>* rows = nullptr;  // Raised by rows pushed for the first time.
  const RowCatchUp* catch_up = nullptr;  // Of an exact table: rows get its next step.
};

class MemoryTier {
 public:
  // `bytes` covers rows and index: at least kBytesMin.
  //   RESOURCE_EXHAUSTED  no address space
  static absl::StatusOr<std::unique_ptr<MemoryTier>> Create(int64_t bytes);
  static constexpr int64_t kBytesMin = int64_t{4} << 20;

  // Tables are numbered in the order they are added.
  void AddTable(const RowShape& shape);

  size_t num_partitions() const { return partitions_.size(); }
  size_t PartitionOf(FeatureId id) const { return BucketOf(id) & partition_mask_; }
  // Most rows of `table` that fit if nothing else does.
  int64_t RowsMax(uint32_t table) const;

  // `run`: what large batches are cut up with; empty: this thread does all.
  void Group(std::span<const RowSource> sources, RowBatch* batch, const RunParts& run = {}) const;

  // Copies the weights (and statistics) of rows that are here; appends the others to
  // `misses`.
  //   catch_ups: by table index, null for those that are not exact; empty: none is.
  void Read(RowBatch& batch, size_t p, std::vector<RowMiss>* misses,
            std::span<const RowCatchUp* const> catch_ups = {});
  // Copies one row with its header to `row`; false when it is not here.
  bool CopyRow(uint32_t table, FeatureId id, char* row);
  // Keeps rows as clean copies. Where one is here already, its bytes are copied to `row`
  // instead. Without room, or when rows pushed to were evicted since the miss's epoch, it
  // keeps nothing.
  void Cache(std::span<const ReadRow> rows);

  // Pins the rows of a push that are here and sets their `row`; appends the others
  // to `misses`. Stops and returns an id that came twice, else null.
  const RowRequest* PinFound(RowBatch& batch, size_t p, std::vector<RowRequest*>* misses);
  enum class Added { kPinned, kTwice, kNoRoom };
  // Adds and pins a row that was missing; a copy that came in meanwhile wins.
  Added AddPinned(RowRequest* request, const char* row, bool on_disk);
  // Lets go of what was pinned; rows are as before.
  void Unpin(RowBatch& batch, size_t p);
  // One optimizer step for each pinned row older than `sequence`, then unpins it.
  //   updates: by table index.
  void Apply(RowBatch& batch, size_t p, uint64_t sequence, Step step,
             std::span<const TableUpdate> updates);

  // Flushing, by one thread at a time. A flush collects dirty rows bucket range by
  // bucket range, copies them out, and says at the end whether they reached disk.

  // Dirty rows by bucket [kNumBuckets].
  std::vector<uint32_t> CountDirtyByBucket();
  // Keys of dirty rows with bucket in [begin, end), in key order.
  //   expected: about how many there are; room is made for so many at once.
  std::vector<RowKey> CollectDirty(uint32_t begin, uint32_t end, size_t expected = 0);
  // Copies a dirty row to `row` and marks it as being written; false when it is not
  // dirty any more. `on_disk`: an older version is. A row that is int8 on disk is
  // rounded to that here and in the copy, by its table's key.
  bool CopyForWrite(const RowKey& key, char* row, bool* on_disk, RandomKey rounding = {});
  // Rows being written are clean now, or (not written) dirty again.
  void FinishWrites(bool written);

  // Whether the row is not here, or here as it is on disk.
  bool IsClean(const RowKey& key);
  // Drops a clean row whose copy on disk is gone, and what pulls under way have read of
  // its partition's rows from disk will not be kept.
  void Forget(const RowKey& key);

  // The same for all rows of a table.
  void ForgetTable(uint32_t table);

  // Of rows not safe on disk.
  int64_t unwritten_bytes() const { return unwritten_bytes_.load(); }
  int64_t budget_bytes() const { return arena_->budget_bytes(); }
  int64_t used_bytes() const { return arena_->used_bytes(); }
  // Takes `bytes` of the budget for something else; false when it has not so many left.
  bool Reserve(int64_t bytes) { return arena_->Reserve(bytes); }
  int64_t BytesOfTable(uint32_t table);

 private:
  MemoryTier(std::unique_ptr<RowArena> arena, size_t num_partitions);

  template <bool kExact>
  void ReadRows(RowBatch& batch, size_t p, std::vector<RowMiss>* misses,
                std::span<const RowCatchUp* const> catch_ups);

  void GroupPart(const RowBatch::Part& part, RowBatch* batch, const size_t* first) const;
  void CacheOne(MemoryPartition& partition, const ReadRow& read);

  void AddUnwritten(MemoryPartition& partition, int64_t bytes) {
    partition.unwritten_bytes += bytes;
    unwritten_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }

  std::unique_ptr<RowArena> arena_;
  std::vector<MemoryTable> tables_;
  std::vector<uint32_t> class_bytes_;  // Row size of each size class.
  std::vector<std::unique_ptr<MemoryPartition>> partitions_;
  uint32_t partition_mask_ = 0;
  std::atomic<int64_t> unwritten_bytes_{0};
};

}  // namespace pagoda
