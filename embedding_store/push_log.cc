#include "embedding_store/push_log.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "embedding_store/log_marks.h"

namespace pagoda {
namespace {

constexpr uint64_t kSegmentMagic = 0x474c41444f474150;  // "PAGODALG"
constexpr uint32_t kSegmentVersion = 1;
constexpr char kSegmentSuffix[] = ".log";

// `boot` tells a kill from a reboot: under the boot that wrote it, a file's bytes
// are exactly those written, so a record that is whole but wrong is damage. After a
// reboot, pages that never reached the disk are expected at the tail.
struct SegmentHeader {
  uint64_t magic = kSegmentMagic;
  uint32_t version = kSegmentVersion;
  uint32_t reserved = 0;
  uint64_t first_sequence = 0;
  uint64_t boot = 0;
  uint64_t checksum = 0;  // Of the 32 bytes before it.
};
static_assert(sizeof(SegmentHeader) == 40);
constexpr size_t kCheckedSegmentBytes = 32;

struct Segment {
  std::string path;
  uint64_t first_sequence = 0;
  uint64_t last_sequence = 0;
  int64_t bytes = 0;
};

// 0 when it cannot be known.
uint64_t BootHash() {
  constexpr int64_t kBootIdBytes = 36;  // Files of /proc do not tell their size.
  const auto file = FileSystem::Real()->OpenRead("/proc/sys/kernel/random/boot_id");
  if (!file.ok()) return 0;
  const absl::StatusOr<std::string> boot = (*file)->ReadAt(0, kBootIdBytes);
  return boot.ok() && !boot->empty() ? HashBytes(*boot) : 0;
}

absl::Status Damaged(const std::string& path, int64_t offset, absl::string_view what) {
  return absl::DataLossError(absl::StrCat("log file ", path, ", byte ", offset, ": ", what));
}

// True when a whole good record newer than `sequence` starts in `bytes`, which
// begins at a multiple of 8 as every record does.
bool HoldsLaterRecord(absl::string_view bytes, uint64_t sequence) {
  for (size_t at = 0; at + kRecordHeaderBytes <= bytes.size(); at += 8) {
    const RecordFrame frame = ReadRecordFrame(bytes.substr(at));
    if (frame.state == RecordFrame::State::kComplete && frame.sequence > sequence) return true;
  }
  return false;
}

// From a segment's file name; false when it is not one.
bool FirstSequence(absl::string_view name, uint64_t* sequence) {
  return absl::ConsumeSuffix(&name, kSegmentSuffix) && absl::SimpleAtoi(name, sequence);
}

class FilePushLog final : public PushLog {
 public:
  explicit FilePushLog(const FilePushLogOptions& options)
      : options_(options),
        boot_(BootHash()),
        marks_(options.file_system, options.marks_path, options.read_only) {}

  absl::Status Open(const ReplayPush& replay);

  absl::Status Append(const PushRecord& record) override;
  absl::Status Sync(uint64_t sequence) override;
  void Seal() override;
  absl::Status DropThrough(uint64_t sequence) override;
  int64_t bytes() const override {
    std::lock_guard<std::mutex> lock(mutex_);
    return bytes_;
  }
  uint64_t last_sequence() const override {
    std::lock_guard<std::mutex> lock(mutex_);
    return segments_.empty() ? 0 : segments_.back().last_sequence;
  }

 private:
  absl::Status SyncFiles(const std::vector<std::string>& names);
  // Takes up a segment that the rows on disk cover, unread.
  absl::Status SkipSegment(const std::string& name, uint64_t first, uint64_t last);
  absl::Status ReadSegment(const std::string& name, bool last, const ReplayPush& replay);
  // Whether the log reaches as far as the marks say.
  absl::Status CheckEnd() const;
  // The header of a whole segment, checked against its file name.
  absl::StatusOr<SegmentHeader> CheckHeader(const std::string& path, const std::string& name,
                                            absl::string_view bytes) const;
  // Decides about the bytes from `offset`, where no good record starts: OK when
  // they are a torn tail.
  absl::Status JudgeTail(const std::string& path, absl::string_view bytes, size_t offset,
                         const RecordFrame& frame, bool last, const SegmentHeader& header) const;
  absl::Status CutTail(const std::string& path, int64_t size, int64_t keep);
  absl::Status AppendToSegment(const PushRecord& record, const EncodedRecord& encoded);
  absl::Status StartSegment(const PushRecord& record, const EncodedRecord& encoded);
  // Ends the open segment, synced where records are.
  absl::Status CloseSegment();
  void NoteDurable(const Segment& segment);
  void Break(const absl::Status& cause, const absl::Status& then);

