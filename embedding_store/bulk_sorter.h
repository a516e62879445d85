// Rows of one table in any order, brought into key order in bounded memory.
//
//   deal   rows go to 256 ranges of buckets, each with a buffer of its own
//   spill  a buffer that is full is appended to its range's file
//   sort   range by range, several at the same time
//
// Buckets are hashes, so the ranges are of equal size, 1/256 of all rows. One that has a
// file is read whole to be sorted; as many at once, up to kRangesAtOnce, as fit into the
// memory for the buffers.
//
// Threads: one at a time.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/ids.h"
#include "embedding_store/file_system.h"
#include "embedding_store/run_parts.h"

namespace pagoda {

class BulkSorter {
 public:
  struct Options {
    FileSystem* file_system = nullptr;
    std::string directory;     // For the files; must exist.
    size_t row_floats = 0;     // f32 values of a row.
    int64_t memory_bytes = 0;  // Of all buffers; each has room for one row at least.
  };
  // A row in key order: `floats` [row_floats].
  using Visit = std::function<absl::Status(FeatureId id, const float* floats)>;

  explicit BulkSorter(const Options& options);
  ~BulkSorter();  // Removes its files.
  BulkSorter(const BulkSorter&) = delete;
  BulkSorter& operator=(const BulkSorter&) = delete;

  // Makes room for a row and returns where its row_floats values go.
  //   whatever FileSystem says, from spilling
  absl::StatusOr<float*> Add(FeatureId id);

  // Visits all rows by bucket, then id; equal ids follow one another. Call once, last.
  //   DATA_LOSS  a file is not as it was written
  //   whatever FileSystem or `visit` says, which ends it
  absl::Status Sort(const RunParts& run, const Visit& visit);

  uint64_t rows() const { return rows_; }
  size_t row_floats() const { return options_.row_floats; }

 private:
  static constexpr size_t kRanges = 256;
  static constexpr size_t kRangesAtOnce = 8;

  struct Place {
    uint32_t bucket = 0;
    uint32_t index = 0;  // Of the row in its range.
    FeatureId id = 0;
  };
  struct Range {
    size_t buffered = 0;               // Rows in its buffer.
    std::unique_ptr<AppendFile> file;  // Null: nothing was spilled.
    uint64_t spilled = 0;              // Rows in the file.
  };
  // A range's rows in order.
  struct Sorted {
    std::string bytes;  // From the file; empty: the rows are in the buffer.
    const char* rows = nullptr;
    std::vector<Place> places;
    absl::Status status;
  };

  char* BufferOf(size_t range) const { return buffers_.get() + range * buffer_rows_ * row_bytes_; }
  std::string FileOf(size_t range) const;
  absl::Status Spill(size_t range);
  absl::Status SortRange(size_t range, Sorted* sorted) const;
  size_t RangesAtOnce() const;

  const Options options_;
  const size_t row_bytes_;
  const size_t buffer_rows_;  // Of each range's buffer.
  std::unique_ptr<char[]> buffers_;
  std::array<Range, kRanges> ranges_;
  uint64_t rows_ = 0;
};

}  // namespace pagoda
