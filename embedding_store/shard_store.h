// The store itself: joins the memory tier, RocksDB and the push log. Its contract is
// embedding_store.h; how a batch flows is in README.md.
//
// One push:  check -> pin rows (load what is missing) -> log -> apply -> unpin.
// Up to the log nothing that can be read has changed, and after it nothing can
// fail, so a push is applied whole or not at all, also across a crash.
//
// One flush: note the sequence -> write dirty rows in key order as one atomic run ->
// drop the log up to that sequence. Pushes go on meanwhile; a row may reach disk
// newer than the noted sequence, which its own sequence number tells at replay.
//
// With durability machine a push is applied under push_mutex_ and waits for the log's
// sync without it, so that many pushes share one. A flush makes the log durable as far
// as the rows it writes before it adds them: rows on disk never hold a part of a push
// that the log has lost.
//
// Locks, in the order they are taken: state_mutex_ (shared by all, exclusive for
// OpenTable and Restore), bulk_mutex_, push_mutex_, flush_mutex_, windows_mutex_, steps_mutex_
// (shared by reads of exact tables, exclusive while they take a step), admission_mutex_, one
// partition's.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/random.h"
#include "embedding_store/embedding_store.h"
#include "embedding_store/file_system.h"
#include "embedding_store/memory_budget.h"
#include "embedding_store/memory_tier.h"
#include "embedding_store/push_log.h"
#include "embedding_store/rocks_tier.h"
#include "embedding_store/shard_table.h"
#include "embedding_store/store_directory.h"

namespace pagoda {

class BulkSorter;

// One in so many bytes of the memory tier not yet on disk starts the background flush.
inline constexpr int64_t kDueShare = 4;

class ShardStore final : public EmbeddingStore {
 public:
  static absl::StatusOr<std::unique_ptr<ShardStore>> Open(const StoreOptions& options);
  ~ShardStore() override;

  absl::StatusOr<uint32_t> OpenTable(const TableOptions& options) override;
  std::vector<TableOptions> tables() const override;
  absl::Status Pull(std::span<const StorePull> pulls) override;
  absl::Status Push(std::span<const StorePush> pushes, Step step,
                    float learning_rate_factor) override;
  absl::Status PushOnce(const PushOrigin& origin, std::span<const StorePush> pushes, Step step,
                        float learning_rate_factor) override;
  uint64_t sequence() const override { return sequence_.load(); }
  absl::StatusOr<StoreCut> Cut(const std::string& directory) override;
  absl::StatusOr<BulkLoadResult> BulkLoad(uint32_t table, Step step, const NextRows& next) override;
  absl::Status Restore(const std::string& directory, const std::string& set_aside) override;
  absl::StatusOr<EvictionResult> Evict(uint32_t table, const EvictionRule& rule) override;
  absl::Status RestoreShard(const ShardSources& sources, const std::string& set_aside) override;
  absl::Status Compact() override;
  absl::StatusOr<StoreDiskUse> DiskUse() override;
  absl::Status SetDiskBytesMax(int64_t bytes) override;
  absl::StatusOr<std::vector<StoreTableStat>> Stat() override;
  absl::StatusOr<StoredRow> Get(uint32_t table, FeatureId id) override;
  absl::Status Scan(const std::function<bool(uint32_t, const StoredRow&)>& visit) override;
  absl::StatusOr<uint64_t> ContentHash() override;

 private:
  using Table = ShardTable;
  // Called with rows as they come from disk, some at a time; may overwrite them. Any
  // thread.
  using OnLoaded = std::function<absl::Status(std::span<const LoadedRow> rows)>;
  using VisitRow = std::function<bool(const RowKey&, const char* row)>;

  explicit ShardStore(const StoreOptions& options);

  // shard_store.cc
  absl::Status OpenState();  // Everything below directory_; replays the log.
  absl::Status OpenLog(const RocksMeta& meta);
  void CloseState();
  absl::Status AddTable(const TableOptions& options);
  absl::Status GrowTable(size_t index, const TableOptions& options);
  absl::Status CheckTableIndex(uint32_t table) const;
  absl::Status VisitRows(const VisitRow& visit);
  void FillInitial(const RowKey& key, char* row) const;  // A row that was never pushed.
  StoredRow ToStoredRow(const RowKey& key, const char* row) const;
  // Below this many rows waking other threads costs more than it saves.
  static constexpr size_t kParallelRowsMin = 2048;
  // Runs body(0 .. count - 1), on the pool's threads where `rows` are many and it is free.
  void ForEach(size_t count, size_t rows, const std::function<void(size_t)>& body) const;

