// From the numbers of a claim to its verdict (docs/claims.md, "What a check asks").
//
// Threads: pure functions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "deploy/claim_file.h"
#include "deploy/claim_values.h"

namespace pagoda {

struct CheckResult {
  const ClaimCheck* check = nullptr;
  std::vector<double> values;  // One a seed.
  double mean = 0;
  double spread = 0;                // Standard deviation over the seeds; NaN of one.
  std::optional<double> closure;    // mean / mean of the gap
  std::vector<double> null_values;  // Empty without a null world.
  double null_mean = 0;
  bool null_met = true;               // |null_mean| <= null_band
  bool met = false;                   // Every bound, the null control among them.
  std::vector<std::string> failures;  // A sentence for each bound that does not hold.
};

struct ClaimVerdict {
  std::vector<CheckResult> checks;  // In the order of the file.
  bool pass = false;                // Every check is met.
};

// A value that is not defined (NaN) meets no bound.
//   REQUIRES: what the checks name was measured.
ClaimVerdict JudgeClaim(const Claim& claim, const ClaimValues& values);

// "margin 0.04 (4 of 5 seeds above 0)", "within 0.005 of 0": the bounds of a check.
std::string DescribeBounds(const ClaimCheck& check, size_t seeds);

}  // namespace pagoda
