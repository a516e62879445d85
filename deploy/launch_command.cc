// `pagoda launch`: servers and workers as processes on this machine.

#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "deploy/commands.h"
#include "deploy/job_launcher.h"
#include "deploy/output_directory.h"
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
               {"--set", absl::StrCat("job.output=", FormatTomlValue(config.trainer.output_dir))});
  return words;
}

}  // namespace

absl::StatusOr<int> RunLaunch(const LaunchArguments& arguments) {
  InitLogging("launch", LogLevel::kInfo);
  PAGODA_ASSIGN_OR_RETURN(const JobConfig job,
                          LoadJob(arguments.job.job_path, arguments.job.assignments));
  StopSignal::Install(
      "\nstopping the workers at their next step, with a cut; Ctrl-C again kills\n");
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
  PAGODA_ASSIGN_OR_RETURN(const std::string cut, PrepareOutput(job, arguments.start));
  options.server_arguments = JobWords(arguments.job, job);
  options.worker_arguments = JobWords(arguments.job, job);
  options.worker_arguments.push_back("--launched");
  if (!cut.empty()) {
    options.worker_arguments.insert(options.worker_arguments.end(), {"--resume", cut});
  }
  if (!arguments.start.keep_newer.empty()) {
    options.worker_arguments.insert(options.worker_arguments.end(),
                                    {"--keep-newer", arguments.start.keep_newer});
  }
  if (!arguments.start.trace_path.empty()) {
    options.first_worker_arguments = {"--trace", arguments.start.trace_path};
  }
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

}  // namespace pagoda