  const FilePushLogOptions options_;
  const uint64_t boot_;

  mutable std::mutex mutex_;
  std::condition_variable synced_;
  LogMarksFile marks_;
  std::deque<Segment> segments_;      // Oldest first; the last may be open.
  std::shared_ptr<AppendFile> open_;  // Of segments_.back(), or null.
  bool seal_ = false;                 // The next record starts a segment.
  bool syncing_ = false;              // A caller of Sync is at it, without mutex_.
  uint64_t appended_sequence_ = 0;    // Of the last Append; 0: none yet.
  uint64_t durable_sequence_ = 0;     // Every record up to here survives the machine.
  uint64_t next_sequence_ = 0;        // 0: any.
  int64_t bytes_ = 0;
  absl::Status broken_;
};

absl::Status FilePushLog::Open(const ReplayPush& replay) {
  PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string> entries,
                          options_.file_system->List(options_.directory));
  std::vector<std::string> names;
  for (const std::string& entry : entries) {
    if (absl::EndsWith(entry, kSegmentSuffix)) names.push_back(entry);
  }
  if (marks_.marks().dropped_through > options_.flushed_sequence) {
    return absl::DataLossError(
        absl::StrCat(options_.marks_path, " says that the log was dropped through push ",
                     marks_.marks().dropped_through, ", but the rows on disk end at push ",
                     options_.flushed_sequence, ": a flush is missing from them"));
  }
  if (options_.sync_records && !options_.read_only) PAGODA_RETURN_IF_ERROR(SyncFiles(names));
  for (size_t i = 0; i < names.size(); ++i) {
    const bool last = i + 1 == names.size();
    uint64_t first = 0;
    uint64_t next = 0;
    if (!last && FirstSequence(names[i], &first) && FirstSequence(names[i + 1], &next) &&
        first < next && next <= options_.flushed_sequence + 1) {
      PAGODA_RETURN_IF_ERROR(SkipSegment(names[i], first, next - 1));
    } else {
      PAGODA_RETURN_IF_ERROR(ReadSegment(names[i], last, replay));
    }
  }
  return CheckEnd();
}

absl::Status FilePushLog::SyncFiles(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<AppendFile> file,
                            options_.file_system->OpenAppend(options_.directory + "/" + name));
    PAGODA_RETURN_IF_ERROR(file->Sync());
  }
  return options_.file_system->SyncDirectory(options_.directory);
}

absl::Status FilePushLog::SkipSegment(const std::string& name, uint64_t first, uint64_t last) {
  const std::string path = absl::StrCat(options_.directory, "/", name);
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<ReadFile> file, options_.file_system->OpenRead(path));
  segments_.push_back({path, first, last, file->size()});
  bytes_ += file->size();
  next_sequence_ = last + 1;
  return absl::OkStatus();
}

absl::Status FilePushLog::CheckEnd() const {
  const LogMarks& marks = marks_.marks();
  const uint64_t last = segments_.empty() ? 0 : segments_.back().last_sequence;
  if (marks.durable_sequence <= std::max(last, options_.flushed_sequence)) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the log in ", options_.directory, " ends at push ", last,
                                          ", but ", options_.marks_path, " says that push ",
                                          marks.durable_sequence, " was on the disk"));
}

