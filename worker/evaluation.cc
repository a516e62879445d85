#include "worker/evaluation.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "worker/metrics.h"
#include "worker/nonfinite.h"
#include "worker/retrieval_evaluation.h"
#include "worker/scoring_pipeline.h"
#include "worker/worker_agreement.h"

namespace pagoda {
namespace {

// `what`: "score", or an output's name.
absl::Status CheckScores(const Batch& batch, const std::string& what,
                         const std::vector<float>& scores) {
  if (static_cast<int64_t>(scores.size()) != batch.size) {
    return absl::InternalError(absl::StrCat("the model made ", scores.size(), " values of '", what,
                                            "' of ", batch.size, " rows"));
  }
  const int64_t bad = FirstNonFinite(scores);
  if (bad < 0) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("the ", what, " of ", DescribeSamples(batch, {bad}),
                                            " is ", scores[static_cast<size_t>(bad)]));
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

template <typename To, typename From>
void Append(To& to, const From& from) {
  to.insert(to.end(), from.begin(), from.end());
}

// Numbers the slices' texts; every worker sees all rows, so all number alike.
class SliceNumbers {
 public:
  explicit SliceNumbers(const FeatureSchema& schema)
      : schema_(schema), numbers_(schema.slices.size()) {}

  absl::Status Add(const Batch& batch, ScoredRows* rows) {
    const size_t num_slices = numbers_.size();
    rows->slices.resize(num_slices);
    rows->slice_values.resize(num_slices);
    for (size_t i = 0; i < batch.slices.size(); ++i) {
      const size_t s = i % num_slices;
      const auto [it, is_new] =
          numbers_[s].emplace(batch.slices[i], static_cast<int32_t>(numbers_[s].size()));
      if (is_new) rows->slice_values[s].push_back(batch.slices[i]);
      rows->slices[s].push_back(it->second);
      if (numbers_[s].size() <= kSliceValuesMax) continue;
      return absl::ResourceExhaustedError(absl::StrCat("column '", schema_.slices[s],
                                                       "' parts the metrics into more than ",
                                                       kSliceValuesMax, " slices"));
    }
    return absl::OkStatus();
  }

