// A claim's numbers and verdict for people (text, Markdown) and programs (JSON).
//
//   check | arm | metric | mean | spread | margin | verdict | null control
// and below it every metric of every arm, world by world.
//
// Threads: pure functions.
#pragma once

#include <string>

#include "deploy/claim_plan.h"
#include "deploy/claim_verdict.h"

namespace pagoda {

struct ClaimReport {
  const Claim* claim = nullptr;
  const ClaimRunOptions* options = nullptr;  // Seeds.
  const ClaimValues* values = nullptr;
  const ClaimVerdict* verdict = nullptr;
  bool pilot = false;  // One throw-away seed: no verdict is given.
};

// Columns padded with blanks, for a terminal.
std::string ReportAsText(const ClaimReport& report);
// "# claim", then both tables.
std::string ReportAsMarkdown(const ClaimReport& report);
// {"claim", "hash", "seeds", "control_seeds", "fast", "pilot", "verdict", "checks", "values"};
// what is not a finite number is null.
std::string ReportAsJson(const ClaimReport& report);

}  // namespace pagoda