absl::StatusOr<SegmentHeader> FilePushLog::CheckHeader(const std::string& path,
                                                       const std::string& name,
                                                       absl::string_view bytes) const {
  SegmentHeader header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != kSegmentMagic ||
      header.checksum != HashBytes(bytes.substr(0, kCheckedSegmentBytes))) {
    return Damaged(path, 0, "the segment header's checksum is wrong");
  }
  if (header.version != kSegmentVersion) {
    return absl::FailedPreconditionError(absl::StrCat("log file ", path, " has format version ",
                                                      header.version, ", this build reads ",
                                                      kSegmentVersion));
  }
  if (name != absl::StrFormat("%020d%s", header.first_sequence, kSegmentSuffix)) {
    return Damaged(path, 0,
                   absl::StrCat("the file holds the segment of sequence ", header.first_sequence));
  }
  return header;
}

absl::Status FilePushLog::JudgeTail(const std::string& path, absl::string_view bytes, size_t offset,
                                    const RecordFrame& frame, bool last,
                                    const SegmentHeader& header) const {
  const auto at = static_cast<int64_t>(offset);
  if (frame.state == RecordFrame::State::kOtherVersion) {
    return absl::FailedPreconditionError(absl::StrCat("log file ", path, ", byte ", at,
                                                      ": record format version ", frame.version,
                                                      ", which this build does not read"));
  }
  if (!last) return Damaged(path, at, "a damaged record is followed by a later segment");
  const LogMarks& marks = marks_.marks();
  if (marks.segment == header.first_sequence && offset < marks.durable_bytes) {
    return Damaged(path, at,
                   absl::StrCat("a damaged record, though the first ", marks.durable_bytes,
                                " bytes were on the disk"));
  }
  const uint64_t previous = next_sequence_ == 0 ? 0 : next_sequence_ - 1;
  if (bytes.size() > offset + 8 && HoldsLaterRecord(bytes.substr(offset + 8), previous)) {
    return Damaged(path, at, "a damaged record is followed by a good one");
  }
  const bool whole_but_wrong = frame.state == RecordFrame::State::kBadPayload ||
                               frame.state == RecordFrame::State::kBadHeader;
  if (whole_but_wrong && header.boot == boot_ && boot_ != 0) {
    return Damaged(path, at, "a record's checksum is wrong");
  }
  return absl::OkStatus();
}

absl::Status FilePushLog::CutTail(const std::string& path, int64_t size, int64_t keep) {
  PAGODA_LOG_WARNING(
      "log file {}: dropped {} bytes after byte {}: the push that was being "
      "written when the process died was never acknowledged",
      path, size - keep, keep);
  if (options_.read_only) return absl::OkStatus();
  // Synced: what was cut must not come back behind a later segment.
  if (keep == 0) {
    PAGODA_RETURN_IF_ERROR(options_.file_system->Remove(path));
    return options_.file_system->SyncDirectory(options_.directory);
  }
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<AppendFile> file, options_.file_system->OpenAppend(path));
  PAGODA_RETURN_IF_ERROR(file->Truncate(keep));
  return file->Sync();
}