 private:
  static constexpr size_t kSliceValuesMax = 1000;
  const FeatureSchema& schema_;
  std::vector<absl::flat_hash_map<std::string, int32_t>> numbers_;
};

// The values that a pair scores; null: the model has no such output.
const std::vector<float>* FindOutput(const BatchScores& made, const std::string& name) {
  if (name.empty()) return &made.scores;
  for (const ModelStep::Output& output : made.outputs) {
    if (output.name == name) return &output.values;
  }
  return nullptr;
}

absl::Status AppendOutputs(const Batch& batch, const BatchScores* made,
                           const std::vector<MetricPair>& pairs, ScoredRows* rows) {
  rows->outputs.resize(pairs.size());
  for (size_t p = 0; p < pairs.size(); ++p) {
    std::vector<float>& to = rows->outputs[p];
    if (made == nullptr) {
      to.resize(to.size() + static_cast<size_t>(batch.size), 0.0f);
      continue;
    }
    const std::vector<float>* values = FindOutput(*made, pairs[p].output);
    if (values == nullptr) {
      std::vector<std::string> names;
      for (const ModelStep::Output& output : made->outputs) names.push_back(output.name);
      return absl::InvalidArgumentError(absl::StrCat(
          "metrics.pairs names output '", pairs[p].output,
          "'; the model's outputs: ", names.empty() ? "none" : absl::StrJoin(names, ", ")));
    }
    Append(to, *values);
  }
  return absl::OkStatus();
}

// Own scores in place, zeros where another worker scores.
absl::Status CollectRows(const EvaluationContext& context, const ScoreOptions& options,
                         const std::vector<MetricPair>& pairs, ScoredRows* rows) {
  const FeatureSchema& schema = options.schema;
  SliceNumbers slices(schema);
  rows->targets.resize(schema.targets.size());
  return ScoreData(context, options, [&](const Batch& batch, const BatchScores* made) {
    Append(rows->labels, batch.labels);
    if (!schema.weight.empty()) Append(rows->weights, batch.weights);
    Append(rows->groups, batch.groups);
    if (made != nullptr) Append(rows->scores, made->scores);
    rows->scores.resize(rows->labels.size(), 0.0f);
    for (size_t i = 0; i < batch.targets.size(); ++i) {
      rows->targets[i % schema.targets.size()].push_back(batch.targets[i]);
    }
    PAGODA_RETURN_IF_ERROR(slices.Add(batch, rows));
    return AppendOutputs(batch, made, pairs, rows);
  });
}

// AUC and log-loss of some rows, as `suffix` names them.
void AddMetrics(const ScoredSamples& samples, const std::string& suffix, EvaluationResult* result) {
  result->more.push_back({absl::StrCat("auc", suffix), Auc(samples)});
  result->more.push_back({absl::StrCat("log_loss", suffix), LogLoss(samples)});
}

// Of metrics of the label: a row without one has no weight.
std::vector<float> LabelWeights(const ScoredRows& rows, const FeatureSchema& schema) {
  std::vector<float> weights = rows.weights;
  if (!schema.label_may_lack) return weights;
  weights.resize(rows.labels.size(), 1.0f);
  for (size_t i = 0; i < weights.size(); ++i) {
    if (rows.labels[i] == kNoLabel) weights[i] = 0.0f;
  }
  return weights;
}

void MeasureSlice(const ScoredRows& rows, const std::vector<float>& label_weights,
                  const std::string& column, size_t slice, EvaluationResult* result) {
  const std::vector<std::string>& values = rows.slice_values[slice];
  for (size_t v = 0; v < values.size(); ++v) {
    std::vector<float> scores, labels, weights;
    for (size_t i = 0; i < rows.slices[slice].size(); ++i) {
      if (rows.slices[slice][i] != static_cast<int32_t>(v)) continue;
      scores.push_back(rows.scores[i]);
      labels.push_back(rows.labels[i]);
      if (!label_weights.empty()) weights.push_back(label_weights[i]);
    }
    AddMetrics({scores, labels, weights}, absl::StrCat("[", column, "=", values[v], "]"), result);
  }
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
  scoring.shows_targets = options.shows_targets;
  return RunScoring(context, scoring, [&](const Batch& batch, ModelStep* step) -> absl::Status {
    if (step == nullptr) return sink(batch, nullptr);
    BatchScores made;
    PAGODA_ASSIGN_OR_RETURN(made.scores, ScoresOf(*step, context.model->model().retrieval()));
    PAGODA_RETURN_IF_ERROR(CheckScores(batch, "score", made.scores));
    PAGODA_ASSIGN_OR_RETURN(made.outputs, step->Outputs());
    for (const ModelStep::Output& output : made.outputs) {
      PAGODA_RETURN_IF_ERROR(CheckScores(batch, output.name, output.values));
    }
    return sink(batch, &made);
  });
}

absl::StatusOr<std::vector<MetricPair>> ParsePairs(const std::vector<std::string>& pairs,
                                                   const FeatureSchema& schema) {
  std::vector<MetricPair> parsed;
  for (const std::string& name : pairs) {
    const std::vector<std::string> parts = absl::StrSplit(name, ':');
    if (parts.size() != 2 || parts[0].empty() || parts[1].empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("metrics.pairs: '", name, "' is not of the form OUTPUT:TARGET"));
    }
    MetricPair& pair = parsed.emplace_back();
    pair.name = name;
    if (parts[0] != "score") pair.output = parts[0];
    if (parts[1] == "label") continue;
    pair.target = schema.TargetIndex(parts[1]);
    if (pair.target >= 0) continue;
    const std::string nearest = NearestName(parts[1], schema.targets);
    return absl::InvalidArgumentError(
        absl::StrCat("metrics.pairs: schema.targets has no '", parts[1], "'",
                     nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?")));
  }
  return parsed;
}

absl::StatusOr<ScoredRows> ScoreAll(const EvaluationContext& context, const ScoreOptions& options,
                                    const std::vector<MetricPair>& pairs) {
  ScoredRows rows;
  const absl::Status own = CollectRows(context, options, pairs, &rows);
  PAGODA_RETURN_IF_ERROR(AgreeOnStatus(*context.allreduce, own, "evaluate"));
  PAGODA_RETURN_IF_ERROR(
      CheckSameEverywhere(*context.allreduce, rows.scores.size(), "the rows of the evaluation"));
  if (rows.scores.empty()) return rows;
  PAGODA_RETURN_IF_ERROR(context.allreduce->Sum(std::span<float>(rows.scores)));
  for (std::vector<float>& output : rows.outputs) {
    PAGODA_RETURN_IF_ERROR(context.allreduce->Sum(std::span<float>(output)));
  }
  return rows;
}

EvaluationResult Measure(const ScoredRows& rows, const FeatureSchema& schema,
                         const std::vector<MetricPair>& pairs) {
  const std::vector<float> label_weights = LabelWeights(rows, schema);
  const ScoredSamples samples{rows.scores, rows.labels, label_weights};
  EvaluationResult result;
  result.samples = static_cast<int64_t>(rows.scores.size());
  result.auc = Auc(samples);
  result.log_loss = LogLoss(samples);
  result.normalized_entropy = NormalizedEntropy(samples);
  result.calibration = Calibration(samples);
  result.has_gauc = !rows.groups.empty();
  if (result.has_gauc) result.gauc = GroupAuc(samples, rows.groups);
  for (size_t p = 0; p < rows.outputs.size(); ++p) {
    const int target = pairs[p].target;
    const std::vector<float>& wanted =
        target < 0 ? rows.labels : rows.targets[static_cast<size_t>(target)];
    const std::vector<float>& weights = target < 0 ? label_weights : rows.weights;
    AddMetrics({rows.outputs[p], wanted, weights}, absl::StrCat("(", pairs[p].name, ")"), &result);
  }
  for (size_t s = 0; s < rows.slices.size(); ++s) {
    MeasureSlice(rows, label_weights, schema.slices[s], s, &result);
  }
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
    PAGODA_ASSIGN_OR_RETURN(const std::vector<MetricPair> pairs,
                            ParsePairs(options_.pairs, schema_));
    PAGODA_ASSIGN_OR_RETURN(const ScoredRows rows, ScoreAll(context_, score, pairs));
    return Measure(rows, schema_, pairs);
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
