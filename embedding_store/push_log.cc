#include "embedding_store/push_log.h"

#include <cstring>
#include <deque>
#include <mutex>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status_macros.h"

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

class FilePushLog final : public PushLog {
 public:
  explicit FilePushLog(const FilePushLogOptions& options) : options_(options), boot_(BootHash()) {}

  absl::Status Open(const ReplayPush& replay);

  absl::Status Append(const PushRecord& record) override;
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
  absl::Status ReadSegment(const std::string& name, bool last, const ReplayPush& replay);
  // The header of a whole segment, checked against its file name.
  absl::StatusOr<SegmentHeader> CheckHeader(const std::string& path, const std::string& name,
                                            absl::string_view bytes) const;
  // Decides about the bytes from `offset`, where no good record starts: OK when
  // they are a torn tail.
  absl::Status JudgeTail(const std::string& path, absl::string_view bytes, size_t offset,
                         const RecordFrame& frame, bool last, uint64_t boot) const;
  absl::Status CutTail(const std::string& path, int64_t size, int64_t keep);
  absl::Status AppendToSegment(const PushRecord& record, const EncodedRecord& encoded);
  absl::Status StartSegment(const PushRecord& record, const EncodedRecord& encoded);

  const FilePushLogOptions options_;
  const uint64_t boot_;

  mutable std::mutex mutex_;
  std::deque<Segment> segments_;      // Oldest first; the last may be open.
  std::unique_ptr<AppendFile> open_;  // Of segments_.back(), or null.
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
  for (size_t i = 0; i < names.size(); ++i) {
    PAGODA_RETURN_IF_ERROR(ReadSegment(names[i], i + 1 == names.size(), replay));
  }
  return absl::OkStatus();
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
                                    const RecordFrame& frame, bool last, uint64_t boot) const {
  const auto at = static_cast<int64_t>(offset);
  if (frame.state == RecordFrame::State::kOtherVersion) {
    return absl::FailedPreconditionError(absl::StrCat("log file ", path, ", byte ", at,
                                                      ": record format version ", frame.version,
                                                      ", which this build does not read"));
  }
  if (!last) return Damaged(path, at, "a damaged record is followed by a later segment");
  const uint64_t previous = next_sequence_ == 0 ? 0 : next_sequence_ - 1;
  if (bytes.size() > offset + 8 && HoldsLaterRecord(bytes.substr(offset + 8), previous)) {
    return Damaged(path, at, "a damaged record is followed by a good one");
  }
  const bool whole_but_wrong = frame.state == RecordFrame::State::kBadPayload ||
                               frame.state == RecordFrame::State::kBadHeader;
  if (whole_but_wrong && boot == boot_ && boot != 0) {
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
  if (keep == 0) return options_.file_system->Remove(path);
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<AppendFile> file, options_.file_system->OpenAppend(path));
  return file->Truncate(keep);
}

absl::Status FilePushLog::ReadSegment(const std::string& name, bool last,
                                      const ReplayPush& replay) {
  const std::string path = absl::StrCat(options_.directory, "/", name);
  PAGODA_ASSIGN_OR_RETURN(const std::string content, options_.file_system->ReadAll(path));
  const absl::string_view bytes = content;
  if (bytes.size() < sizeof(SegmentHeader) + kRecordHeaderBytes && last) {
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
      PAGODA_RETURN_IF_ERROR(JudgeTail(path, bytes, offset, frame, last, header.boot));
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
  if (open_ != nullptr && segments_.back().bytes >= options_.segment_bytes) open_.reset();
  PAGODA_RETURN_IF_ERROR(open_ != nullptr ? AppendToSegment(record, encoded)
                                          : StartSegment(record, encoded));
  next_sequence_ = record.sequence + 1;
  return absl::OkStatus();
}

absl::Status FilePushLog::AppendToSegment(const PushRecord& record, const EncodedRecord& encoded) {
  Segment& segment = segments_.back();
  const absl::Status written = open_->Append(encoded.pieces());
  if (!written.ok()) {
    const absl::Status cut = open_->Truncate(segment.bytes);
    if (!cut.ok()) {
      broken_ = absl::UnavailableError(
          absl::StrCat("the push log is out of order after a failed write (", written.message(),
                       "; then ", cut.message(), "): reopen the store"));
    }
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
  const absl::Status written = file->Append(pieces);
  if (!written.ok()) {
    file.reset();
    const absl::Status removed = options_.file_system->Remove(path);
    if (!removed.ok()) {
      broken_ = absl::UnavailableError(
          absl::StrCat("the push log is out of order after a failed write (", written.message(),
                       "; then ", removed.message(), "): reopen the store"));
    }
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
  open_.reset();
}

absl::Status FilePushLog::DropThrough(uint64_t sequence) {
  std::lock_guard<std::mutex> lock(mutex_);
  while (!segments_.empty() && segments_.front().last_sequence <= sequence) {
    if (segments_.size() == 1 && open_ != nullptr) break;
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
