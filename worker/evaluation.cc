#include "worker/evaluation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/metrics.h"
#include "worker/nonfinite.h"
#include "worker/retrieval_evaluation.h"
#include "worker/scoring_pipeline.h"
#include "worker/worker_agreement.h"

namespace pagoda {
namespace {

absl::Status CheckScores(const Batch& batch, const std::vector<float>& scores) {
  if (static_cast<int64_t>(scores.size()) != batch.size) {
    return absl::InternalError(
        absl::StrCat("the model scored ", scores.size(), " of ", batch.size, " rows"));
  }
  const int64_t bad = FirstNonFinite(scores);
  if (bad < 0) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("the score of ", DescribeSamples(batch, {bad}), " is ",
                                            scores[static_cast<size_t>(bad)]));
}

absl::StatusOr<std::vector<float>> ScoresOf(ModelStep& step, bool retrieval) {
  if (!retrieval) return step.Predictions();
  PAGODA_ASSIGN_OR_RETURN(const ModelStep::Embeddings made, step.RetrievalEmbeddings());
  const auto dim = static_cast<size_t>(made.dim);
  std::vector<float> scores(dim == 0 ? 0 : made.user.size() / dim);
  for (size_t i = 0; i < scores.size(); ++i) {
    double dot = 0.0;
    for (size_t c = i * dim; c < (i + 1) * dim; ++c) dot += double{made.user[c]} * made.item[c];
    scores[i] = static_cast<float>(dot);
  }
  return scores;
}

// Own scores in place, zeros where another worker scores.
absl::Status CollectRows(const EvaluationContext& context, const ScoreOptions& options,
                         ScoredRows* rows) {
  return ScoreData(context, options, [&](const Batch& batch, std::span<const float> scores) {
    const size_t before = rows->labels.size();
    const auto append = [](auto& to, const auto& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    append(rows->labels, batch.labels);
    if (!options.schema.weight.empty()) append(rows->weights, batch.weights);
    append(rows->groups, batch.groups);
    rows->scores.resize(before + static_cast<size_t>(batch.size), 0.0f);
    std::copy(scores.begin(), scores.end(), rows->scores.begin() + static_cast<int64_t>(before));
    return absl::OkStatus();
  });
}

}  // namespace

absl::Status ScoreData(const EvaluationContext& context, const ScoreOptions& options,
                       const ScoreSink& sink) {
  ScoringOptions scoring;
  scoring.reader.data = options.data;
  scoring.reader.schema = options.schema;
  scoring.reader.batch_size = options.batch_size;
  scoring.reader.needs_labels = options.needs_labels;
  scoring.rank = context.allreduce->rank();
  scoring.num_workers = context.allreduce->num_workers();
  return RunScoring(context, scoring, [&](const Batch& batch, ModelStep* step) -> absl::Status {
    if (step == nullptr) return sink(batch, {});
    PAGODA_ASSIGN_OR_RETURN(const std::vector<float> scores,
                            ScoresOf(*step, context.model->model().retrieval()));
    PAGODA_RETURN_IF_ERROR(CheckScores(batch, scores));
    return sink(batch, scores);
  });
}

absl::StatusOr<ScoredRows> ScoreAll(const EvaluationContext& context, const ScoreOptions& options) {
  ScoredRows rows;
  const absl::Status own = CollectRows(context, options, &rows);
  PAGODA_RETURN_IF_ERROR(AgreeOnStatus(*context.allreduce, own, "evaluate"));
  PAGODA_RETURN_IF_ERROR(
      CheckSameEverywhere(*context.allreduce, rows.scores.size(), "the rows of the evaluation"));
  if (!rows.scores.empty()) {
    PAGODA_RETURN_IF_ERROR(context.allreduce->Sum(std::span<float>(rows.scores)));
  }
  return rows;
}

EvaluationResult Measure(const ScoredRows& rows) {
  const ScoredSamples samples{rows.scores, rows.labels, rows.weights};
  EvaluationResult result;
  result.samples = static_cast<int64_t>(rows.scores.size());
  result.auc = Auc(samples);
  result.log_loss = LogLoss(samples);
  result.normalized_entropy = NormalizedEntropy(samples);
  result.calibration = Calibration(samples);
  result.has_gauc = !rows.groups.empty();
  if (result.has_gauc) result.gauc = GroupAuc(samples, rows.groups);
  return result;
}

Evaluator::Evaluator(const EvaluationContext& context, const EvaluationOptions& options,
                     const FeatureSchema& schema)
    : context_(context), options_(options), schema_(schema) {}

Evaluator::~Evaluator() = default;

absl::StatusOr<EvaluationResult> Evaluator::Evaluate() {
  if (!context_.model->model().retrieval()) {
    ScoreOptions score;
    score.data = options_.data;
    score.schema = schema_;
    score.batch_size = options_.batch_size;
    PAGODA_ASSIGN_OR_RETURN(const ScoredRows rows, ScoreAll(context_, score));
    return Measure(rows);
  }
  if (retrieval_ == nullptr) {
    absl::StatusOr<std::unique_ptr<RetrievalEvaluation>> loaded =
        RetrievalEvaluation::Load(context_, options_, schema_);
    PAGODA_RETURN_IF_ERROR(
        AgreeOnStatus(*context_.allreduce, loaded.status(), "read the evaluation set"));
    retrieval_ = *std::move(loaded);
  }
  return retrieval_->Evaluate(context_);
}

}  // namespace pagoda
