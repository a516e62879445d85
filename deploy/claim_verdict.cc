#include "deploy/claim_verdict.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "deploy/claim_metrics.h"

namespace pagoda {
namespace {

// Seeds above 0 that a margin asks for: 4 of 5, 3 of 3, 2 of 2 with the usual share.
size_t PositiveSeeds(const ClaimCheck& check, size_t seeds) {
  constexpr double kRounding = 1e-9;  // 0.8 * 5 is a little more than 4.
  return static_cast<size_t>(
      std::ceil(check.positive_share * static_cast<double>(seeds) - kRounding));
}

class Judge {
 public:
  Judge(const ClaimCheck& check, CheckResult* result) : check_(check), result_(*result) {}

  void Margin() {
    if (!check_.margin.has_value()) return;
    Ask(result_.mean >= *check_.margin, "the mean %.5g is below the margin %.5g", *check_.margin);
    const size_t needed = PositiveSeeds(check_, result_.values.size());
    const size_t positive = static_cast<size_t>(std::count_if(
        result_.values.begin(), result_.values.end(), [](double value) { return value > 0; }));
    if (positive >= needed) return;
    result_.failures.push_back(absl::StrFormat("%d of %d seeds are above 0, %d are needed",
                                               positive, result_.values.size(), needed));
  }

  void Limits() {
    double lowest = result_.mean, highest = result_.mean;
    if (check_.every_seed) {
      lowest = *std::min_element(result_.values.begin(), result_.values.end());
      highest = *std::max_element(result_.values.begin(), result_.values.end());
    }
    const char* what = check_.every_seed ? "a seed" : "the mean";
    if (check_.at_least.has_value() && !(lowest >= *check_.at_least)) {
      result_.failures.push_back(
          absl::StrFormat("%s, %.5g, is below %.5g", what, lowest, *check_.at_least));
    }
    if (check_.at_most.has_value() && !(highest <= *check_.at_most)) {
      result_.failures.push_back(
          absl::StrFormat("%s, %.5g, is above %.5g", what, highest, *check_.at_most));
    }
    if (check_.band.has_value()) {
      Ask(std::fabs(result_.mean) <= *check_.band, "the mean %.5g is not within %.5g of 0",
          *check_.band);
    }
  }

  void Closure(double gap) {
    if (!check_.gap_closure.has_value()) return;
    // Without a gap there is nothing to close, and a quotient would mean nothing.
    if (!(gap > 0)) {
      result_.failures.push_back(absl::StrFormat("the gap %.5g is not above 0", gap));
      return;
    }
    result_.closure = result_.mean / gap;
    if (*result_.closure >= *check_.gap_closure) return;
    result_.failures.push_back(absl::StrFormat("%.3g of the gap is closed, %.3g is needed",
                                               *result_.closure, *check_.gap_closure));
  }

  void Null() {
    if (check_.null_world.empty()) return;
    result_.null_met = std::fabs(result_.null_mean) <= check_.null_band;  // false for NaN
    if (result_.null_met) return;
    result_.failures.push_back(absl::StrFormat("in the null world %.5g is not within %.5g of 0",
                                               result_.null_mean, check_.null_band));
  }

  // Every comparison with a value that is not defined is false but for those of every_seed,
  // whose smallest and largest value may hide it.
  void Defined() {
    if (std::none_of(result_.values.begin(), result_.values.end(),
                     [](double value) { return std::isnan(value); })) {
      return;
    }
    result_.failures.push_back("a value is not defined");
  }

 private:
  void Ask(bool met, const absl::FormatSpec<double, double>& sentence, double bound) {
    if (!met) result_.failures.push_back(absl::StrFormat(sentence, result_.mean, bound));
  }

  const ClaimCheck& check_;
  CheckResult& result_;
};

CheckResult JudgeCheck(const ClaimCheck& check, const ClaimValues& values) {
  CheckResult result;
  result.check = &check;
  result.values = values.Evaluate(check.world, check.value);
  result.mean = MeanOf(result.values);
  result.spread = StandardDeviation(result.values);
  if (!check.null_world.empty()) {
    result.null_values = values.Evaluate(check.null_world, check.value);
    result.null_mean = MeanOf(result.null_values);
  }
  Judge judge(check, &result);
  judge.Defined();
  judge.Margin();
  judge.Limits();
  if (check.gap.has_value()) judge.Closure(MeanOf(values.Evaluate(check.world, *check.gap)));
  judge.Null();
  result.met = result.failures.empty();
  return result;
}

}  // namespace

ClaimVerdict JudgeClaim(const Claim& claim, const ClaimValues& values) {
  ClaimVerdict verdict;
  for (const ClaimCheck& check : claim.checks) verdict.checks.push_back(JudgeCheck(check, values));
  verdict.pass =
      !verdict.checks.empty() && std::all_of(verdict.checks.begin(), verdict.checks.end(),
                                             [](const CheckResult& result) { return result.met; });
  return verdict;
}

std::string DescribeBounds(const ClaimCheck& check, size_t seeds) {
  std::vector<std::string> bounds;
  if (check.margin.has_value()) {
    bounds.push_back(absl::StrFormat(">= %g, %d/%d seeds > 0", *check.margin,
                                     PositiveSeeds(check, seeds), seeds));
  }
  const char* each = check.every_seed ? "each " : "";
  if (check.at_least.has_value())
    bounds.push_back(absl::StrFormat("%s>= %g", each, *check.at_least));
  if (check.at_most.has_value()) bounds.push_back(absl::StrFormat("%s<= %g", each, *check.at_most));
  if (check.band.has_value()) bounds.push_back(absl::StrFormat("|.| <= %g", *check.band));
  if (check.gap_closure.has_value()) {
    bounds.push_back(absl::StrFormat("closes >= %g", *check.gap_closure));
  }
  return absl::StrJoin(bounds, ", ");
}

}  // namespace pagoda
