#include "worker/run_log.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda {

absl::StatusOr<std::unique_ptr<RunLog>> RunLog::Create(const std::string& output_dir,
                                                       bool write_events, int64_t every_steps,
                                                       TrainObserver observer) {
  std::unique_ptr<RunLog> log(new RunLog(every_steps, std::move(observer)));
  if (write_events) {
    PAGODA_ASSIGN_OR_RETURN(log->events_,
                            EventWriter::Create(absl::StrCat(output_dir, "/tensorboard")));
  }
  return log;
}

absl::Status RunLog::OnStep(const StepRecord& record) {
  if (observer_.on_step) observer_.on_step(record.step, record.loss);
  interval_samples_ += record.samples;
  if (every_steps_ <= 0 || record.step % every_steps_ != 0) return absl::OkStatus();
  const double seconds = interval_.Lap();
  const double rate = seconds > 0.0 ? static_cast<double>(interval_samples_) / seconds : 0.0;
  interval_samples_ = 0;
  if (observer_.on_log) {
    observer_.on_log(record.step, record.loss, record.grad_norm, rate, record.progress);
  }
  if (events_ == nullptr) return absl::OkStatus();
  return events_->Write(record.step, {{"train/loss", record.loss},
                                      {"train/grad_norm", record.grad_norm},
                                      {"train/learning_rate_factor", record.learning_rate_factor},
                                      {"train/samples_per_second", rate}});
}

absl::Status RunLog::OnEvaluation(Step step, const EvaluationResult& result) {
  if (observer_.on_evaluation) observer_.on_evaluation(step, result);
  if (events_ == nullptr) return absl::OkStatus();
  std::vector<Scalar> scalars;
  if (result.retrieval) {
    scalars = {{"eval/recall", result.recall},
               {"eval/ndcg", result.ndcg},
               {"eval/hit_rate", result.hit_rate}};
  } else {
    scalars = {{"eval/auc", result.auc},
               {"eval/log_loss", result.log_loss},
               {"eval/normalized_entropy", result.normalized_entropy},
               {"eval/calibration", result.calibration}};
    if (result.has_gauc) scalars.push_back({"eval/gauc", result.gauc});
  }
  for (const NamedMetric& more : result.more) scalars.push_back({"eval/" + more.name, more.value});
  return events_->Write(step, scalars);
}

void RunLog::OnLine(const std::string& line) {
  if (observer_.on_line) observer_.on_line(line);
}

void RunLog::OnCut(Step step, const std::string& directory) {
  if (observer_.on_cut) observer_.on_cut(step, directory);
}

}  // namespace pagoda
