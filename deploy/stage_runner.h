// Which stages of a job a command runs, and from where: `pagoda train` and `pagoda launch`
// run them one after another.
//
//   without options   every stage; none may have been run before
//   --resume          finished stages are left as they are, the interrupted one goes on from
//                     its newest cut (or anew, when it has none), later ones follow
//   --overwrite       every stage anew
//   --stage NAME      that one only;  --from-stage NAME  that one and those below it
//
// A stage has finished when its output holds the file `finished` (worker/hand_over.h).
//
// Threads: one thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "deploy/commands.h"
#include "deploy/job_config.h"

namespace pagoda {

struct StageStart {
  const JobConfig* job = nullptr;
  StartArguments start;
  bool finished = false;  // Before: not run again.
};

// Decides for all chosen stages before any of them runs; nothing is changed.
//   INVALID_ARGUMENT     --stage or --from-stage names none; both are given; --resume CUT
//                        with several stages
//   FAILED_PRECONDITION  a stage has been run before (without --resume or --overwrite), the
//                        stage it starts from has not finished, or it has cuts that came from
//                        an earlier run of a stage that would now run (all named)
absl::StatusOr<std::vector<StageStart>> PlanStages(const std::vector<JobConfig>& jobs,
                                                   const JobArguments& arguments,
                                                   const StartArguments& start);

// Runs them until one does not return 0. `say` gets a line for each stage of several.
using RunStageFn = std::function<absl::StatusOr<int>(const JobConfig&, const StartArguments&)>;
absl::StatusOr<int> RunStages(const std::vector<StageStart>& stages, const RunStageFn& run,
                              const std::function<void(const std::string&)>& say);

}  // namespace pagoda
