#include "deploy/claim_values.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "deploy/claim_metrics.h"
#include "deploy/claim_runner.h"
#include "deploy/claim_table.h"

namespace pagoda {
namespace {

constexpr double kNotDefined = std::numeric_limits<double>::quiet_NaN();

bool Compare(double difference, const std::string& op) {
  if (op == "==") return difference == 0;
  if (op == "!=") return difference != 0;
  if (op == "<") return difference < 0;
  if (op == "<=") return difference <= 0;
  return op == ">" ? difference > 0 : difference >= 0;
}

// Whether a cell meets a condition: as numbers when both are, else as texts.
bool Meets(const std::string& cell, const ClaimFilter& filter) {
  double left = 0, right = 0;
  if (absl::SimpleAtod(cell, &left) && absl::SimpleAtod(filter.value, &right)) {
    return Compare(left - right, filter.op);
  }
  return Compare(cell.compare(filter.value), filter.op);
}

// The columns of the world's files that metrics name.
std::vector<std::string> TruthColumns(const Claim& claim) {
  std::set<std::string> columns;
  for (const ClaimMetric& metric : claim.metrics) {
    columns.insert({metric.score, metric.target, metric.user});
    for (const ClaimFilter& filter : metric.rows) columns.insert(filter.column);
  }
  for (const ClaimArm& arm : claim.arms) columns.insert(arm.column);
  columns.erase("");
  return {columns.begin(), columns.end()};
}

// Rows that meet every condition of the metric.
absl::StatusOr<std::vector<size_t>> RowsOf(const ClaimMetric& metric, const ClaimTable& truth) {
  std::vector<size_t> rows(truth.rows());
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = i;
  for (const ClaimFilter& filter : metric.rows) {
    PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string>* cells, truth.Texts(filter.column));
    std::erase_if(rows, [&](size_t row) { return !Meets((*cells)[row], filter); });
  }
  return rows;
}

std::vector<double> Chosen(const std::vector<double>& values, const std::vector<size_t>& rows) {
  std::vector<double> chosen;
  chosen.reserve(rows.size());
  for (const size_t row : rows) chosen.push_back(values[row]);
  return chosen;
}

// A metric of scores; `all_scores` has a value for each row of `truth`.
absl::StatusOr<double> FromScores(const ClaimMetric& metric, const ClaimTable& truth,
                                  const std::vector<double>& all_scores) {
  PAGODA_ASSIGN_OR_RETURN(const std::vector<size_t> rows, RowsOf(metric, truth));
  const std::vector<double> scores = Chosen(all_scores, rows);
  if (metric.kind == "mean") return MeanOf(scores);
  if (metric.kind == "effective_size") return EffectiveSampleSize(scores);
  PAGODA_ASSIGN_OR_RETURN(const std::vector<double> targets, truth.Numbers(metric.target));
  const std::vector<double> positives = Chosen(targets, rows);
  for (const double q : positives) {
    if (q >= 0 && q <= 1) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("column \"", metric.target, "\" holds ", q, ", which is no probability"));
  }
  const ClaimSamples samples{scores, positives};
  if (metric.kind == "auc") return ExpectedAuc(samples);
  if (metric.kind == "log_loss") return ExpectedLogLoss(samples);
  if (metric.kind == "calibration") return CalibrationRatio(samples);
  PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string>* names, truth.Texts(metric.user));
  std::vector<uint64_t> users;
  users.reserve(rows.size());
  for (const size_t row : rows) users.push_back(HashBytes((*names)[row]));
  const UserWeight weight = metric.user_weight == "one"      ? UserWeight::kOne
                            : metric.user_weight == "clicks" ? UserWeight::kClicks
                                                             : UserWeight::kImpressions;
  return ExpectedGroupAuc(samples, users, weight);
}

// A metric of the training's curve. `level` is for steps_to.
double FromCurve(const ClaimMetric& metric, const std::vector<CurvePoint>& curve, double level) {
  if (curve.empty()) return kNotDefined;
  const double sign = metric.smaller_is_better ? -1 : 1;
  const auto best = std::max_element(curve.begin(), curve.end(), [&](const auto& a, const auto& b) {
    return sign * a.value < sign * b.value;
  });
  if (metric.kind == "best_valid") return best->value;
  if (metric.kind == "last_valid") return curve.back().value;
  if (metric.kind == "best_step") return static_cast<double>(best->step);
  if (metric.kind == "best_evaluation") return static_cast<double>(best - curve.begin() + 1);
  if (std::isnan(level)) return kNotDefined;
  for (const CurvePoint& point : curve) {
    if (sign * point.value >= sign * level) return static_cast<double>(point.step);
  }
  return std::numeric_limits<double>::infinity();  // Never reached.
}

class Measurer {
 public:
  Measurer(const Claim& claim, const ClaimPlan& plan)
      : claim_(claim), plan_(plan), columns_(TruthColumns(claim)) {}

