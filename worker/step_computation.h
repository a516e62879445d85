// The device part of one training step: rows in, losses, row gradients and updated
// dense parameters out. The calls come in this order, once each per step:
//
//   Forward, SumLosses, Backward, SumGradients, ApplyDense      the step takes place
//
// and CopyAhead whenever the next step's rows are there.
//
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

  // Call once, before the first step. Collective.
  //   DenseSync::Connect's errors
  absl::Status Connect() { return sync_.Connect(); }

  // The rows that stay on the GPU; null: none do.
  RowCache* cache() { return cache_.get(); }
  // Sets which rows of a push are to come back for the cache.
  void AskBack(RowGradients* rows) const;
  // Takes rows that came back with a push in.
  absl::Status TakeBack(const RowGradients& rows);

  // The cache's rows of the batch stay pinned; see BatchFlow::Release.
  absl::Status Forward(PulledBatch& batch, Step step);
  absl::StatusOr<GlobalLoss> SumLosses();
  // Gradients of the global mean losses; row gradients go to `rows`, one entry of
  // ids and gradients per table, none for a frozen table. On a GPU they are on their way
  // until SumGradients has returned, and `rows` must stay.
  absl::Status Backward(RowGradients* rows);
  // Sums dense gradients over the workers. False when any gradient of any worker is
  // not finite; `culprit` then says which, on the worker that saw it.
  absl::StatusOr<bool> SumGradients(const RowGradients& rows, std::string* culprit);
  // Starts to copy the next step's batch to the GPU, beside this step's work. Nothing to
  // do: null, copied already, on the CPU, or no memory to spare.
  absl::Status CopyAhead(PulledBatch* next);
  int64_t copied_ahead() const { return copied_ahead_; }  // Batches, so far.
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
  std::vector<const float*> RowsOf(const PulledBatch& batch) const;
  absl::Status MakeCache();
  // The host's rows, with those of the cache, for messages.
  absl::Status ReadBackCached();
  std::string FindRowCulprit(const RowGradients& rows) const;

  ModelInstance* const model_;
  AllReduce* const allreduce_;
  StageTimes* const times_;
  std::unique_ptr<DenseOptimizer> optimizer_;
  std::unique_ptr<CopyQueue> in_, out_;  // On a GPU.
  std::unique_ptr<RowCache> cache_;
  DenseSync sync_;                // After those: its sums end first.
  PulledBatch* batch_ = nullptr;  // Of the step under way.
  int64_t copied_ahead_ = 0;
  std::vector<RowColumns> columns_;  // What the last step asked for.
  StepInput input_;
  std::unique_ptr<ModelStep> step_;
  std::vector<double> counts_;  // Global, per loss.
};

}  // namespace pagoda
