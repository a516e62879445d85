// A job's model made ready on this worker: what it declares, its dense parameters
// on the device, and the tables as the servers must have them. The trainer steps
// it; evaluation only reads it.
//
// Threads: one thread at a time, except for the const members.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "algorithms/nn/model.h"
#include "algorithms/nn/optimizer.h"
#include "algorithms/nn/parameters.h"
#include "base/thread_pool.h"
#include "kernels/context.h"
#include "proto/job_cut.pb.h"
#include "proto/parameter_server.pb.h"
#include "worker/trainer_options.h"

namespace pagoda {

class ModelInstance {
 public:
  // Builds and declares the model and gives its parameters their seeded values.
  //   NOT_FOUND         no such model, frozen table, table override or frozen group
  //   INVALID_ARGUMENT  the schema lacks what the model needs, an option is out of range, or
  //                     a pattern to freeze names nothing
  //   UNIMPLEMENTED     this build has no such device
  static absl::StatusOr<std::unique_ptr<ModelInstance>> Create(const TrainerOptions& options);

  const TrainerOptions& options() const { return options_; }
  const Model& model() const { return *model_; }
  const Declaration& declaration() const { return declaration_; }
  Context& ctx() { return *ctx_; }
  ParameterSet& parameters() { return *parameters_; }
  const ParameterSet& parameters() const { return *parameters_; }

  // One per declared table, in order; for SessionOptions::tables. Frozen there: in
  // every stage, or by the job's override.
  const std::vector<proto::TableSpec>& tables() const { return tables_; }
  int64_t dim(size_t table) const { return declaration_.tables[table].dim; }

  // Freezes exactly this stage's tables and dense groups. Create does so for the first
  // stage.
  //   NOT_FOUND  no table or group of a name (names the nearest table)
  absl::Status Freeze(const StageOptions& stage);
  bool frozen(size_t table) const { return frozen_[table]; }

  // Gives a table the initial values of `source`, another job's table whose rows it takes
  // over: an id without a row must read as it did there.
  void TakeInitialValues(size_t table, const proto::TableSpec& source);
  // The same for the tables that the job of a cut took over: as that job did.
  void TakeInitialValues(const proto::JobCut& manifest);
  // Reads what negatives are drawn from: before the first training batch is prepared.
  //   errors: worker/negative_items.h
  absl::Status LoadNegatives();

  // The steps that its values have taken: what rows' ages count from.
  Step applied_step() const { return applied_step_; }
  void set_applied_step(Step step) { applied_step_ = step; }

  // Key of one step's randomness.
  RandomKey StepKey(Step step) const;

  // All dense values (state included) on the host, and back.
  //   INVALID_ARGUMENT  another number of elements
  absl::StatusOr<std::vector<float>> DenseValues();
  absl::Status SetDenseValues(const std::vector<float>& values);

 private:
  explicit ModelInstance(TrainerOptions options);
  absl::Status Declare();
  absl::Status MakeTables();
  absl::Status ApplyOverrides();
  absl::Status ApplyGroups();
  // Marks tables frozen in all stages, and takes the optimizer from those frozen by pattern.
  absl::Status ApplyFreezing();

  TrainerOptions options_;
  ThreadPool pool_;
  std::unique_ptr<Context> ctx_;
  std::unique_ptr<Model> model_;
  Declaration declaration_;
  std::unique_ptr<ParameterSet> parameters_;
  std::vector<proto::TableSpec> tables_;
  std::vector<bool> frozen_;  // Per table, in the stage that runs.
  Step applied_step_ = 0;
};

}  // namespace pagoda
