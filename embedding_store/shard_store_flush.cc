// What moves rows to disk and whole states about: flushes, cuts, restoring.
#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/heap.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "embedding_store/shard_checkpoint.h"
#include "embedding_store/shard_restore.h"
#include "embedding_store/shard_store.h"

namespace pagoda {
namespace {

// Shares of the memory tier in rows not yet on disk, and of the log's ceiling, at
// which pushes wait for a flush; the background flush starts at kDueShare.
constexpr int64_t kOverdueShare = 2;
constexpr auto kAgeLook = std::chrono::seconds(1);
constexpr auto kRetryAfter = std::chrono::seconds(1);

// Replaying the log may take so long: a reopening has 60 s, in which it also reads the
// log and may find the machine busier than it was.
constexpr int64_t kReplayNanosecondsMax = int64_t{30} * 1000 * 1000 * 1000;

}  // namespace

bool ShardStore::FlushIsDue() const {
  return memory_->unwritten_bytes() > memory_->budget_bytes() / kDueShare ||
         (log_ != nullptr && (log_->bytes() > options_.log_bytes_max / 2 ||
                              ReplayNanoseconds() > kReplayNanosecondsMax / 2));
}

bool ShardStore::FlushIsOverdue(int64_t record_bytes) const {
  return memory_->unwritten_bytes() > memory_->budget_bytes() / kOverdueShare ||
         (log_ != nullptr && (log_->bytes() + record_bytes > options_.log_bytes_max ||
                              ReplayNanoseconds() > kReplayNanosecondsMax));
}

absl::Status ShardStore::Flush() {
  std::lock_guard<std::mutex> lock(flush_mutex_);
  return FlushLocked();
}

absl::Status ShardStore::FlushIfDue() {
  std::lock_guard<std::mutex> lock(flush_mutex_);
  return FlushIsDue() ? FlushLocked() : absl::OkStatus();
}

absl::Status ShardStore::FlushIfOverdue(int64_t record_bytes) {
  if (!FlushIsOverdue(record_bytes)) return absl::OkStatus();
  std::lock_guard<std::mutex> lock(flush_mutex_);
  // One may just have ended.
  return FlushIsOverdue(record_bytes) ? FlushLocked() : absl::OkStatus();
}

absl::Status ShardStore::FlushLocked() {
  const int64_t replay_ns = replay_ns_.load();
  RocksMeta meta = rocks_->meta();
  uint64_t flushed = 0;
  {
    std::lock_guard<std::mutex> windows(windows_mutex_);
    std::shared_lock<std::shared_mutex> steps(steps_mutex_);
    flushed = sequence_.load();
    meta.clients = std::make_shared<const std::string>(windows_.Encode());
    meta.steps = EncodeSteps(flushed);
  }
  if (log_ != nullptr) log_->Seal();  // Null while it is being replayed.
  if (meta.flushed_sequence != flushed || memory_->unwritten_bytes() > 0) {
    meta.flushed_sequence = flushed;
    meta.highest_sequence = std::max(meta.highest_sequence, flushed);
    meta.rows.resize(tables_.size());
    PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<RocksTier::RunWriter> run, rocks_->NewRun());
    absl::Status written = WriteDirtyRows(run.get(), &meta);
    WrittenStates states;
    if (written.ok()) written = WriteStates(run.get(), &meta, &states);
    // A row may be newer than `flushed`; the log must have the rest of its push.
    if (written.ok() && log_ != nullptr) written = log_->Sync(meta.highest_sequence);
    if (written.ok()) written = run->Commit(meta);
    memory_->FinishWrites(written.ok());
    FinishStates(states, written.ok());
    PAGODA_RETURN_IF_ERROR(written);
  }
  ReturnFreeHeap();
  replay_ns_flushed_.store(replay_ns);
  return log_ != nullptr ? log_->DropThrough(flushed) : absl::OkStatus();
}

absl::Status ShardStore::WriteDirtyRows(RocksTier::RunWriter* run, RocksMeta* meta) {
  // Keys are sorted a range of buckets at a time, to bound the memory for them.
  const int64_t keys_max =
      std::max<int64_t>(4096, shares_.keys / static_cast<int64_t>(sizeof(RowKey)));
  const std::vector<uint32_t> counts = memory_->CountDirtyByBucket();
  std::vector<RowHeader> buffer;
  std::vector<char> value;
  for (uint32_t begin = 0; begin < kNumBuckets;) {
    uint32_t end = begin;
    int64_t rows = 0;
    while (end < kNumBuckets && (end == begin || rows + counts[end] <= keys_max)) {
      rows += counts[end++];
    }
    const std::vector<RowKey> keys =
        rows == 0 ? std::vector<RowKey>()
                  : memory_->CollectDirty(begin, end, static_cast<size_t>(rows));
    for (const RowKey& key : keys) {
      const RowShape& shape = tables_[key.table]->shape;
      buffer.resize(shape.row_bytes() / sizeof(RowHeader) + 2);
      value.resize(std::max(value.size(), shape.value_bytes_max()));
      char* row = reinterpret_cast<char*>(buffer.data());
      bool on_disk = false;
      if (!memory_->CopyForWrite(key, row, &on_disk, tables_[key.table]->rounding_key)) continue;
      meta->highest_sequence = std::max(meta->highest_sequence, HeaderOf(row)->sequence);
      if (!on_disk) ++meta->rows[key.table];
      const size_t bytes = EncodeRowValue(shape, row, value.data());
      PAGODA_RETURN_IF_ERROR(run->Add(key, {value.data(), bytes}));
    }
    begin = end;
  }
  return absl::OkStatus();
}

