// Sums over the workers of a job. Implementations: SingleWorker (below) and Gloo
// (allreduce_gloo.h).
//
// Threads: one thread at a time; every worker makes the same calls in the same order.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pagoda {

class AllReduce {
 public:
  virtual ~AllReduce() = default;
  virtual int rank() const = 0;
  virtual int num_workers() const = 0;
  // In place; every worker ends with the same bits.
  //   UNAVAILABLE, DEADLINE_EXCEEDED  a peer died or is cut off; the object is dead then
  virtual absl::Status Sum(std::span<float> values) = 0;
  virtual absl::Status Sum(std::span<double> values) = 0;
  // Concatenates every worker's values in rank order, on every worker.
  virtual absl::StatusOr<std::vector<double>> Gather(std::span<const double> values) = 0;
  virtual absl::Status Barrier() = 0;
  // OK, or what has ended the job, as far as that is known here. Does not wait.
  virtual absl::Status Health() const { return absl::OkStatus(); }
};

std::unique_ptr<AllReduce> SingleWorker();

}  // namespace pagoda
