// The numbers of a claim: each metric of each arm, world and seed, measured from the
// files that its runs left.
//
// Threads: pure but for reading files.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "deploy/claim_plan.h"

namespace pagoda {

class ClaimValues {
 public:
  // One value a seed of the world, in seed order; NaN where the metric is not defined.
  // Null when it was not measured.
  const std::vector<double>* Find(const std::string& world, const MeasuredName& name) const;
  void Set(const std::string& world, int seed_index, const MeasuredName& name, double value);

  // The value of an expression for each seed of the world.
  //   REQUIRES: every name in it was measured there
  std::vector<double> Evaluate(const std::string& world, const ClaimExpression& expression) const;

  // All that was measured, by world.
  const std::map<std::string, std::map<MeasuredName, std::vector<double>>>& all() const {
    return values_;
  }

 private:
  std::map<std::string, std::map<MeasuredName, std::vector<double>>> values_;
};

// Measures everything that the plan lists. All its runs are done.
//   NOT_FOUND         a column that a metric names is in no file (names metric and file)
//   INVALID_ARGUMENT  a cell is not a number, or scores and rows differ in number
absl::StatusOr<ClaimValues> MeasureClaim(const Claim& claim, const ClaimPlan& plan);

}  // namespace pagoda
