// Pushes row gradients to the servers, a bounded number of steps in flight.
//
// Threads: one thread at a time. Buffers live until the acknowledgement, even when
// the caller has given up.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/ids.h"
#include "worker/parameter_client.h"
#include "worker/pending_calls.h"

namespace pagoda {

// One step's gradients; a table with no ids is not sent.
struct RowGradients {
  std::vector<std::vector<FeatureId>> ids;    // Per table, distinct.
  std::vector<std::vector<float>> gradients;  // Per table: at least [ids.size(), dim].

  // Rows asked back: per table, ascending positions in ids, and the rows after the push,
  // [returned.size(), dim]. Empty: none.
  std::vector<std::vector<uint32_t>> returned;
  std::vector<std::vector<float>> rows;
  Step step = 0;  // Of the push.
};

class GradientPusher {
 public:
  // `in_flight_max` pushes may be unacknowledged (>= 1). `send_empty`: a push without
  // any table is sent, too (the servers of a sync job wait for every worker's).
  struct Options {
    int64_t in_flight_max = 1;
    bool send_empty = false;
    absl::Duration wait_max;
  };
  GradientPusher(ParameterClient* client, const Options& options)
      : client_(client), options_(options), shared_(std::make_shared<Shared>()) {}

  // Empty gradients whose buffers have been used before, when there are some.
  std::unique_ptr<RowGradients> Take();

  // Waits for room, then sends. An earlier push's error shows here or in Drain.
  absl::Status Push(Step step, std::unique_ptr<RowGradients> gradients, float learning_rate_factor);
  // Pushes that have been acknowledged with rows since the last call, for Recycle.
  std::vector<std::unique_ptr<RowGradients>> TakeReturned();
  void Recycle(std::unique_ptr<RowGradients> gradients);
  // Returns when every push has been acknowledged.   Errors: PendingCalls::Wait's.
  absl::Status Drain();

 private:
  struct Shared {
    PendingCalls calls;
    std::mutex mutex;
    std::vector<std::unique_ptr<RowGradients>> spare;
    std::vector<std::unique_ptr<RowGradients>> returned;
  };

  ParameterClient* const client_;
  const Options options_;
  const std::shared_ptr<Shared> shared_;
};

}  // namespace pagoda
