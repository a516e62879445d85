// Reads, shuffles, shards and parses a data set into batches, on its own threads,
// a bounded number of batches ahead.
//
// The sequence of global batches is a function of (files, options, seed, epoch)
// alone; a worker's batch is its slice of the global batch ("rows" sharding), so
// that runs with any number of workers and threads see the same samples.
//
// Threads: Next and position from one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithms/nn/batch.h"
#include "algorithms/nn/feature_schema.h"
#include "worker/data_options.h"

namespace pagoda {

struct ReaderOptions {
  DataOptions data;
  FeatureSchema schema;
  int64_t batch_size = 0;  // GLOBAL samples per batch.
  int rank = 0;
  int num_workers = 1;
  int64_t epochs = 1;        // Passes over the data.
  bool drop_last = false;    // Drop the last, smaller batch of each epoch.
  bool needs_labels = true;  // false: an absent label column is fine (labels read 0).
  int num_parse_threads = 2;
  int64_t batches_ahead = 4;
};

// Where the next batch starts. Plain data, saved in a cut. A reader opened with it
// continues with exactly the batches that would have followed.
struct ReaderPosition {
  int64_t epoch = 0;        // 0-based
  int64_t window = 0;       // Shuffle window within the epoch.
  int64_t window_file = 0;  // Where the window starts: file, byte, line, row of the epoch.
  int64_t window_byte = 0;  // (of the decompressed file)
  int64_t window_line = 0;
  int64_t window_row = 0;
  int64_t row_in_window = 0;   // Rows of the window already handed out.
  uint64_t global_sample = 0;  // Samples handed out since the job began, all workers.
  int64_t bad_rows = 0;
};

class BatchReader {
 public:
  // Checks everything that can be checked before reading rows.
  //   NOT_FOUND         a file is missing, or a glob matches nothing (named)
  //   INVALID_ARGUMENT  an empty file, a column that no file has (names the nearest),
  //                     or an option out of range
  static absl::StatusOr<std::unique_ptr<BatchReader>> Open(const ReaderOptions& options,
                                                           const ReaderPosition& start = {});
  virtual ~BatchReader() = default;

  // The next batch (this worker's slice; its size may be 0 while others' are not),
  // or nullopt at the end.
  //   INVALID_ARGUMENT  a bad row: "adult.csv:17:3: ..." names file, line, column
  //   DATA_LOSS         a truncated or corrupt compressed file
  virtual absl::StatusOr<std::optional<Batch>> Next() = 0;

  // Position after the last batch that Next returned.
  virtual ReaderPosition position() const = 0;
  virtual int64_t bad_rows() const = 0;
  // Fraction of the whole input handed out so far, in [0, 1]; an estimate for progress bars.
  virtual double progress() const = 0;
};

}  // namespace pagoda