  // shard_store_batch.cc
  absl::Status CheckGradients(std::span<const StorePush> pushes) const;
  void GroupRows(std::span<const RowSource> sources, RowBatch* batch) const;
  absl::Status CheckPush(std::span<const StorePush> pushes, Step step,
                         float learning_rate_factor) const;
  absl::Status PushFrom(const PushOrigin& origin, std::span<const StorePush> pushes, Step step,
                        float learning_rate_factor);
  // Sets *sequence to what must survive before the push is acknowledged.
  absl::Status LogAndApply(const PushOrigin& origin, std::span<const StorePush> pushes, Step step,
                           float learning_rate_factor, uint64_t* sequence);
  void NoteApplied(const PushRecord& record);
  absl::Status Replay(const PushRecord& record);
  // Whether a batch's memory is kept for the next, or given back.
  bool KeepsBatch(const RowBatch& batch) const {
    return static_cast<int64_t>(batch.size() * sizeof(RowRequest)) <= shares_.batch;
  }
  absl::Status PinRows(RowBatch& batch, size_t rows);
  absl::Status LoadAndPin(std::vector<RowRequest*>* misses);
  void UnpinRows(RowBatch& batch);
  void ApplyRows(RowBatch& batch, const PushRecord& record);
  absl::Status PullMisses(std::vector<RowMiss>& misses);
  static LoadPlan PlanLoad(std::vector<std::pair<RowKey, size_t>>* wanted);
  absl::Status Load(const LoadPlan& plan, const OnLoaded& on_loaded);
  // Keys [begin, end) of the plan; none of their rows is longer than `row_bytes`.
  absl::Status LoadPart(const LoadPlan& plan, size_t begin, size_t end, size_t row_bytes,
                        const OnLoaded& on_loaded);
  absl::Status DecodeValue(const RowKey& key, absl::string_view value, char* row) const;

  // shard_store_admission.cc
  // RESOURCE_EXHAUSTED  the memory has no room for the table's admission
  absl::Status CheckAdmissionRoom(const TableOptions& options) const;
  absl::Status AddAdmission(Table* table) const;
  // Which of the pinned rows of a push are refused, in its order; empty: none.
  std::vector<uint8_t> FindRefused(const PushRecord& record);
  // Takes refused rows out of the record, its sources and the pinned batch.
  absl::Status RefuseRows(PushRecord* record, std::vector<RowSource>* sources);
  void NoteRefused(const PushRecord& record);
  absl::Status WriteStates(RocksTier::RunWriter* run, RocksMeta* meta, WrittenStates* written);
  void FinishStates(const WrittenStates& written, bool committed);
  absl::Status LoadStates();

  // shard_store_evict.cc
  static RowFacts FactsOf(const RowShape& shape, const char* row);
  // Rows on disk in buckets [begin, end) that may go.
  absl::Status ScanEvictable(
      uint32_t table, uint32_t begin, uint32_t end,
      const std::function<absl::Status(const RowKey&, const RowFacts&)>& visit);
  absl::StatusOr<Step> NewestStep(uint32_t table);
  absl::Status RankForEviction(uint32_t table, EvictionPlan* plan);
  // Sets plan->ties so that at least `surplus` rows of the rank plan->below go.
  absl::Status BreakTies(uint32_t table, int64_t surplus, EvictionPlan* plan);
  absl::StatusOr<uint64_t> EvictBuckets(uint32_t table, const EvictionPlan& plan, uint32_t begin,
                                        uint32_t end);
  // Between ranges of buckets it ends early, as if done, when `stop` says so.
  //   REQUIRES: state_mutex_ is held.
  absl::StatusOr<EvictionResult> EvictTable(uint32_t table, const EvictionRule& rule,
                                            const std::function<bool()>& stop);

  // shard_store_bulk.cc
  // Null: no rows.
  absl::StatusOr<std::unique_ptr<BulkSorter>> ReadRowsToLoad(const Table& table,
                                                             const NextRows& next) const;
  uint32_t LoadedStep(const Table& table, Step step) const;
  absl::StatusOr<uint64_t> CountStored(std::span<const RowKey> keys) const;
  // Returns how many of the rows were stored before.
  absl::StatusOr<uint64_t> WriteLoadedRows(uint32_t table, const RowHeader& header,
                                           BulkSorter* sorter, RocksTier::RunWriter* run) const;

  // shard_store_triggers.cc: eviction by itself.
  // What a table's policy has seen, by the table's name.
  struct EvictionClock {
    Step step = 0;  // The newest when it last looked.
    std::chrono::steady_clock::time_point evicted;
    std::chrono::steady_clock::time_point not_before;
    bool unfinished = false;  // It had to make way, and is to go on.
  };
  void EvictorLoop();
  void RunTriggers(std::map<std::string, EvictionClock>* clocks);
  // The rule to evict by now; one that sets nothing: not yet.
  EvictionRule DueRule(uint32_t table, EvictionClock* clock) const;
  void EvictDue(uint32_t table, const EvictionRule& rule, EvictionClock* clock);
  // shard_store_steps.cc: exact tables.
  absl::Status CheckExactPush(std::span<const StorePush> pushes, Step step,
                              float learning_rate_factor) const;
  void AdvanceSteps(const PushRecord& record);
  std::vector<const RowCatchUp*> CatchUps(std::span<const RowSource> sources) const;
  void ReadCaughtUp(uint32_t table, const char* row, float* weights) const;
  // What a flush stores with the rows of pushes up to `sequence`; null: no exact table.
  //   REQUIRES: steps_mutex_ held.
  std::shared_ptr<const std::string> EncodeSteps(uint64_t sequence) const;
  absl::Status LoadSteps(const RocksMeta& meta);