absl::Status FilePushLog::ReadSegment(const std::string& name, bool last,
                                      const ReplayPush& replay) {
  const std::string path = absl::StrCat(options_.directory, "/", name);
  PAGODA_ASSIGN_OR_RETURN(const std::string content, options_.file_system->ReadAll(path));
  const absl::string_view bytes = content;
  uint64_t first = 0;
  const bool was_durable = FirstSequence(name, &first) && marks_.marks().segment == first &&
                           marks_.marks().durable_bytes > bytes.size();
  if (bytes.size() < sizeof(SegmentHeader) + kRecordHeaderBytes && last && !was_durable) {
    // Killed while the first record of a new segment was being written.
    return CutTail(path, static_cast<int64_t>(bytes.size()), 0);
  }
  if (bytes.size() < sizeof(SegmentHeader)) return Damaged(path, 0, "the segment header is cut");
  PAGODA_ASSIGN_OR_RETURN(const SegmentHeader header, CheckHeader(path, name, bytes));
  // The oldest segment must reach back to what the rows on disk hold.
  const uint64_t expected = next_sequence_ != 0 ? next_sequence_ : options_.highest_sequence + 1;
  if (header.first_sequence > expected ||
      (next_sequence_ != 0 && header.first_sequence != next_sequence_)) {
    return Damaged(path, 0,
                   absl::StrCat("it starts at sequence ", header.first_sequence, ", but ", expected,
                                " should follow"));
  }

  Segment segment{path, header.first_sequence, header.first_sequence - 1, 0};
  size_t offset = sizeof(SegmentHeader);
  next_sequence_ = header.first_sequence;
  PushRecord record;
  while (offset < bytes.size()) {
    const RecordFrame frame = ReadRecordFrame(bytes.substr(offset));
    if (frame.state != RecordFrame::State::kComplete) {
      PAGODA_RETURN_IF_ERROR(JudgeTail(path, bytes, offset, frame, last, header));
      const bool empty = segment.last_sequence < segment.first_sequence;
      const int64_t keep = empty ? 0 : static_cast<int64_t>(offset);
      PAGODA_RETURN_IF_ERROR(CutTail(path, static_cast<int64_t>(bytes.size()), keep));
      if (empty) {
        if (segments_.empty()) next_sequence_ = 0;  // As if the segment had never been.
        return absl::OkStatus();
      }
      break;
    }
    if (frame.sequence != next_sequence_) {
      return Damaged(
          path, static_cast<int64_t>(offset),
          absl::StrCat("record ", frame.sequence, " stands where ", next_sequence_, " should"));
    }
    if (frame.sequence > options_.flushed_sequence) {
      PAGODA_RETURN_IF_ERROR_CONTEXT(DecodePushRecord(frame, &record), path);
      PAGODA_RETURN_IF_ERROR_CONTEXT(replay(record),
                                     absl::StrCat("replaying ", path, ", byte ", offset));
    }
    segment.last_sequence = next_sequence_++;
    offset += static_cast<size_t>(frame.record_bytes);
  }
  segment.bytes = static_cast<int64_t>(offset);
  bytes_ += segment.bytes;
  segments_.push_back(std::move(segment));
  return absl::OkStatus();
}

absl::Status FilePushLog::Append(const PushRecord& record) {
  const EncodedRecord encoded(record);
  std::lock_guard<std::mutex> lock(mutex_);
  PAGODA_RETURN_IF_ERROR(broken_);
  PAGODA_CHECK(next_sequence_ == 0 || record.sequence == next_sequence_);
  if (open_ != nullptr && (seal_ || segments_.back().bytes >= options_.segment_bytes)) {
    PAGODA_RETURN_IF_ERROR(CloseSegment());
  }
  PAGODA_RETURN_IF_ERROR(open_ != nullptr ? AppendToSegment(record, encoded)
                                          : StartSegment(record, encoded));
  next_sequence_ = record.sequence + 1;
  appended_sequence_ = record.sequence;
  return absl::OkStatus();
}

absl::Status FilePushLog::Sync(uint64_t sequence) {
  if (!options_.sync_records) return absl::OkStatus();
  std::unique_lock<std::mutex> lock(mutex_);
  sequence = std::min(sequence, appended_sequence_);
  while (durable_sequence_ < sequence) {
    PAGODA_RETURN_IF_ERROR(broken_);
    if (syncing_) {
      synced_.wait(lock);
      continue;
    }
    // This caller syncs for all whose records are in the file by now. Records that
    // are not durable are in the open segment: an earlier one is synced when it ends.
    PAGODA_CHECK(open_ != nullptr);
    syncing_ = true;
    const std::shared_ptr<AppendFile> file = open_;
    const Segment covered = segments_.back();
    lock.unlock();
    const absl::Status synced = file->Sync();
    lock.lock();
    syncing_ = false;
    if (synced.ok()) {
      NoteDurable(covered);
    } else {
      Break(synced, absl::OkStatus());
    }
    synced_.notify_all();
  }
  return absl::OkStatus();
}

void FilePushLog::NoteDurable(const Segment& segment) {
  if (segment.last_sequence <= durable_sequence_) return;
  durable_sequence_ = segment.last_sequence;
  LogMarks marks = marks_.marks();
  marks.segment = segment.first_sequence;
  marks.durable_bytes = static_cast<uint64_t>(segment.bytes);
  marks.durable_sequence = segment.last_sequence;
  marks_.Write(marks, /*sync=*/false);
}

