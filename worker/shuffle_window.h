// Windows of raw rows, shuffled: the order of an epoch.
//
//   lines of the files -> random split (drops rows) -> window of n rows -> permuted
//
// The permutation is a function of (seed, epoch, index of the window, rows in the
// window), so a window can be made again from where it starts: that is what makes
// the position of a reader resumable in the middle of a window.
//
// Threads: one thread at a time. Windows are immutable and may be shared.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/line_source.h"

namespace pagoda {

// One row's text, owned by its window.
struct RawRow {
  const char* text = nullptr;
  uint32_t size = 0;
  int32_t file = 0;
  int64_t line = 0;
  bool too_long = false;

  absl::string_view view() const { return absl::string_view(text, size); }
};

// Where a window starts.
struct WindowStart {
  int64_t epoch = 0;
  int64_t window = 0;  // Within the epoch.
  LinePosition place;
  int64_t row = 0;  // Rows of the epoch (after the split) before it.
};

struct Window {
  WindowStart start;
  WindowStart next;          // Start of the window that follows, perhaps of the next epoch.
  bool last = false;         // No row of this epoch follows. An empty window is always last.
  std::vector<RawRow> rows;  // In the order in which they are handed out.
  // Fraction of the epoch's bytes read before this window, and including it.
  double progress_begin = 0.0, progress_end = 0.0;

 private:
  friend class WindowReader;
  // Owns the texts. Small blocks, so that freed ones are used again rather than
  // returned to the system page by page.
  std::deque<std::unique_ptr<char[]>> blocks;
};

struct WindowOptions {
  LineOptions lines;
  int64_t rows = 0;  // Of a window; > 0, at most kWindowRowsMax.
  bool shuffle = false;
  uint64_t seed = 1;
  double split_begin = 0.0, split_end = 1.0;
  uint64_t split_seed = 7;
};

// 32-bit positions in a permutation; a window of so many rows would not fit in
// memory anyway.
inline constexpr int64_t kWindowRowsMax = int64_t{1} << 31;

// The number in [0, 1) that decides on which side of a split a row falls: a
// function of (seed, file's index, row's index within the file) alone.
double SplitPoint(uint64_t split_seed, int64_t file, int64_t row);

class WindowReader {
 public:
  WindowReader(std::vector<std::string> files, const WindowOptions& options);

  // Start of the first window of `epoch`.
  WindowStart EpochStart(int64_t epoch) const;

  // Continues at the start of a window.
  //   INVALID_ARGUMENT  the place is not one of these files
  absl::Status Seek(const WindowStart& start);

  // The next window. After an epoch's last window comes the first of the next,
  // for ever.
  //   INVALID_ARGUMENT  the whole epoch has no row (a source that reads only some of
  //                     the files may: other workers have the rows)
  //   and what LineSource::Next returns
  absl::StatusOr<std::shared_ptr<const Window>> Next();

 private:
  char* Allocate(Window& window, size_t size);
  void Permute(Window& window) const;

  WindowOptions options_;
  std::vector<std::string> files_;
  LineSource source_;
  WindowStart at_;
  char* block_ = nullptr;  // Free room in the last block of the window being read.
  size_t block_room_ = 0;
};

}  // namespace pagoda
