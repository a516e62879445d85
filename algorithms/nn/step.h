// One step's forward and backward, for the trainer: rows and a prepared batch in,
// losses, predictions and gradients out. The device lives in `ctx`; row data
// crosses between host and device here and nowhere else.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "algorithms/nn/batch.h"
#include "algorithms/nn/model.h"
#include "algorithms/nn/parameters.h"
#include "algorithms/nn/step_upload.h"
#include "kernels/context.h"
#include "kernels/copy_queue.h"

namespace pagoda {

struct StepInput {
  const PreparedBatch* batch = nullptr;
  // Weights of batch->unique_ids[t], row-major [num_unique, dim], on the host.
  // May be null where a table has no unique ids.
  std::vector<const float*> rows;   // Per table.
  std::vector<bool> frozen_tables;  // Per table: no gradient. Empty: none is.
  // Per table: what Declaration::TablesWithStatistics asks for, [num_unique, 2] (pushes
  // taken, step of the last; {0, 0}: there is no row), else null. Empty: none is asked for.
  std::vector<const uint32_t*> statistics;
  Step applied = 0;  // The last step that was applied when rows were pulled: ages count from it.
  bool training = false;
  RandomKey random;  // Key of this step.
  // What of the batch is on the device already, and published; may be null.
  const StepUpload* upload = nullptr;
  // Puts rows on the device that are not among `rows`, into [the group's num_rows, columns'
  // width], after those have been copied there. Empty: all are.
  std::function<absl::Status(const RowColumns&, const Tensor&)> complete_rows;
};

struct LossValue {
  std::string name;
  double sum = 0.0;  // Over this worker's samples.
  double count = 0.0;
  float weight = 1.0f;
};

// A step whose forward has run. Not thread-safe. `model`, `parameters`, `ctx` and
// the batch must outlive it.
class ModelStep {
 public:
  // Runs forward. Frozen parameters (ParameterSet::Freeze) get no gradient.
  //   INVALID_ARGUMENT  rows or batch do not fit the declaration, or the model
  //                     returned a loss that is not a scalar (named)
  //   and whatever the model's operations return
  static absl::StatusOr<std::unique_ptr<ModelStep>> Forward(Context& ctx, const Model& model,
                                                            const Declaration& declaration,
                                                            ParameterSet& parameters,
                                                            const StepInput& input);
  virtual ~ModelStep() = default;

  // Reads the loss sums back to the host.
  virtual absl::StatusOr<std::vector<LossValue>> Losses() = 0;
  // [batch] to the host; empty for a model without `prediction`.
  virtual absl::StatusOr<std::vector<float>> Predictions() = 0;
  // The model's further outputs, [batch] each, in its order.
  struct Output {
    std::string name;
    std::vector<float> values;
  };
  virtual absl::StatusOr<std::vector<Output>> Outputs() = 0;
  // Retrieval: [batch, dim] each, empty otherwise.
  struct Embeddings {
    std::vector<float> user, item;
    int64_t dim = 0;
  };
  virtual absl::StatusOr<Embeddings> RetrievalEmbeddings() = 0;

  // Runs backward of sum over losses of weight / global_counts[k] * sum. Dense
  // gradients are ADDED into parameters.gradients(). Call once; training only.
  // global_counts[k] <= 0 gives that loss no gradient.
  // `on_final` is called for each learning parameter that the step used, as soon as all
  // work on its gradient has been given to the context; its error ends backward.
  //   FAILED_PRECONDITION  the step is not a training step, or a second call
  //   INVALID_ARGUMENT     not one count per loss
  using OnFinalFn = std::function<absl::Status(DenseHandle)>;
  virtual absl::Status Backward(const std::vector<double>& global_counts,
                                OnFinalFn on_final = nullptr) = 0;
  // After Backward: gradients of each table's unique rows, copied to host[t]
  // [num_unique, dim] (zeros when no loss depends on the table or it is frozen).
  // host[t] may be null where table t's are not wanted. With a queue they are there after
  // queue->Wait(), until which this step must stay.
  virtual absl::Status RowGradients(const std::vector<float*>& host,
                                    CopyQueue* queue = nullptr) = 0;

  // The columns of rows that forward asked for.
  virtual std::vector<RowColumns> row_columns() const = 0;
};

}  // namespace pagoda
