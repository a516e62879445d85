// Pulls the rows of prepared batches, ahead of their step.
//
// Threads: one thread at a time. Buffers live until the servers' answers are in,
// even when the caller has given a batch up.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "algorithms/nn/declaration.h"
#include "algorithms/nn/step_upload.h"
#include "base/ids.h"
#include "worker/parameter_client.h"
#include "worker/pending_calls.h"
#include "worker/prefetch.h"
#include "worker/row_cache.h"

namespace pagoda {

// A batch whose rows are on their way, or here after RowPuller::Wait.
struct PulledBatch {
  std::unique_ptr<PrefetchedBatch> data;
  std::vector<std::vector<float>> rows;  // Per table: at least [num_unique, dim].
  // Per table, where the declaration wants them: [num_unique, 2] (TablePull::statistics).
  std::vector<std::vector<uint32_t>> statistics;
  // For StepInput: null where there are none.
  std::vector<const uint32_t*> StatisticsOfTables() const;
  bool early = false;  // Pulled before the step in front of it was applied.

  Step version = 0;  // The last step that was applied when it was pulled, or refreshed.

  // With a row cache: the rows that it has, which are not in `rows`, and those that were
  // pulled. Without: `pulled` is empty, and all were.
  CachedRows cached;
  RowPositions pulled;

  // Rows that the step in front of an early batch has changed, read again.
  RowPositions refreshed;

  // A GPU's copy of all this as it was before it was refreshed; may be absent.
  std::unique_ptr<StepUpload> upload;

  // Rows of some positions, on their way: the puller's.
  struct Answer {
    std::vector<std::vector<FeatureId>> ids;
    std::vector<std::vector<float>> rows;
    std::vector<std::vector<uint32_t>> statistics;
  };
  Answer pulled_answer, refreshed_answer;
  PendingCalls calls;
};

class RowPuller {
 public:
  // `client`, and `cache` (may be null), must outlive the puller. The cache holds no table
  // whose statistics are wanted.
  RowPuller(ParameterClient* client, const Declaration& declaration, absl::Duration wait_max,
            RowCache* cache = nullptr);

  // Asks for the rows of data->prepared as they are after `after_step` (sync mode;
  // 0: as they are), but for those in the cache. `applied`: the last step applied.
  std::shared_ptr<PulledBatch> Start(std::unique_ptr<PrefetchedBatch> data, Step after_step,
                                     Step applied = 0);
  // Reads the rows in data->repeats again, as they are after `after_step`. Equal to
  // having pulled all of them then, when only ids of the batch in front were pushed
  // since, and exact tables repeat all ids (DESIGN ruling 2).
  void Refresh(const std::shared_ptr<PulledBatch>& batch, Step after_step);
  // Returns when batch->rows holds every row.   Errors: PendingCalls::Wait's.
  absl::Status Wait(PulledBatch& batch);
  // Whether Wait would not wait; if so, batch->rows holds every row but those that are
  // not yet read again.
  bool Arrived(PulledBatch& batch);
  // Takes back the buffers of a batch that has been waited for.
  void Recycle(PulledBatch& batch);
  // Call for a batch that is given up, or whose step has ended: nothing of it is on the
  // device afterwards.
  void Release(PulledBatch& batch);

 private:
  void Pull(const std::shared_ptr<PulledBatch>& batch,
            const std::vector<std::vector<FeatureId>>& ids, std::vector<std::vector<float>>& rows,
            std::vector<std::vector<uint32_t>>& statistics, Step after_step);
  // Pulls some of a batch's rows into `answer`.
  void PullSome(const std::shared_ptr<PulledBatch>& batch, const RowPositions& positions,
                PulledBatch::Answer& answer, Step after_step);
  // Brings an answer's rows to their places.
  void Place(PulledBatch& batch, const RowPositions& positions, PulledBatch::Answer& answer) const;

  ParameterClient* const client_;
  std::vector<int64_t> dims_;           // Weights per row of each table.
  const std::vector<bool> statistics_;  // Per table: wanted.
  const absl::Duration wait_max_;
  RowCache* const cache_;
  std::vector<std::vector<std::vector<float>>> spare_;  // Row buffers to use again.
};

}  // namespace pagoda