absl::Status FilePushLog::CloseSegment() {
  if (options_.sync_records) {
    const absl::Status synced = open_->Sync();
    if (!synced.ok()) {
      Break(synced, absl::OkStatus());
      return broken_;
    }
    NoteDurable(segments_.back());
    synced_.notify_all();
  }
  open_.reset();
  seal_ = false;
  return absl::OkStatus();
}

void FilePushLog::Break(const absl::Status& cause, const absl::Status& then) {
  broken_ = absl::UnavailableError(
      absl::StrCat("the push log is out of order after a failed write (", cause.message(),
                   then.ok() ? "" : "; then ", then.message(), "): reopen the store"));
}

absl::Status FilePushLog::AppendToSegment(const PushRecord& record, const EncodedRecord& encoded) {
  Segment& segment = segments_.back();
  const absl::Status written = open_->Append(encoded.pieces());
  if (!written.ok()) {
    const absl::Status cut = open_->Truncate(segment.bytes);
    if (!cut.ok()) Break(written, cut);
    return written;
  }
  segment.bytes += encoded.bytes();
  segment.last_sequence = record.sequence;
  bytes_ += encoded.bytes();
  return absl::OkStatus();
}

absl::Status FilePushLog::StartSegment(const PushRecord& record, const EncodedRecord& encoded) {
  SegmentHeader header;
  header.first_sequence = record.sequence;
  header.boot = boot_;
  header.checksum = HashBytes({reinterpret_cast<const char*>(&header), kCheckedSegmentBytes});
  const std::string path = absl::StrCat(
      options_.directory, "/", absl::StrFormat("%020d%s", record.sequence, kSegmentSuffix));
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<AppendFile> file, options_.file_system->Create(path));
  std::vector<absl::string_view> pieces;
  pieces.emplace_back(reinterpret_cast<const char*>(&header), sizeof(header));
  pieces.insert(pieces.end(), encoded.pieces().begin(), encoded.pieces().end());
  // The name must be on the disk before a record in the file is said to be.
  absl::Status written = file->Append(pieces);
  if (written.ok() && options_.sync_records) {
    written = options_.file_system->SyncDirectory(options_.directory);
  }
  if (!written.ok()) {
    file.reset();
    const absl::Status removed = options_.file_system->Remove(path);
    if (!removed.ok()) Break(written, removed);
    return written;
  }
  const auto bytes = static_cast<int64_t>(sizeof(header)) + encoded.bytes();
  segments_.push_back({path, record.sequence, record.sequence, bytes});
  bytes_ += bytes;
  open_ = std::move(file);
  return absl::OkStatus();
}

void FilePushLog::Seal() {
  std::lock_guard<std::mutex> lock(mutex_);
  seal_ = open_ != nullptr;
}

absl::Status FilePushLog::DropThrough(uint64_t sequence) {
  std::lock_guard<std::mutex> lock(mutex_);
  durable_sequence_ = std::max(durable_sequence_, std::min(sequence, appended_sequence_));
  synced_.notify_all();
  if (sequence > marks_.marks().dropped_through) {
    LogMarks marks = marks_.marks();
    marks.dropped_through = sequence;
    marks_.Write(marks, /*sync=*/options_.sync_records);
  }
  while (!segments_.empty() && segments_.front().last_sequence <= sequence) {
    if (segments_.size() == 1 && open_ != nullptr) {
      if (!seal_) break;
      open_.reset();
      seal_ = false;
    }
    PAGODA_RETURN_IF_ERROR(options_.file_system->Remove(segments_.front().path));
    bytes_ -= segments_.front().bytes;
    segments_.pop_front();
  }
  if (segments_.empty()) next_sequence_ = 0;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<PushLog>> OpenFilePushLog(const FilePushLogOptions& options,
                                                         const ReplayPush& replay) {
  auto log = std::make_unique<FilePushLog>(options);
  PAGODA_RETURN_IF_ERROR(log->Open(replay));
  return std::unique_ptr<PushLog>(std::move(log));
}

}  // namespace pagoda
