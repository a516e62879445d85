#include "deploy/stage_runner.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "worker/hand_over.h"
#include "worker/job_cut.h"

namespace pagoda {
namespace {

const std::string& NameOf(const JobConfig& job) {
  return job.trainer.start.stage;
}

absl::StatusOr<size_t> FindStage(const std::vector<JobConfig>& jobs, const std::string& option,
                                 const std::string& name) {
  std::vector<std::string> names;
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (NameOf(jobs[i]) == name) return i;
    names.push_back(NameOf(jobs[i]));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      option, " ", name, ": ", jobs[0].path,
      names[0].empty() ? " has no stages"
                       : absl::StrCat(" has the stages ", absl::StrJoin(names, ", "))));
}

absl::StatusOr<bool> HasCut(const JobConfig& job) {
  const absl::StatusOr<ListedCut> newest = NewestJobCut(job.trainer.output_dir);
  if (absl::IsNotFound(newest.status())) return false;
  PAGODA_RETURN_IF_ERROR(newest.status());
  return true;
}

absl::StatusOr<bool> HasFinished(const JobConfig& job) {
  const absl::StatusOr<std::string> finished = ReadFinished(job.trainer.output_dir);
  if (absl::IsNotFound(finished.status())) return false;
  PAGODA_RETURN_IF_ERROR(finished.status());
  return true;
}

// Whether stage `name` runs under this plan.
bool Runs(const std::vector<StageStart>& plan, const std::string& name) {
  return std::any_of(plan.begin(), plan.end(), [&](const StageStart& stage) {
    return NameOf(*stage.job) == name && !stage.finished;
  });
}

absl::Status CheckSource(const std::vector<JobConfig>& jobs, const std::vector<StageStart>& plan,
                         const StageStart& stage) {
  const std::string& source = stage.job->trainer.start.from_stage;
  if (source.empty() || stage.start.overwrite) return absl::OkStatus();
  const bool kept = stage.finished || stage.start.resume;
  if (kept && Runs(plan, source)) {
    return absl::FailedPreconditionError(absl::StrCat(stage.job->trainer.output_dir,
                                                      " holds a run of stage '", NameOf(*stage.job),
                                                      "' that started from stage '", source,
                                                      "', which has not finished: start over with "
                                                      "--from-stage ",
                                                      source, " --overwrite"));
  }
  if (kept || Runs(plan, source)) return absl::OkStatus();
  PAGODA_ASSIGN_OR_RETURN(const size_t at, FindStage(jobs, "from", source));
  PAGODA_ASSIGN_OR_RETURN(const bool finished, HasFinished(jobs[at]));
  if (finished || stage.job->trainer.start.cut == "last") return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("stage '", NameOf(*stage.job), "' starts from stage '", source,
                   "', which has not finished in ", jobs[at].trainer.output_dir));
}

absl::StatusOr<StageStart> PlanStage(const JobConfig& job, const StartArguments& start,
                                     bool alone) {
  StageStart stage{&job, start, false};
  if (!alone && !start.trace_path.empty()) {
    stage.start.trace_path = absl::StrCat(start.trace_path, ".", NameOf(job));
  }
  PAGODA_ASSIGN_OR_RETURN(const bool has_cut, HasCut(job));
  if (start.resume && !alone) {
    PAGODA_ASSIGN_OR_RETURN(stage.finished, HasFinished(job));
    stage.start.resume = has_cut;
  }
  if (start.resume || start.overwrite || !has_cut) return stage;
  return absl::FailedPreconditionError(absl::StrCat(
      job.trainer.output_dir, " holds an earlier run of stage '", NameOf(job),
      "': go on with --resume, start over with --overwrite, or choose another place with --set "
      "job.output=DIR"));
}

}  // namespace

absl::StatusOr<std::vector<StageStart>> PlanStages(const std::vector<JobConfig>& jobs,
                                                   const JobArguments& arguments,
                                                   const StartArguments& start) {
  size_t begin = 0, end = jobs.size();
  if (!arguments.stage.empty() && !arguments.from_stage.empty()) {
    return absl::InvalidArgumentError("--stage and --from-stage: choose one of them");
  }
  if (!arguments.stage.empty()) {
    PAGODA_ASSIGN_OR_RETURN(begin, FindStage(jobs, "--stage", arguments.stage));
    end = begin + 1;
  }
  if (!arguments.from_stage.empty()) {
    PAGODA_ASSIGN_OR_RETURN(begin, FindStage(jobs, "--from-stage", arguments.from_stage));
  }
  std::vector<StageStart> plan;
  if (NameOf(jobs[0]).empty()) {
    plan.push_back({&jobs[0], start, false});
    return plan;
  }
  const bool alone = end - begin == 1;
  if (!start.resume_cut.empty() && !alone) {
    return absl::InvalidArgumentError(
        "--resume with a cut is for one stage: name it with --stage, or leave the cut out");
  }
  for (size_t i = begin; i < end; ++i) {
    const bool named = !arguments.stage.empty();
    PAGODA_ASSIGN_OR_RETURN(plan.emplace_back(), PlanStage(jobs[i], start, named));
  }
  for (const StageStart& stage : plan) PAGODA_RETURN_IF_ERROR(CheckSource(jobs, plan, stage));
  return plan;
}

absl::StatusOr<int> RunStages(const std::vector<StageStart>& stages, const RunStageFn& run,
                              const std::function<void(const std::string&)>& say) {
  for (size_t i = 0; i < stages.size(); ++i) {
    const StageStart& stage = stages[i];
    if (!NameOf(*stage.job).empty()) {
      say(absl::StrCat("stage ", NameOf(*stage.job), ", ", i + 1, " of ", stages.size(),
                       stage.finished ? ": finished before" : ""));
    }
    if (stage.finished) continue;
    PAGODA_ASSIGN_OR_RETURN(const int code, run(*stage.job, stage.start));
    if (code != 0) return code;
  }
  return 0;
}

}  // namespace pagoda
