// Adds the workers' dense gradients up, averages what is state (batch norm's running
// statistics), and tells every worker alike whether the sum is finite.
//
// One flat allreduce a step carries [gradients | state x samples | samples | flag]. On a
// GPU the gradients go by themselves, in buckets, while backward still runs. With one
// worker nothing is copied.
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/allreduce.h"
#include "worker/device_allreduce.h"
#include "worker/model_instance.h"

namespace pagoda {

class DenseSync {
 public:
  // Both must outlive this object.
  DenseSync(ModelInstance* model, AllReduce* allreduce) : model_(model), allreduce_(allreduce) {}

  // Call once, before all else. Collective.
  //   FAILED_PRECONDITION  workers on devices of several kinds (names two)
  //   MakeNcclAllReduce's errors
  absl::Status Connect();
  // Whether GradientFinal wants to be called.
  bool overlaps() const { return device_ != nullptr; }
  // Whether sums are under way: NCCL's kernels may then wait for a peer that is dead, and
  // nothing may wait for the device but Sum.
  bool under_way() const { return under_way_; }
  // During backward: this parameter's gradient is final.
  absl::Status GradientFinal(DenseHandle handle);

  // Remembers the state parameters; forward changes them. Call before each forward.
  absl::Status SaveState();
  // Puts them back: the step did not take place.
  absl::Status RestoreState();

  struct Outcome {
    bool finite = true;   // Of every worker's rows and state, and of the summed gradient.
    std::string culprit;  // Set on a worker whose own gradient or state is not finite.
  };
  // Sums parameters().gradients() over the workers, in place, and averages the state
  // by `samples`, this worker's share of the batch. `rows_finite` is this worker's
  // word on its row gradients.
  //   the allreduce's errors
  absl::StatusOr<Outcome> Sum(int64_t samples, bool rows_finite);

 private:
  absl::Status StartSum(int64_t begin, int64_t end);
  absl::StatusOr<Outcome> SumAll(int64_t samples, bool rows_finite);
  int64_t num_state() const;
  // `sum` is own gradients, or what they were summed into.
  absl::StatusOr<Outcome> CheckGradients(const Tensor& sum);
  absl::StatusOr<Outcome> FinishBuckets();
  // What is wrong with the state after forward; empty when it is finite.
  absl::StatusOr<std::string> CheckState();
  absl::Status Exchange(int64_t samples, bool* rows_finite);
  absl::Status SetAveragedState(const float* sums, float samples);

  ModelInstance* const model_;
  AllReduce* const allreduce_;
  std::vector<float> state_before_;  // [num_state]
  std::vector<float> exchange_;
  Tensor norm_;  // [2]

  // On a GPU with several workers. Sums end before what they write to goes.
  Tensor sums_;  // As parameters().gradients().
  std::unique_ptr<GradientBuckets> buckets_;
  std::unique_ptr<DeviceAllReduce> device_;
  bool under_way_ = false;
};

}  // namespace pagoda