void ShardStore::WakeFlusher() {
  {
    std::lock_guard<std::mutex> lock(flusher_mutex_);
    flush_wanted_ = true;
  }
  flusher_wake_.notify_one();
}

void ShardStore::FlusherLoop() {
  // `clean` is when no row, or none that is still so, was unwritten.
  const auto age_max = std::chrono::seconds(options_.flush_age_seconds);
  auto clean = std::chrono::steady_clock::now();
  std::unique_lock<std::mutex> lock(flusher_mutex_);
  while (!stop_) {
    flusher_wake_.wait_for(lock, kAgeLook, [&] { return stop_ || flush_wanted_; });
    if (stop_) return;
    flush_wanted_ = false;
    lock.unlock();
    absl::Status status;
    {
      std::shared_lock<std::shared_mutex> state(state_mutex_);
      std::lock_guard<std::mutex> flush(flush_mutex_);
      if (closed_.ok()) status = rocks_->Resume();
      const auto now = std::chrono::steady_clock::now();
      if (closed_.ok() && memory_->unwritten_bytes() == 0) clean = now;
      if (closed_.ok() && (FlushIsDue() || now - clean > age_max)) {
        status = FlushLocked();
        if (status.ok()) clean = now;
      }
    }
    lock.lock();
    if (status.ok()) continue;
    PAGODA_LOG_WARNING("{}: writing rows to disk failed, trying again: {}", options_.path,
                       std::string(status.message()));
    flusher_wake_.wait_for(lock, kRetryAfter, [&] { return stop_; });
  }
}

absl::StatusOr<StoreCut> ShardStore::Cut(const std::string& directory) {
  std::shared_lock<std::shared_mutex> state(state_mutex_);
  PAGODA_RETURN_IF_ERROR(closed_);
  if (options_.read_only) {
    return absl::FailedPreconditionError(absl::StrCat(options_.path, " is open read-only"));
  }
  // Most rows go to disk while pushes go on; only what came since then stops them.
  PAGODA_RETURN_IF_ERROR(Flush());
  std::lock_guard<std::mutex> push(push_mutex_);
  std::lock_guard<std::mutex> flush(flush_mutex_);
  PAGODA_RETURN_IF_ERROR(FlushLocked());
  CutContents contents;
  contents.sequence = sequence_.load();
  for (const auto& table : tables_) {
    contents.rows += static_cast<uint64_t>(table->rows.load());
    contents.tables.push_back(table->options);
  }
  return WriteShardCut(fs_, rocks_.get(), contents, directory);
}

absl::Status ShardStore::Restore(const std::string& directory, const std::string& set_aside) {
  ++excluding_;
  std::unique_lock<std::shared_mutex> state(state_mutex_);
  --excluding_;
  return ReplaceState(set_aside, [&](const std::string& prepared) -> absl::Status {
    const auto run = [&](size_t count, const std::function<void(size_t)>& body) {
      ForEach(count, kParallelRowsMin, body);
    };
    PAGODA_RETURN_IF_ERROR(ReadShardCut(fs_, directory, CutFiles::kAll, run).status());
    return CopyShardCut(fs_, directory, prepared);
  });
}

absl::Status ShardStore::RestoreShard(const ShardSources& sources, const std::string& set_aside) {
  ++excluding_;
  std::unique_lock<std::shared_mutex> state(state_mutex_);
  --excluding_;
  return ReplaceState(set_aside, [&](const std::string& prepared) {
    return BuildShardState(fs_, sources, prepared);
  });
}

absl::Status ShardStore::Compact() {
  std::shared_lock<std::shared_mutex> state(state_mutex_);
  PAGODA_RETURN_IF_ERROR(closed_);
  if (options_.read_only) {
    return absl::FailedPreconditionError(absl::StrCat(options_.path, " is open read-only"));
  }
  PAGODA_RETURN_IF_ERROR(Flush());
  return rocks_->Compact();
}

absl::Status ShardStore::ReplaceState(const std::string& set_aside,
                                      const std::function<absl::Status(const std::string&)>& fill) {
  PAGODA_RETURN_IF_ERROR(closed_);
  if (options_.read_only) {
    return absl::FailedPreconditionError(absl::StrCat(options_.path, " is open read-only"));
  }
  // The old state must be whole on disk: to be set aside, or to come back to when
  // the restore fails and no log has its rows.
  if (!set_aside.empty() || options_.durability == Durability::kNone) {
    PAGODA_RETURN_IF_ERROR(Flush());
  }
  PAGODA_ASSIGN_OR_RETURN(const std::string prepared, directory_->PrepareState());
  PAGODA_RETURN_IF_ERROR(fill(prepared));
  return CloseAndReopen(set_aside);
}

absl::Status ShardStore::CloseAndReopen(const std::string& set_aside) {
  CloseState();
  const absl::Status committed = directory_->CommitState(set_aside);
  // Whichever state is the live one now: the cut's, or still the old one.
  const absl::Status opened = Reopen("a restore");
  PAGODA_RETURN_IF_ERROR(committed);
  return opened;
}

absl::Status ShardStore::Reopen(const std::string& after) {
  CloseState();
  const absl::Status opened = OpenState();
  if (opened.ok()) return opened;
  CloseState();
  closed_ = absl::UnavailableError(absl::StrCat(options_.path, " could not be opened again after ",
                                                after, ": ", opened.message()));
  return opened;
}

}  // namespace pagoda
