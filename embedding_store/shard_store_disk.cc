// The disk budget. It covers the files with rows, the log, and what must be free for the
// store to go on: all unwritten rows as one more run, and the merge that follows, which
// writes its result before it removes what went in. As long as pushes are refused before
// that sum passes the budget, no flush and no merge passes it, and reads never need room.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "embedding_store/shard_store.h"

namespace pagoda {
namespace {

// Merging to make room reads and writes all rows. Where nothing was removed it is worth
// that only after so large a share of the budget was written since the last time.
constexpr int64_t kMergeShare = 16;

// On disk a very short row takes a little more than in memory.
int64_t RunBytes(int64_t unwritten) {
  return unwritten + unwritten / 4;
}

}  // namespace

StoreDiskUse ShardStore::MeasureDisk() const {
  const RocksDiskUse rocks = rocks_->disk_use();
  const int64_t run = RunBytes(memory_->unwritten_bytes());
  StoreDiskUse use;
  use.rows = rocks.files + rocks.replaced;
  use.log = log_ != nullptr ? log_->bytes() : 0;
  use.reserved = run + rocks.MergeBytesMax(run);
  use.max = disk_bytes_max_.load();
  return use;
}

absl::StatusOr<StoreDiskUse> ShardStore::DiskUse() {
  std::shared_lock<std::shared_mutex> state(state_mutex_);
  PAGODA_RETURN_IF_ERROR(closed_);
  return MeasureDisk();
}

absl::Status ShardStore::SetDiskBytesMax(int64_t bytes) {
  if (bytes < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the disk budget is ", bytes, " bytes, but must be >= 0"));
  }
  disk_bytes_max_.store(bytes);
  std::shared_lock<std::shared_mutex> state(state_mutex_);
  PAGODA_RETURN_IF_ERROR(closed_);
  rocks_->SetBytesMax(bytes);
  return absl::OkStatus();
}

bool ShardStore::MergingMayHelp() const {
  return merged_run_bytes_ < 0 || rocks_->rows_removed() > merged_removals_ ||
         rocks_->run_bytes_added() - merged_run_bytes_ > disk_bytes_max_.load() / kMergeShare;
}

absl::Status ShardStore::MergeForRoom() {
  const int64_t removals = rocks_->rows_removed();
  PAGODA_RETURN_IF_ERROR(Flush());
  merged_run_bytes_ = rocks_->run_bytes_added();
  merged_removals_ = removals;
  NoteDisk(MeasureDisk());  // The log is short now, which leaves the merge more.
  return rocks_->Compact();
}

bool ShardStore::DiskHadRoom(int64_t record_bytes) {
  // Between flushes only the log and unwritten rows grow.
  const int64_t growing = (log_ != nullptr ? log_->bytes() : 0) + record_bytes +
                          2 * RunBytes(memory_->unwritten_bytes());
  return disk_seen_.max == disk_bytes_max_.load() &&
         disk_seen_.run_bytes == rocks_->run_bytes_added() &&
         growing - disk_seen_.growing <= disk_seen_.room;
}

void ShardStore::NoteDisk(const StoreDiskUse& use) {
  const int64_t run = RunBytes(memory_->unwritten_bytes());
  const int64_t room = use.max - use.needed();
  // A merge leaves room for the next flush, and what may be pushed unseen before it.
  const int64_t unseen = std::clamp<int64_t>(room, 0, options_.memory_bytes);
  rocks_->SetBytesMax(use.max == 0 ? 0 : std::max<int64_t>(1, use.max - use.log - run - unseen));
  disk_seen_ = {use.max, rocks_->run_bytes_added(), use.log + 2 * run, room};
}

absl::Status ShardStore::CheckDiskBudget(int64_t record_bytes) {
  if (disk_bytes_max_.load() == 0 || DiskHadRoom(record_bytes)) return absl::OkStatus();
  // The budget may be taken away while rows are merged.
  const auto fits = [&](const StoreDiskUse& use) {
    return use.max == 0 || use.needed() + record_bytes <= use.max;
  };
  StoreDiskUse use = MeasureDisk();
  if (!fits(use)) {
    // One that is due, or under way, shortens the log: a push refused before it has ended
    // would be taken a moment later.
    const absl::Status flushed = FlushIfDue();
    if (!flushed.ok()) {
      PAGODA_LOG_WARNING("{}: writing rows to make room failed: {}", options_.path,
                         std::string(flushed.message()));
    }
    rocks_->RemoveReplaced();
    use = MeasureDisk();
  }
  NoteDisk(use);
  if (!fits(use) && MergingMayHelp()) {
    const absl::Status merged = MergeForRoom();
    if (!merged.ok()) {
      PAGODA_LOG_WARNING("{}: merging rows to make room failed: {}", options_.path,
                         std::string(merged.message()));
    }
    use = MeasureDisk();
  }
  NoteDisk(use);
  if (fits(use)) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(options_.path, " takes ", use.rows, " bytes for rows and ", use.log,
                   " for its log, and needs ", use.reserved + record_bytes,
                   " to write and merge what is pushed, more than its disk budget of ", use.max,
                   ": pushes are refused until rows are evicted or the budget is raised"));
}

}  // namespace pagoda
