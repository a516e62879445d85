// The training batches of one worker, each with its rows: prefetch thread, then
// pulls, in the manner of the job's mode.
//
//   sync   The rows of batch t + 1 are those after step t. With one worker and
//          pull_ahead > 0 they are pulled while step t is computed, and those that
//          step t pushed (of exact tables: all) are read again after it; same bits,
//          less waiting.
//   async  pull_ahead batches are pulled ahead, as the rows are.
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model_instance.h"
#include "worker/parameter_client.h"
#include "worker/prefetch.h"
#include "worker/row_puller.h"
#include "worker/trainer.h"

namespace pagoda {

class BatchFlow {
 public:
  // Starts reading `reader` at `start`. `model`, `client`, `times` and `cache` (may be
  // null) must outlive the flow; `times` is added to.
  //   BatchReader::Open's errors
  static absl::StatusOr<std::unique_ptr<BatchFlow>> Start(
      const ReaderOptions& reader, const ReaderPosition& start, const ModelInstance& model,
      ParameterClient* client, StageTimes* times, RowCache* cache = nullptr);
  ~BatchFlow();

  // The next batch, its rows perhaps still on their way; nullptr at the end of the
  // data. `applied`: the last step whose push was sent.
  absl::StatusOr<const PrefetchedBatch*> Peek(Step applied);
  // The batch that Peek showed, with its rows; at the end of the data an empty batch,
  // so that this worker can take part in the others' step.
  absl::StatusOr<std::shared_ptr<PulledBatch>> Take(Step applied);

  // Call when the computation of step `applied` + 1 begins: pulls ahead.
  void PullAhead(Step applied);
  // Call when the push of `step` has been sent: pulls, or reads again, what depends on it.
  void StepPushed(Step step);
  // The next batch, when its rows are here, if perhaps to be read again; else null.
  PulledBatch* Arrived();
  // The step has ended.
  void Release(PulledBatch& batch) { puller_.Release(batch); }
  void Recycle(PulledBatch& batch) { puller_.Recycle(batch); }

  // Adds the prefetch thread's seconds to times->read and times->prepare. Once.
  void AddPrefetchTimes();

 private:
  BatchFlow(const ModelInstance& model, ParameterClient* client, StageTimes* times, int num_workers,
            RowCache* cache);
  // `applied`: the last step whose push was sent.
  void StartPull(std::unique_ptr<PrefetchedBatch> batch, Step applied);
  // Moves one batch from the prefetch thread to the window, if one is ready.
  bool TryAdvance(Step applied);

  const ModelInstance& model_;
  ParameterClient* const client_;
  StageTimes* const times_;
  const bool sync_;
  const bool early_;  // sync, pulling before the step in front has been applied.
  std::unique_ptr<Prefetcher> prefetcher_;
  RowPuller puller_;
  std::deque<std::shared_ptr<PulledBatch>> window_;
  bool ended_ = false;
  absl::Status failed_;  // Of the prefetch thread, met while pulling ahead.
};

}  // namespace pagoda
