// Sums of device arrays over the workers of a job, beside the context's own work.
// Implementations: by way of the host (below) and NCCL (allreduce_nccl.h).
//
// Threads: the context's, one at a time; every worker makes the same calls in the same
// order.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "algorithms/nn/parameters.h"
#include "kernels/context.h"
#include "kernels/tensor.h"
#include "worker/allreduce.h"

namespace pagoda {

class DeviceAllReduce {
 public:
  virtual ~DeviceAllReduce() = default;
  // Starts to[i] = the sum of every worker's from[i], f32, as the context's work so far
  // leaves it. Until Finish, `from` must not change and `to` not be read.
  virtual absl::Status Start(const Tensor& from, const Tensor& to) = 0;
  // Waits for all sums that were started; every worker then has the same bits.
  //   UNAVAILABLE, DEADLINE_EXCEEDED  a peer died or is cut off; the object is dead then
  virtual absl::Status Finish() = 0;
  // Gives up what was started, without waiting for a peer: for a step that failed in
  // between. The object is dead then.
  virtual void Abort() = 0;
};

// Copies out while the context goes on, and sums by `allreduce` in Finish. Both must
// outlive the result.
absl::StatusOr<std::unique_ptr<DeviceAllReduce>> MakeHostDeviceAllReduce(Context& ctx,
                                                                         AllReduce* allreduce);

// A flat array of gradients in buckets: runs of whole parameters, from the last one to the
// first, which is about the order in which backward finishes them. A bucket is handed out
// when it and those in front of it are final, so that all workers do so in one order.
class GradientBuckets {
 public:
  // Buckets are of at least `bucket_bytes`, but for the last.
  GradientBuckets(const ParameterSet& parameters, int64_t bucket_bytes);

  using StartFn = std::function<absl::Status(int64_t begin, int64_t end)>;  // Elements.
  void BeginStep();
  // This parameter's gradient is final. `start` is called for each bucket that can go.
  absl::Status Final(DenseHandle handle, const StartFn& start);
  // All are. Calls `start` for the buckets that have not gone.
  absl::Status AllFinal(const StartFn& start);

  int64_t num_buckets() const { return static_cast<int64_t>(buckets_.size()); }

 private:
  struct Bucket {
    int64_t begin = 0, end = 0;
    int64_t parameters = 0;
    int64_t final = 0;
  };
  std::vector<Bucket> buckets_;    // In the order in which they go.
  std::vector<size_t> bucket_of_;  // Per parameter; those that are state have none.
  std::vector<bool> is_final_;     // Per parameter, in this step.
  size_t next_ = 0;
};

}  // namespace pagoda
