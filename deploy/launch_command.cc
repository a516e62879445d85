// `pagoda launch`: servers and workers as processes on this machine.

#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "deploy/commands.h"
#include "deploy/job_launcher.h"
#include "deploy/job_stages.h"
#include "deploy/output_directory.h"
#include "deploy/stage_runner.h"
#include "deploy/stop_signal.h"

namespace pagoda {
namespace {

// The children read the job as this process did: same file, same --set, and the
// output directory that this process chose.
std::vector<std::string> JobWords(const JobArguments& job, const JobConfig& config) {
  std::vector<std::string> words = {job.job_path};
  for (const std::string& assignment : job.assignments) {
    words.insert(words.end(), {"--set", assignment});
  }
  words.insert(words.end(),
               {"--set", absl::StrCat("job.output=", FormatTomlValue(config.base_output))});
  if (!config.trainer.start.stage.empty()) {
    words.insert(words.end(), {"--stage", config.trainer.start.stage});
  }
  return words;
}

// The children's words about where the job starts from.
std::vector<std::string> StartWords(const StartArguments& start, const std::string& cut) {
  std::vector<std::string> words = {"--launched"};
  if (!cut.empty()) words.insert(words.end(), {"--resume", cut});
  if (!start.keep_newer.empty()) words.insert(words.end(), {"--keep-newer", start.keep_newer});
  if (start.hand_over_pause_s > 0) {
    words.insert(words.end(), {"--pause-in-hand-over", absl::StrCat(start.hand_over_pause_s)});
  }
  return words;
}

absl::StatusOr<int> LaunchJob(const LaunchArguments& arguments, const JobConfig& job,
                              const StartArguments& start) {
  LauncherOptions options;
  options.servers = arguments.servers > 0 ? arguments.servers : job.launch.servers;
  options.workers = arguments.workers > 0 ? arguments.workers : job.launch.workers;
  options.output_dir = job.trainer.output_dir;
  options.executable = arguments.executable;
  if (options.executable.empty()) {
    std::error_code error;
    options.executable = std::filesystem::read_symlink("/proc/self/exe", error).string();
    if (error) return absl::ErrnoToStatus(error.value(), "cannot find this program's own file");
  }
  PAGODA_ASSIGN_OR_RETURN(const std::string cut, PrepareOutput(job, start));
  options.server_arguments = JobWords(arguments.job, job);
  options.worker_arguments = JobWords(arguments.job, job);
  const std::vector<std::string> words = StartWords(start, cut);
  options.worker_arguments.insert(options.worker_arguments.end(), words.begin(), words.end());
  if (!start.trace_path.empty()) options.first_worker_arguments = {"--trace", start.trace_path};
  Progress progress(stdout, Progress::IsTerminal(stdout));
  JobLauncher launcher(options, &progress);
  const absl::StatusOr<int> code = launcher.Run();
  if (code.ok() && *code == kExitInterrupted) {
    progress.Line(
        absl::StrCat("resume with: ", ResumeCommand("launch", arguments.job,
                                                    absl::StrCat("--servers ", options.servers,
                                                                 " --workers ", options.workers))));
  }
  return code;
}

}  // namespace

absl::StatusOr<int> RunLaunch(const LaunchArguments& arguments) {
  InitLogging("launch", LogLevel::kInfo);
  PAGODA_ASSIGN_OR_RETURN(const std::vector<JobConfig> jobs,
                          LoadJobs(arguments.job.job_path, arguments.job.assignments));
  PAGODA_ASSIGN_OR_RETURN(const std::vector<StageStart> stages,
                          PlanStages(jobs, arguments.job, arguments.start));
  StopSignal::Install(
      "\nstopping the workers at their next step, with a cut; Ctrl-C again kills\n");
  Progress progress(stdout, Progress::IsTerminal(stdout));
  return RunStages(
      stages,
      [&](const JobConfig& job, const StartArguments& start) {
        return LaunchJob(arguments, job, start);
      },
      [&](const std::string& line) { progress.Line(line); });
}

}  // namespace pagoda
