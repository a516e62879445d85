// Runs what a claim's plan lists, as processes of the same executable: `pagoda synth`
// for each world, `pagoda train` and `pagoda predict` for each arm in it.
//
// What is finished is not run again: a directory that holds "done" is whole. A run that
// was interrupted starts again from nothing. A model's rows and cuts are removed once no
// unfinished run starts from them; scores, logs and worlds stay.
//
// Threads: all calls from one thread, which must be the one that runs to the end
// (process_group.h).
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "deploy/claim_plan.h"

namespace pagoda {

// Called with a line for the user: what began to run, what ended and how long it took.
using ClaimProgress = std::function<void(const std::string&)>;

// Runs until everything of the plan is done.
//   CANCELLED  Ctrl-C; what runs is killed, what is finished is kept
//   INTERNAL   a process failed: names its log, with the last lines of it
//   and the file system's errors
absl::Status RunClaimPlan(const Claim& claim, const ClaimRunOptions& options, const ClaimPlan& plan,
                          const ClaimProgress& progress);

// Values of the dense parameters of a finished run's best cut, as in "done".
//   DATA_LOSS, NOT_FOUND  the file is damaged or absent
absl::StatusOr<int64_t> ParametersOfRun(const PlannedRun& run);

}  // namespace pagoda
