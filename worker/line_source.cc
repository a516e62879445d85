#include "worker/line_source.h"

#include <sys/stat.h>

#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr size_t kReadBytes = 256 << 10;
// Shown of a line that is too long.
constexpr size_t kShownBytes = 64;

}  // namespace

LineSource::LineSource(std::vector<std::string> files, const LineOptions& options)
    : files_(std::move(files)), options_(options), position_(start()), buffer_(kReadBytes) {
  PAGODA_CHECK(options.file_stride >= 1 && options.first_file >= 0);
  for (size_t i = 0; i < files_.size(); ++i) {
    struct stat info = {};
    const bool mine = static_cast<int64_t>(i) >= options.first_file &&
                      (static_cast<int64_t>(i) - options.first_file) % options.file_stride == 0;
    const bool found = mine && stat(files_[i].c_str(), &info) == 0;
    disk_sizes_.push_back(found ? info.st_size : 0);
    disk_size_ += disk_sizes_.back();
  }
}

absl::Status LineSource::Seek(const LinePosition& position) {
  const int64_t num_files = static_cast<int64_t>(files_.size());
  const int64_t from_first = position.file - options_.first_file;
  if (from_first < 0 || from_first % options_.file_stride != 0 || position.byte < 0 ||
      position.line < 0 || position.row < 0 || position.file >= num_files + options_.file_stride) {
    return absl::InvalidArgumentError(
        absl::StrCat("the data position names file ", position.file, ", byte ", position.byte,
                     ", which this list of ", num_files, " files does not have"));
  }
  file_.reset();
  position_ = position;
  disk_before_ = 0;
  for (int64_t i = 0; i < position.file && i < num_files; ++i) {
    disk_before_ += disk_sizes_[static_cast<size_t>(i)];
  }
  return absl::OkStatus();
}

int64_t LineSource::disk_position() const {
  if (file_ == nullptr) return disk_before_;
  // What is still in the buffer has been read but not used; the same share of the
  // compressed bytes is not counted.
  const double used = static_cast<double>(position_.byte);
  const double read = used + static_cast<double>(end_ - begin_);
  if (read <= 0.0) return disk_before_;
  return disk_before_ +
         static_cast<int64_t>(static_cast<double>(file_->disk_position()) * used / read);
}

absl::Status LineSource::OpenFile() {
  begin_ = end_ = 0;
  at_end_ = false;
  PAGODA_ASSIGN_OR_RETURN(file_, InputFile::Open(files_[static_cast<size_t>(position_.file)]));
  if (position_.byte == 0 && position_.line == 0) return SkipStart();
  return file_->SkipTo(position_.byte);
}

absl::Status LineSource::SkipStart() {
  while (end_ - begin_ < 3 && !at_end_) PAGODA_RETURN_IF_ERROR(Refill());
  const absl::string_view head(buffer_.data() + begin_, end_ - begin_);
  if (absl::StartsWith(head, "\xef\xbb\xbf")) {
    begin_ += 3;
    position_.byte += 3;
  } else if (absl::StartsWith(head, "\xff\xfe") || absl::StartsWith(head, "\xfe\xff")) {
    return absl::InvalidArgumentError(
        absl::StrCat(file_->path(), ": the file is UTF-16; convert it to UTF-8"));
  }
  absl::string_view text;
  bool too_long = false;
  for (int64_t i = 0; i < options_.skip_lines; ++i) {
    PAGODA_ASSIGN_OR_RETURN(const bool more, NextPhysical(&text, &too_long));
    if (!more) return absl::OkStatus();
  }
  while (options_.header) {
    PAGODA_ASSIGN_OR_RETURN(const bool more, NextPhysical(&text, &too_long));
    if (!more || !Blank(text)) break;
  }
  return absl::OkStatus();
}

absl::Status LineSource::Refill() {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == buffer_.size()) buffer_.resize(2 * buffer_.size());
  PAGODA_ASSIGN_OR_RETURN(const size_t n,
                          file_->Read(buffer_.data() + end_, buffer_.size() - end_));
  end_ += n;
  at_end_ = n == 0;
  return absl::OkStatus();
}

absl::Status LineSource::DropRestOfLine() {
  for (;;) {
    const char* from = buffer_.data() + begin_;
    const void* found = std::memchr(from, '\n', end_ - begin_);
    const size_t n = found != nullptr
                         ? static_cast<size_t>(static_cast<const char*>(found) - from) + 1
                         : end_ - begin_;
    begin_ += n;
    position_.byte += static_cast<int64_t>(n);
    if (found != nullptr || at_end_) return absl::OkStatus();
    PAGODA_RETURN_IF_ERROR(Refill());
  }
}

absl::StatusOr<bool> LineSource::NextPhysical(absl::string_view* text, bool* too_long) {
  *too_long = false;
  size_t scanned = 0;
  for (;;) {
    const char* from = buffer_.data() + begin_;
    const size_t size = end_ - begin_;
    const void* found = std::memchr(from + scanned, '\n', size - scanned);
    const size_t length =
        found != nullptr ? static_cast<size_t>(static_cast<const char*>(found) - from) : size;
    if (length > static_cast<size_t>(kLineBytesMax)) {
      shown_.assign(from, kShownBytes);  // Dropping the rest of the line reuses the buffer.
      PAGODA_RETURN_IF_ERROR(DropRestOfLine());
      ++position_.line;
      *text = shown_;
      *too_long = true;
      return true;
    }
    if (found != nullptr || (at_end_ && size > 0)) {
      const size_t used = length + (found != nullptr ? 1 : 0);
      begin_ += used;
      position_.byte += static_cast<int64_t>(used);
      ++position_.line;
      *text = absl::string_view(from, length);
      if (absl::EndsWith(*text, "\r")) text->remove_suffix(1);
      return true;
    }
    if (at_end_) return false;
    scanned = size;
    PAGODA_RETURN_IF_ERROR(Refill());
  }
}

bool LineSource::Blank(absl::string_view text) const {
  if (text.empty()) return true;
  return options_.spaces_are_blank && text.find_first_not_of(' ') == absl::string_view::npos;
}

absl::StatusOr<bool> LineSource::Next(Line* line) {
  while (position_.file < static_cast<int64_t>(files_.size())) {
    if (file_ == nullptr) PAGODA_RETURN_IF_ERROR(OpenFile());
    for (;;) {
      PAGODA_ASSIGN_OR_RETURN(const bool more, NextPhysical(&line->text, &line->too_long));
      if (!more) break;
      if (!line->too_long && Blank(line->text)) continue;
      line->file = static_cast<int32_t>(position_.file);
      line->line = position_.line;
      line->row = position_.row++;
      return true;
    }
    file_.reset();
    const int64_t next = position_.file + options_.file_stride;
    for (int64_t i = position_.file; i < next && i < static_cast<int64_t>(files_.size()); ++i) {
      disk_before_ += disk_sizes_[static_cast<size_t>(i)];
    }
    position_ = LinePosition{next, 0, 0, 0};
  }
  return false;
}

absl::StatusOr<std::string> FirstLine(const std::string& path, const LineOptions& options) {
  LineOptions plain = options;
  plain.header = false;
  plain.first_file = 0;
  plain.file_stride = 1;
  LineSource source({path}, plain);
  Line line;
  PAGODA_ASSIGN_OR_RETURN(const bool more, source.Next(&line));
  if (!more) return std::string();
  return std::string(line.text);
}

}  // namespace pagoda
