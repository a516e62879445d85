// The device part of one training step: rows in, losses, row gradients and updated
// dense parameters out. The calls come in this order, once each per step:
//
//   Forward, SumLosses, Backward, SumGradients, ApplyDense      the step takes place
//   ... or Undo after SumLosses or SumGradients said "not finite": nothing remains
//
// SumLosses and SumGradients are collective over the workers.
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "algorithms/nn/optimizer.h"
#include "algorithms/nn/step.h"
#include "worker/dense_sync.h"
#include "worker/gradient_pusher.h"
#include "worker/model_instance.h"
#include "worker/row_puller.h"
#include "worker/trainer.h"

namespace pagoda {

// The same on every worker, except `culprit`.
struct GlobalLoss {
  double value = 0.0;   // Weighted sum of the losses' means over all workers' samples.
  int64_t samples = 0;  // Of all workers.
  bool finite = true;
  std::string culprit;  // Not finite: what and where, on the worker that saw it.
};

class StepComputation {
 public:
  // Everything must outlive this object; `times` is added to.
  //   INVALID_ARGUMENT  DenseOptimizer::Create's
  static absl::StatusOr<std::unique_ptr<StepComputation>> Create(ModelInstance* model,
                                                                 AllReduce* allreduce,
                                                                 StageTimes* times);

  absl::Status Forward(const PulledBatch& batch, Step step);
  absl::StatusOr<GlobalLoss> SumLosses();
  // Gradients of the global mean losses; row gradients go to `rows`, one entry of
  // ids and gradients per table, none for a frozen table.
  absl::Status Backward(RowGradients* rows);
  // Sums dense gradients over the workers. False when any gradient of any worker is
  // not finite; `culprit` then says which, on the worker that saw it.
  absl::StatusOr<bool> SumGradients(const RowGradients& rows, std::string* culprit);
  // Returns the norm of the dense gradient.
  absl::StatusOr<double> ApplyDense(double learning_rate_factor);
  absl::Status Undo();

  DenseOptimizer& optimizer() { return *optimizer_; }
  // The optimizer's slots on the host, and back.
  //   FAILED_PRECONDITION  another number or size of slots: the optimizer has changed
  absl::StatusOr<std::vector<std::vector<float>>> SlotValues();
  absl::Status SetSlotValues(const std::vector<std::vector<float>>& slots);

 private:
  StepComputation(ModelInstance* model, AllReduce* allreduce, StageTimes* times)
      : model_(model), allreduce_(allreduce), times_(times), sync_(model, allreduce) {}
  std::string FindRowCulprit(const RowGradients& rows) const;

  ModelInstance* const model_;
  AllReduce* const allreduce_;
  StageTimes* const times_;
  DenseSync sync_;
  std::unique_ptr<DenseOptimizer> optimizer_;
  StepInput input_;
  std::unique_ptr<ModelStep> step_;
  std::vector<double> counts_;  // Global, per loss.
};

}  // namespace pagoda
