// Cuts the stream of windows into global batches and picks one worker's part of
// each, still as raw rows.
//
// A global batch is the next `batch_size` rows of the epoch, across windows; the last
// one of an epoch may be smaller. Which rows a worker gets:
//   kSlice       rows [n * rank / N, n * (rank + 1) / N) of a global batch of n rows;
//                the slice may be empty
//   kWhole       the stream is this worker's own (it reads its own files): a batch
//                is the next batch_size * (rank + 1) / N - batch_size * rank / N rows
//   kRoundRobin  batch i of an epoch goes whole to worker i % N
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/shuffle_window.h"

namespace pagoda {

enum class BatchShare { kSlice, kWhole, kRoundRobin };

struct CutterOptions {
  int64_t batch_size = 0;  // Global; >= num_workers for kWhole.
  int rank = 0;
  int num_workers = 1;
  BatchShare share = BatchShare::kSlice;
  int64_t epochs = 1;
  bool drop_last = false;  // A smaller batch at the end of an epoch is left out.
  bool whole = false;      // kSlice of several workers: also all rows of the global batch.
};

// Where the next batch starts: in window `start`, after `row_in_window` of its rows.
struct CutPosition {
  WindowStart start;
  int64_t row_in_window = 0;
  uint64_t global_sample = 0;  // Rows handed out since the job began, all workers.
};

// One worker's part of a global batch.
struct RawBatch {
  std::vector<RawRow> rows;
  std::vector<RawRow> whole;                           // Empty unless asked for.
  int64_t first_of_whole = 0;                          // rows[0] in `whole`.
  std::vector<std::shared_ptr<const Window>> windows;  // Keep the rows' texts alive.
  uint64_t first_sample = 0;                           // Global index of rows[0].
  uint64_t global_first_sample = 0;                    // Of the global batch's first row.
  CutPosition after;
  double progress = 0.0;  // Of all epochs, after this batch.
};

class BatchCutter {
 public:
  using NextWindow = std::function<absl::StatusOr<std::shared_ptr<const Window>>()>;

  // `next_window` gives the windows from start.start on (WindowReader::Next).
  BatchCutter(const CutterOptions& options, const CutPosition& start, NextWindow next_window);

  // The next batch of this worker, or nullopt after the last epoch.
  //   FAILED_PRECONDITION  the start lies beyond its window: the data has changed
  //   and what next_window returns; the rows before the error that do not fill a
  //   batch are not handed out
  absl::StatusOr<std::optional<RawBatch>> Next();

 private:
  struct Span {
    std::shared_ptr<const Window> window;
    int64_t begin = 0, end = 0;
  };
  // Makes window_ one that has rows left, or the epoch's last.
  absl::Status NeedWindow();
  // The next n rows of the epoch, or as many as are left of it.
  absl::StatusOr<std::vector<Span>> Gather(int64_t n);
  CutPosition Position() const;
  double Progress() const;
  // The worker's rows of a global batch of `total` rows; nullopt: none of its
  // business.
  std::optional<RawBatch> Share(const std::vector<Span>& spans, int64_t total,
                                int64_t batch_of_epoch, uint64_t batch_first) const;

  CutterOptions options_;
  NextWindow next_window_;
  std::shared_ptr<const Window> window_;
  int64_t row_in_window_ = 0;
  int64_t epoch_ = 0;
  uint64_t global_sample_ = 0;
};

}  // namespace pagoda
