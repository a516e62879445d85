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
#include "base/ids.h"
#include "worker/parameter_client.h"
#include "worker/pending_calls.h"
#include "worker/prefetch.h"

namespace pagoda {

// A batch whose rows are on their way, or here after RowPuller::Wait.
struct PulledBatch {
  std::unique_ptr<PrefetchedBatch> data;
  std::vector<std::vector<float>> rows;  // Per table: at least [num_unique, dim].
  bool early = false;                    // Pulled before the step in front of it was applied.

  // Rows that the step in front of an early batch has changed, read again.
  std::vector<std::vector<FeatureId>> refreshed_ids;
  std::vector<std::vector<float>> refreshed_rows;
  PendingCalls calls;
};

class RowPuller {
 public:
  // `dims`: weights per row of each table. `client` must outlive the puller.
  RowPuller(ParameterClient* client, std::vector<int64_t> dims, absl::Duration wait_max)
      : client_(client), dims_(std::move(dims)), wait_max_(wait_max) {}

  // Asks for the rows of data->prepared as they are after `after_step` (sync mode;
  // 0: as they are).
  std::shared_ptr<PulledBatch> Start(std::unique_ptr<PrefetchedBatch> data, Step after_step);
  // Reads the rows in data->repeats again, as they are after `after_step`. Equal to
  // having pulled all of them then, when only ids of the batch in front were pushed
  // since, and exact tables repeat all ids (DESIGN ruling 2).
  void Refresh(const std::shared_ptr<PulledBatch>& batch, Step after_step);
  // Returns when batch->rows holds every row.   Errors: PendingCalls::Wait's.
  absl::Status Wait(PulledBatch& batch);
  // Takes back the buffers of a batch that has been waited for.
  void Recycle(PulledBatch& batch);

 private:
  void Pull(const std::shared_ptr<PulledBatch>& batch,
            const std::vector<std::vector<FeatureId>>& ids, std::vector<std::vector<float>>& rows,
            Step after_step);

  ParameterClient* const client_;
  const std::vector<int64_t> dims_;
  const absl::Duration wait_max_;
  std::vector<std::vector<std::vector<float>>> spare_;  // Row buffers to use again.
};

}  // namespace pagoda