  // shard_store_disk.cc
  StoreDiskUse MeasureDisk() const;
  // RESOURCE_EXHAUSTED  a push with such a record does not fit into the disk budget.
  // Merges first where that may help.   REQUIRES: push_mutex_ held, flush_mutex_ not.
  absl::Status CheckDiskBudget(int64_t record_bytes);
  // Whether there must still be room, going by the last time the disk was looked at.
  bool DiskHadRoom(int64_t record_bytes);
  void NoteDisk(const StoreDiskUse& use);
  bool MergingMayHelp() const;
  absl::Status MergeForRoom();

  // shard_store_flush.cc
  bool FlushIsDue() const;
  bool FlushIsOverdue(int64_t record_bytes) const;  // With a record of so many bytes to come.
  int64_t ReplayNanoseconds() const { return replay_ns_.load() - replay_ns_flushed_.load(); }
  // Adds what replaying a push will take: the time since `begin` that it took now, and
  // the loading of its rows that were in memory, clean, and will not be then.
  //   unwritten_before: the memory tier's, before the push.
  void NoteReplayCost(std::chrono::steady_clock::time_point begin, int64_t unwritten_before);
  absl::Status Flush();  // Takes flush_mutex_, as the next two do.
  absl::Status FlushIfDue();
  absl::Status FlushIfOverdue(int64_t record_bytes);
  absl::Status FlushLocked();  // REQUIRES: flush_mutex_ held.
  absl::Status WriteDirtyRows(RocksTier::RunWriter* run, RocksMeta* meta);
  void WakeFlusher();
  void FlusherLoop();
  // Lets `fill` fill a new state's directory, and makes that the live one.
  // REQUIRES: state_mutex_ held exclusively.
  absl::Status ReplaceState(const std::string& set_aside,
                            const std::function<absl::Status(const std::string&)>& fill);
  absl::Status CloseAndReopen(const std::string& set_aside);
  // The live state again, from disk. A failure closes the store: `after` says since when.
  absl::Status Reopen(const std::string& after);

  const StoreOptions options_;
  const MemoryShares shares_;
  FileSystem* const fs_;

  mutable std::shared_mutex state_mutex_;  // Guards the pointers and tables_ below.
  std::unique_ptr<StoreDirectory> directory_;
  std::vector<std::unique_ptr<Table>> tables_;
  std::unique_ptr<RocksTier> rocks_;
  std::unique_ptr<MemoryTier> memory_;
  std::unique_ptr<PushLog> log_;  // Null in a cut.
  absl::Status closed_;           // Not OK: a Restore failed half-way; why.

  mutable std::shared_mutex steps_mutex_;

  std::mutex bulk_mutex_;  // One load at a time.

  std::mutex push_mutex_;
  RowBatch push_batch_;
  std::vector<AdmittedRows> admitted_;
  mutable std::mutex admission_mutex_;
  std::mutex windows_mutex_;  // So that a flush sees the two below agree.
  ClientWindows windows_;
  std::atomic<uint64_t> sequence_{0};  // Every push up to here is applied.

  // What replaying all pushes would take, and those before the last flush began.
  std::atomic<int64_t> replay_ns_{0};
  std::atomic<int64_t> replay_ns_flushed_{0};
  std::atomic<int64_t> load_ns_{10000};  // Of one row from disk, lately.
  size_t missed_rows_ = 0;               // Of the last push; under push_mutex_.

  std::atomic<int64_t> disk_bytes_max_{0};
  // What was seen when the disk was last looked at; under push_mutex_.
  struct DiskSeen {
    int64_t max = -1;  // The budget then.
    int64_t run_bytes = 0;
    int64_t growing = 0;  // Log and unwritten rows.
    int64_t room = 0;
  };
  DiskSeen disk_seen_;
  // Of the tier, when rows were last merged to make room; -1: never. Under push_mutex_.
  int64_t merged_run_bytes_ = -1;
  int64_t merged_removals_ = -1;

  std::mutex flush_mutex_;

  mutable std::atomic<bool> pool_busy_{false};

  std::mutex flusher_mutex_;
  std::condition_variable flusher_wake_;
  bool flush_wanted_ = false;
  bool stop_ = false;
  std::thread flusher_;

  std::mutex evictor_mutex_;
  std::condition_variable evictor_wake_;
  std::atomic<bool> stop_evicting_{false};
  std::atomic<int> excluding_{0};  // Calls that wait for state_mutex_ exclusively.
  std::thread evictor_;
};

}  // namespace pagoda
