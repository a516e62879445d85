#include <algorithm>
#include <cmath>

#include "algorithms/nn/model_options.h"
#include "algorithms/nn/optimizer.h"

namespace pagoda {
namespace {

constexpr double kPi = 3.14159265358979323846;

absl::Status OutOfRange(const char* key, double value, const char* range) {
  return absl::InvalidArgumentError(
      absl::StrCat("the schedule's ", key, " is ", value, "; it must be ", range));
}

}  // namespace

absl::StatusOr<Schedule> Schedule::Create(const ScheduleOptions& options) {
  const std::vector<std::string> kinds = {"constant", "cosine", "plateau"};
  if (std::find(kinds.begin(), kinds.end(), options.kind) == kinds.end()) {
    const std::string nearest = NearestName(options.kind, kinds);
    return absl::InvalidArgumentError(
        absl::StrCat("unknown learning-rate schedule '", options.kind, "'; ",
                     nearest.empty() ? "known: constant, cosine, plateau"
                                     : absl::StrCat("did you mean '", nearest, "'?")));
  }
  if (options.warmup_steps < 0) {
    return OutOfRange("warmup_steps", static_cast<double>(options.warmup_steps), "at least 0");
  }
  if (!(options.min_factor >= 0.0 && options.min_factor <= 1.0)) {
    return OutOfRange("min_factor", options.min_factor, "in [0, 1]");
  }
  if (options.kind == "cosine" && options.total_steps <= options.warmup_steps) {
    return OutOfRange("total_steps", static_cast<double>(options.total_steps),
                      "more than warmup_steps");
  }
  if (options.kind == "plateau" &&
      !(options.plateau_factor > 0.0 && options.plateau_factor < 1.0)) {
    return OutOfRange("plateau_factor", options.plateau_factor, "in (0, 1)");
  }
  if (options.kind == "plateau" && options.plateau_patience < 1) {
    return OutOfRange("plateau_patience", static_cast<double>(options.plateau_patience),
                      "at least 1");
  }
  Schedule schedule;
  schedule.options_ = options;
  return schedule;
}

double Schedule::Factor(Step step) const {
  const double warmup_steps = static_cast<double>(options_.warmup_steps);
  double factor = factor_;
  if (step < options_.warmup_steps) factor *= static_cast<double>(step) / warmup_steps;
  if (options_.kind == "cosine") {
    const double total = static_cast<double>(options_.total_steps);
    const double p = (static_cast<double>(step) - warmup_steps) / (total - warmup_steps);
    const double curve = 0.5 * (1.0 + std::cos(kPi * std::clamp(p, 0.0, 1.0)));
    factor *= options_.min_factor + (1.0 - options_.min_factor) * curve;
  }
  return factor;
}

void Schedule::Report(double metric) {
  if (options_.kind != "plateau") return;
  if (metric > best_) {  // False for a metric that is not a number.
    best_ = metric;
    since_best_ = 0;
    return;
  }
  if (++since_best_ < options_.plateau_patience) return;
  since_best_ = 0;
  factor_ = std::max(factor_ * options_.plateau_factor, options_.min_factor);
}

std::vector<double> Schedule::Save() const {
  return {factor_, best_, static_cast<double>(since_best_)};
}

absl::Status Schedule::Load(const std::vector<double>& state) {
  if (state.size() != 3 || !(state[0] > 0.0 && state[0] <= 1.0) || !(state[2] >= 0.0)) {
    return absl::InvalidArgumentError("the saved state of a learning-rate schedule is malformed");
  }
  factor_ = state[0];
  best_ = state[1];
  since_best_ = static_cast<int64_t>(state[2]);
  return absl::OkStatus();
}

}  // namespace pagoda
