#include "worker/early_stopping.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "algorithms/nn/model_options.h"

namespace pagoda {

EarlyStopping::EarlyStopping(const std::string& metric, bool is_further, int64_t patience)
    : metric_(metric), is_further_(is_further), patience_(patience) {
  state_.set_metric(metric);
}

absl::StatusOr<EarlyStopping> EarlyStopping::Create(const std::string& metric, int64_t patience) {
  const std::vector<std::string> known = {"auc", "gauc", "log_loss", "recall", "ndcg", "hit_rate"};
  // "auc(cvr:bought)" is known by its beginning; that it is measured shows at the first
  // evaluation.
  const bool is_further = metric.find_first_of("([@") != std::string::npos;
  const std::string kind = metric.substr(0, metric.find_first_of("([@"));
  if (std::find(known.begin(), known.end(), kind) == known.end()) {
    const std::string nearest = NearestName(metric, known);
    return absl::InvalidArgumentError(
        absl::StrCat("there is no evaluation metric '", metric, "'",
                     nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?")));
  }
  if (patience < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("patience is ", patience, "; it must be 0 (never stop) or more"));
  }
  return EarlyStopping(metric, is_further, patience);
}

double EarlyStopping::Value(const EvaluationResult& result) const {
  if (is_further_) {
    for (const NamedMetric& more : result.more) {
      if (more.name == metric_)
        return absl::StartsWith(metric_, "log_loss") ? -more.value : more.value;
    }
    return std::nan("");
  }
  if (metric_ == "auc") return result.auc;
  if (metric_ == "gauc") return result.has_gauc ? result.gauc : std::nan("");
  if (metric_ == "log_loss") return -result.log_loss;
  if (metric_ == "hit_rate") return result.hit_rate;
  return metric_ == "recall" ? result.recall : result.ndcg;
}

bool EarlyStopping::Report(Step step, const EvaluationResult& result) {
  const double value = Value(result);
  const bool better = !std::isnan(value) && (!state_.has_best() || value > state_.best());
  if (!better) {
    state_.set_evaluations_without_gain(state_.evaluations_without_gain() + 1);
    return false;
  }
  state_.set_has_best(true);
  state_.set_best(value);
  state_.set_best_step(step);
  state_.set_evaluations_without_gain(0);
  state_.set_samples(static_cast<double>(result.samples));
  state_.set_auc(result.auc);
  state_.set_gauc(result.gauc);
  state_.set_log_loss(result.log_loss);
  state_.set_normalized_entropy(result.normalized_entropy);
  state_.set_calibration(result.calibration);
  state_.set_recall(result.recall);
  state_.set_ndcg(result.ndcg);
  state_.set_hit_rate(result.hit_rate);
  state_.set_has_gauc(result.has_gauc);
  state_.set_retrieval(result.retrieval);
  return true;
}

bool EarlyStopping::exhausted() const {
  return patience_ > 0 && state_.evaluations_without_gain() >= patience_;
}

EvaluationResult EarlyStopping::best() const {
  EvaluationResult result;
  result.samples = static_cast<int64_t>(state_.samples());
  result.auc = state_.auc();
  result.gauc = state_.gauc();
  result.log_loss = state_.log_loss();
  result.normalized_entropy = state_.normalized_entropy();
  result.calibration = state_.calibration();
  result.recall = state_.recall();
  result.ndcg = state_.ndcg();
  result.hit_rate = state_.hit_rate();
  result.has_gauc = state_.has_gauc();
  result.retrieval = state_.retrieval();
  return result;
}

void EarlyStopping::Load(const proto::JobCut::EarlyStopping& state) {
  if (state.metric() == metric_) state_ = state;
}

}  // namespace pagoda
