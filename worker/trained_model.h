// A model as a cut holds it, for evaluation and prediction. Read-only: rows and
// parameters are those of the cut, and stay so.
//
//   PAGODA_ASSIGN_OR_RETURN(JobCut cut, ReadJobCut(directory));
//   TrainerOptions options = ...;              // from cut.job_text
//   ... start read-only servers on the cut's server directories, make `client` ...
//   PAGODA_ASSIGN_OR_RETURN(auto trained, TrainedModel::Load(directory, options, client));
//   trained->Score(options, sink);
//
// Scores are bit-identical to the trainer's evaluation as long as they are made with
// the batch size of the cut (evaluation_batch_size()).
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/allreduce.h"
#include "worker/evaluation.h"
#include "worker/job_cut.h"
#include "worker/model_instance.h"

namespace pagoda {

class TrainedModel {
 public:
  // Builds the model of `options` with the cut's dense values and opens `client`,
  // which must not be open yet, for reading. `client` must outlive the model.
  //   NOT_FOUND, DATA_LOSS  ReadJobCut's
  //   FAILED_PRECONDITION   the cut is of another model
  //   ParameterClient::Open's errors
  static absl::StatusOr<std::unique_ptr<TrainedModel>> Load(const std::string& cut_directory,
                                                            const TrainerOptions& options,
                                                            ParameterClient* client);

  // Tells the servers that this reader ends.
  ~TrainedModel();

  const proto::JobCut& manifest() const { return manifest_; }
  int64_t evaluation_batch_size() const { return manifest_.evaluation_batch_size(); }

  // Scores every row of options.data in input order: one sink call per batch. Set
  // on_bad_row = "fail" where a score per input row is wanted.   Errors: ScoreData's.
  absl::Status Score(const ScoreOptions& options, const ScoreSink& sink);

  // The metrics of a data set, as the trainer computes them.   Errors: Evaluator's.
  absl::StatusOr<EvaluationResult> Evaluate(const EvaluationOptions& options,
                                            const FeatureSchema& schema);

 private:
  TrainedModel(proto::JobCut manifest, std::unique_ptr<ModelInstance> model,
               ParameterClient* client);
  EvaluationContext context() const;

  const proto::JobCut manifest_;
  const std::unique_ptr<ModelInstance> model_;
  ParameterClient* const client_;
  const std::unique_ptr<AllReduce> alone_;
};

}  // namespace pagoda
