#include "embedding_store/log_marks.h"

#include <cstring>
#include <utility>

#include "absl/status/statusor.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

struct Entry {
  LogMarks marks;
  uint64_t checksum = 0;  // Of the 32 bytes before it.
};
static_assert(sizeof(Entry) == 40);
constexpr auto kEntryBytes = static_cast<int64_t>(sizeof(Entry));
constexpr int64_t kFileBytesMax = 100 * kEntryBytes;  // Then it starts anew.

uint64_t ChecksumOf(const LogMarks& marks) {
  return HashBytes({reinterpret_cast<const char*>(&marks), sizeof(marks)});
}

}  // namespace

LogMarksFile::LogMarksFile(FileSystem* file_system, std::string path, bool read_only)
    : fs_(file_system), path_(std::move(path)), writable_(!read_only && !path_.empty()) {
  if (!path_.empty()) Read();
}

void LogMarksFile::Read() {
  const absl::StatusOr<std::string> content = fs_->ReadAll(path_);
  if (!content.ok()) return;
  bytes_ = static_cast<int64_t>(content->size());
  for (int64_t at = bytes_ / kEntryBytes * kEntryBytes; at > 0;) {
    at -= kEntryBytes;
    Entry entry;
    std::memcpy(&entry, content->data() + at, sizeof(entry));
    if (entry.checksum != ChecksumOf(entry.marks)) continue;
    marks_ = entry.marks;
    return;
  }
}

void LogMarksFile::Write(const LogMarks& marks, bool sync) {
  marks_ = marks;
  if (!writable_) return;
  const Entry entry{marks, ChecksumOf(marks)};
  const absl::string_view piece(reinterpret_cast<const char*>(&entry), sizeof(entry));
  const auto write = [&]() -> absl::Status {
    if (file_ == nullptr) {
      PAGODA_ASSIGN_OR_RETURN(const bool exists, fs_->Exists(path_));
      PAGODA_ASSIGN_OR_RETURN(file_, exists ? fs_->OpenAppend(path_) : fs_->Create(path_));
    }
    // Not whole entries: a write was cut off.
    if (bytes_ >= kFileBytesMax || bytes_ % kEntryBytes != 0) {
      PAGODA_RETURN_IF_ERROR(file_->Truncate(0));
      bytes_ = 0;
    }
    bytes_ += 1;  // Until it is known to be whole.
    PAGODA_RETURN_IF_ERROR(file_->Append({&piece, 1}));
    bytes_ += kEntryBytes - 1;
    return sync ? file_->Sync() : absl::OkStatus();
  };
  const absl::Status written = write();
  if (!written.ok()) PAGODA_LOG_WARNING("the push log's marks: {}", std::string(written.message()));
}

}  // namespace pagoda