  absl::StatusOr<ClaimValues> Measure() {
    // Levels come from metrics that need none.
    for (const bool with_level : {false, true}) {
      for (const PlannedRun& run : plan_.runs) {
        for (const ClaimMetric* metric : run.metrics) {
          if (metric->level_of.has_value() != with_level) continue;
          const PlannedWorld& world = plan_.worlds[static_cast<size_t>(run.world)];
          const absl::StatusOr<double> value = ValueOf(*metric, world, run);
          PAGODA_RETURN_IF_ERROR_CONTEXT(
              value.status(), absl::StrCat(metric->where, ": ", metric->name, "(", run.arm->name,
                                           ") in world ", world.world->name));
          values_.Set(world.world->name, world.seed_index, {metric->name, run.arm->name}, *value);
        }
      }
    }
    return std::move(values_);
  }

 private:
  absl::StatusOr<double> ValueOf(const ClaimMetric& metric, const PlannedWorld& world,
                                 const PlannedRun& run) {
    if (metric.kind == "parameters") {
      PAGODA_ASSIGN_OR_RETURN(const int64_t parameters, ParametersOfRun(run));
      return static_cast<double>(parameters);
    }
    if (metric.OfTraining()) {
      PAGODA_ASSIGN_OR_RETURN(const std::vector<CurvePoint> curve,
                              ReadTrainingCurve(run.TrainLog(), metric.curve));
      double level = metric.level.value_or(kNotDefined);
      if (metric.level_of.has_value()) {
        const std::vector<double>* levels = values_.Find(world.world->name, *metric.level_of);
        PAGODA_CHECK(levels != nullptr);
        level = (*levels)[static_cast<size_t>(world.seed_index)];
      }
      return FromCurve(metric, curve, level);
    }
    const ClaimPrediction& prediction = *claim_.Prediction(metric.prediction);
    PAGODA_ASSIGN_OR_RETURN(const ClaimTable* truth, Truth(world, prediction.input));
    PAGODA_ASSIGN_OR_RETURN(const std::vector<double> scores,
                            ScoresOf(metric, prediction, *truth, run));
    return FromScores(metric, *truth, scores);
  }

  absl::StatusOr<std::vector<double>> ScoresOf(const ClaimMetric& metric,
                                               const ClaimPrediction& prediction,
                                               const ClaimTable& truth, const PlannedRun& run) {
    if (!run.arm->column.empty()) return truth.Numbers(run.arm->column);
    PAGODA_ASSIGN_OR_RETURN(const ClaimTable scores,
                            ClaimTable::Read(run.Scores(prediction), {metric.score}));
    if (scores.rows() != truth.rows()) {
      return absl::InvalidArgumentError(absl::StrCat(run.Scores(prediction), " has ", scores.rows(),
                                                     " rows, ", prediction.input, " has ",
                                                     truth.rows()));
    }
    if (scores.Has(metric.score) || !truth.Has(metric.score)) return scores.Numbers(metric.score);
    return truth.Numbers(metric.score);
  }

  // The columns of a file of a world; files of the last world are kept.
  absl::StatusOr<const ClaimTable*> Truth(const PlannedWorld& world, const std::string& input) {
    if (world.directory != truth_directory_) truth_.clear();
    truth_directory_ = world.directory;
    const auto known = truth_.find(input);
    if (known != truth_.end()) return &known->second;
    PAGODA_ASSIGN_OR_RETURN(ClaimTable table,
                            ClaimTable::Read(absl::StrCat(world.directory, "/", input), columns_));
    return &truth_.emplace(input, std::move(table)).first->second;
  }

  const Claim& claim_;
  const ClaimPlan& plan_;
  const std::vector<std::string> columns_;
  ClaimValues values_;
  std::string truth_directory_;
  std::map<std::string, ClaimTable> truth_;  // By file.
};

}  // namespace

const std::vector<double>* ClaimValues::Find(const std::string& world,
                                             const MeasuredName& name) const {
  const auto in_world = values_.find(world);
  if (in_world == values_.end()) return nullptr;
  const auto found = in_world->second.find(name);
  return found == in_world->second.end() ? nullptr : &found->second;
}

void ClaimValues::Set(const std::string& world, int seed_index, const MeasuredName& name,
                      double value) {
  std::vector<double>& values = values_[world][name];
  const size_t index = static_cast<size_t>(seed_index);
  if (values.size() <= index) values.resize(index + 1, kNotDefined);
  values[index] = value;
}

std::vector<double> ClaimValues::Evaluate(const std::string& world,
                                          const ClaimExpression& expression) const {
  size_t seeds = 0;
  for (const MeasuredName& name : expression.names()) {
    const std::vector<double>* values = Find(world, name);
    PAGODA_CHECK(values != nullptr);
    seeds = std::max(seeds, values->size());
  }
  std::vector<double> results;
  for (size_t seed = 0; seed < seeds; ++seed) {
    results.push_back(
        expression.Evaluate([&](const MeasuredName& name) { return Find(world, name)->at(seed); }));
  }
  return results;
}

absl::StatusOr<ClaimValues> MeasureClaim(const Claim& claim, const ClaimPlan& plan) {
  return Measurer(claim, plan).Measure();
}

}  // namespace pagoda
