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
#include <functional>
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
  int64_t epochs = 1;      // Passes over the data.
  bool drop_last = false;  // Drop the last, smaller batch of each epoch.
  // false: an absent label, weight, group, target or slice column is fine (labels then
  // read 0, weights 1, the others are empty), and so is an empty label or target (0).
  bool needs_labels = true;
  // true: an absent column of a feature is fine: the feature has no ids then, or reads
  // as its missing_value when it is numeric.
  bool absent_columns_empty = false;
  // Evaluation and prediction: batch i of an epoch goes whole to worker i % N, so the
  // batches are those of one worker; data.sharding is then ignored. The rows come
  // in the files' order when data.shuffle_rows is 0.
  bool round_robin_batches = false;
  // Training, "rows" sharding: Batch::whole, which every worker parses then (its bad rows are
  // left out; the worker whose rows they are counts them).
  bool whole_batches = false;
  int num_parse_threads = 2;  // The batches do not depend on it.
  int64_t batches_ahead = 4;  // Parsed or being parsed before Next asks.
};

// Where the next batch starts. Plain data, saved in a cut. A reader opened with it
// continues with exactly the batches that would have followed. With "rows" sharding
// every worker's position is the same but for bad_rows, and a job may continue with
// another number of workers; with "files" each worker has its own.
struct ReaderPosition {
  int64_t epoch = 0;        // 0-based
  int64_t window = 0;       // Shuffle window within the epoch.
  int64_t window_file = 0;  // Where the window starts: file, byte, line, row of the epoch.
  int64_t window_byte = 0;  // (of the decompressed file)
  int64_t window_line = 0;
  int64_t window_row = 0;       // Rows of the epoch before it, those of other splits left out.
  int64_t window_file_row = 0;  // Rows of the file before it, all of them.
  int64_t row_in_window = 0;    // Rows of the window already handed out.
  uint64_t global_sample = 0;   // Samples handed out since the job began, all workers.
  int64_t bad_rows = 0;         // Skipped by this worker.
};

class BatchReader {
 public:
  // Checks everything that can be checked before reading rows. A default
  // ReaderPosition is the beginning.
  //   NOT_FOUND         a file is missing, or a glob matches nothing (named)
  //   INVALID_ARGUMENT  an empty file, a column that no file has (names the nearest),
  //                     an option out of range, headers that differ between files,
  //                     a feature whose settings do not fit its kind, or a position
  //                     in a file that is not in the list
  //   LoadJoins' errors, for joins of the schema that are not loaded yet
  static absl::StatusOr<std::unique_ptr<BatchReader>> Open(const ReaderOptions& options,
                                                           const ReaderPosition& start = {});
  virtual ~BatchReader() = default;

  // The next batch (this worker's slice; its size may be 0 while others' are not),
  // or nullopt at the end. Blocks. After an error every further call returns it.
  //
  // A bad row keeps its place in the order: with on_bad_row = "skip" it is left out
  // of its batch, whose size is then smaller, and no other row moves.
  //   INVALID_ARGUMENT     a bad row: "adult.csv:17:3: ..." names file, line and column
  //                        (the cell's number); or more than bad_rows_max of them; or
  //                        data without rows
  //   DATA_LOSS            a truncated or corrupt compressed file
  //   FAILED_PRECONDITION  the data is shorter than the position to continue from
  virtual absl::StatusOr<std::optional<Batch>> Next() = 0;

  // Position after the last batch that Next returned.
  virtual ReaderPosition position() const = 0;
  virtual int64_t bad_rows() const = 0;
  // Fraction of the whole input handed out so far, in [0, 1]; an estimate for progress bars.
  virtual double progress() const = 0;
};

// BatchReader::Open, or what stands in for it.
using OpenReaderFn = std::function<absl::StatusOr<std::unique_ptr<BatchReader>>(
    const ReaderOptions& options, const ReaderPosition& start)>;

}  // namespace pagoda
