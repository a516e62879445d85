#include "worker/trained_model.h"

#include <utility>

#include "base/status_macros.h"
#include "worker/job_session.h"

namespace pagoda {

TrainedModel::TrainedModel(proto::JobCut manifest, std::unique_ptr<ModelInstance> model,
                           ParameterClient* client)
    : manifest_(std::move(manifest)),
      model_(std::move(model)),
      client_(client),
      alone_(SingleWorker()) {}

TrainedModel::~TrainedModel() {
  client_->Leave(absl::OkStatus());
}

absl::StatusOr<std::unique_ptr<TrainedModel>> TrainedModel::Load(const std::string& cut_directory,
                                                                 const TrainerOptions& options,
                                                                 ParameterClient* client) {
  PAGODA_ASSIGN_OR_RETURN(JobCut cut, ReadJobCut(cut_directory));
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<ModelInstance> model, ModelInstance::Create(options));
  model->TakeInitialValues(cut.manifest);
  PAGODA_RETURN_IF_ERROR_CONTEXT(CheckSameModel(cut.manifest, *model), cut_directory);
  PAGODA_RETURN_IF_ERROR(model->SetDenseValues(cut.values));
  model->set_applied_step(cut.manifest.step());
  const std::unique_ptr<AllReduce> alone = SingleWorker();
  SessionOptions session = SessionOptionsFor(*model, *alone);
  session.training = false;
  session.epoch = cut.manifest.epoch();
  PAGODA_RETURN_IF_ERROR(client->Open(session));
  return std::unique_ptr<TrainedModel>(
      new TrainedModel(std::move(cut.manifest), std::move(model), client));
}

EvaluationContext TrainedModel::context() const {
  return {model_.get(), client_, alone_.get(), model_->options().wait_max};
}

absl::Status TrainedModel::Score(const ScoreOptions& options, const ScoreSink& sink) {
  return ScoreData(context(), options, sink);
}

absl::StatusOr<EvaluationResult> TrainedModel::Evaluate(const EvaluationOptions& options,
                                                        const FeatureSchema& schema) {
  return Evaluator(context(), options, schema).Evaluate();
}

}  // namespace pagoda
