// Reads batches and prepares them for the model (unique ids, indices) on a thread
// of its own, a bounded number ahead of its consumer.
//
// Threads: Next and Ready from one thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "algorithms/nn/batch.h"
#include "algorithms/nn/declaration.h"
#include "worker/batch_reader.h"
#include "worker/parameter_client.h"

namespace pagoda {

struct PrefetchedBatch {
  // Prepared, or (when it is another worker's to score) `prepared.batch` alone.
  PreparedBatch prepared;
  bool is_prepared = false;
  int64_t index = 0;        // 0, 1, 2, ... since Start.
  ReaderPosition position;  // Where the reader goes on after this batch.
  int64_t pass = 0;         // 0-based pass over the data that it belongs to.
  double progress = 0.0;    // Of the whole input, after this batch.
  // Per table: positions in unique_ids whose ids the batch before also had; all of
  // them where repeat_all is set.
  std::vector<std::vector<int32_t>> repeats;
};

struct PrefetchOptions {
  ReaderOptions reader;
  ReaderPosition start;
  OpenReaderFn open_reader;                  // Empty: BatchReader::Open.
  const Declaration* declaration = nullptr;  // Must outlive the prefetcher.
  BatchUse use = BatchUse::kTrain;
  int64_t batches_ahead = 4;  // > 0: held ready beside the one in the making.
  bool find_repeats = false;
  // By table: every row changes with every step (exact tables). Missing: no.
  std::vector<bool> repeat_all;
  // Prepares batch i only when i % prepare_every == prepare_offset.
  int64_t prepare_every = 1;
  int64_t prepare_offset = 0;
};

class Prefetcher {
 public:
  //   BatchReader::Open's errors
  static absl::StatusOr<std::unique_ptr<Prefetcher>> Start(const PrefetchOptions& options);
  ~Prefetcher();  // Waits for the batch in the making.
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  // True when Next would not wait.
  bool Ready();
  // The next batch, or nullptr at the end (again and again).
  //   DEADLINE_EXCEEDED  none was ready within `wait`; ask again
  //   the reader's or PrepareBatch's error, after the batches before it; final
  absl::StatusOr<std::unique_ptr<PrefetchedBatch>> Next(absl::Duration wait);

  double read_seconds();
  double prepare_seconds();
  int64_t bad_rows();

 private:
  explicit Prefetcher(const PrefetchOptions& options) : options_(options) {}
  void Run();
  // nullptr at the end.
  absl::StatusOr<std::unique_ptr<PrefetchedBatch>> Make(int64_t index);
  void MarkRepeats(PrefetchedBatch& batch);

  const PrefetchOptions options_;
  std::unique_ptr<BatchReader> reader_;         // Of the thread, once it runs.
  std::vector<std::vector<FeatureId>> before_;  // Unique ids of the batch before, likewise.

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<PrefetchedBatch>> ready_;
  bool ended_ = false;   // The thread makes no more; `status_` says why.
  absl::Status status_;  // OK: the end of the data.
  bool stopping_ = false;
  double read_seconds_ = 0.0, prepare_seconds_ = 0.0;
  int64_t bad_rows_ = 0;
  std::thread thread_;
};

// Prefetcher::Next without a deadline of its own: waits for as long as the job is
// healthy (a slow disk is no failure).
//   client.Health()'s error;  Next's errors
absl::StatusOr<std::unique_ptr<PrefetchedBatch>> NextWhileHealthy(Prefetcher& prefetcher,
                                                                  const ParameterClient& client);

}  // namespace pagoda
