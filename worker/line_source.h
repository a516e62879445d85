// The lines of a list of files, one after another, from any position.
//
// A row is one line: line ends inside quotes are not supported (row_parser.h
// refuses them in words). "\n" and "\r\n" both end a line; the last line needs no
// end; a UTF-8 byte order mark at the start of a file is dropped; blank lines are
// not rows. What is skipped at the start of a file (LineOptions) is not a row.
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/input_file.h"

namespace pagoda {

// A longer line is a bad row and is never held in memory as a whole.
inline constexpr int64_t kLineBytesMax = 1 << 20;

struct LineOptions {
  int64_t skip_lines = 0;        // At the start of each file.
  bool header = false;           // Then the first line that is not blank is not a row.
  bool spaces_are_blank = true;  // A line of spaces alone is blank, too.
  // Read files first_file, first_file + file_stride, ... only.
  int64_t first_file = 0;
  int64_t file_stride = 1;
};

// A place between two lines. Plain data. {file, 0, 0, 0} is the start of a file,
// before anything that is skipped there.
struct LinePosition {
  int64_t file = 0;  // Index into the list of files.
  int64_t byte = 0;  // Of the decompressed file.
  int64_t line = 0;  // Lines of the file before this place.
  int64_t row = 0;   // Rows of the file before this place.

  friend bool operator==(const LinePosition&, const LinePosition&) = default;
};

struct Line {
  absl::string_view text;  // Without its end. Valid until the next call.
  int32_t file = 0;
  int64_t line = 0;       // 1-based.
  int64_t row = 0;        // 0-based, within the file.
  bool too_long = false;  // Longer than kLineBytesMax: `text` is its first bytes.
};

class LineSource {
 public:
  // REQUIRES: file_stride >= 1, first_file >= 0.
  LineSource(std::vector<std::string> files, const LineOptions& options);

  // Where reading begins: the first file's start.
  LinePosition start() const { return LinePosition{options_.first_file, 0, 0, 0}; }

  // Continues at `position`, which came from position() of an equal source.
  // Opening is put off until Next.
  //   INVALID_ARGUMENT  no such file in this source's list
  absl::Status Seek(const LinePosition& position);

  // Moves to the next row. false at the end of the last file.
  //   what InputFile returns; INVALID_ARGUMENT for a UTF-16 file
  absl::StatusOr<bool> Next(Line* line);

  // The place after the last row that Next gave.
  LinePosition position() const { return position_; }

  // Bytes on disk used so far in this pass (about), and in all files of this source.
  int64_t disk_position() const;
  int64_t disk_size() const { return disk_size_; }

 private:
  absl::Status OpenFile();
  absl::Status SkipStart();
  // Makes [begin_, end_) hold more bytes; sets at_end_ when there are none.
  absl::Status Refill();
  // The next physical line; false at the end of the file.
  absl::StatusOr<bool> NextPhysical(absl::string_view* text, bool* too_long);
  absl::Status DropRestOfLine();
  bool Blank(absl::string_view text) const;

  std::vector<std::string> files_;
  LineOptions options_;
  LinePosition position_;
  std::unique_ptr<InputFile> file_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;
  bool at_end_ = false;
  std::string shown_;  // Beginning of a line that is too long.
  std::vector<int64_t> disk_sizes_;
  int64_t disk_size_ = 0;
  int64_t disk_before_ = 0;  // Bytes of the files before the current one.
};

// The first line of `path` that is not blank, after `skip_lines`; empty when there is
// none. For reading headers.
//   what LineSource::Next returns
absl::StatusOr<std::string> FirstLine(const std::string& path, const LineOptions& options);

}  // namespace pagoda
