// `pagoda train`: servers and worker in this process.

#include <cstdio>
#include <memory>
#include <vector>

#include "base/log.h"
#include "deploy/commands.h"
#include "deploy/embedded_servers.h"
#include "deploy/job_stages.h"
#include "deploy/output_directory.h"
#include "deploy/progress.h"
#include "deploy/stage_runner.h"
#include "deploy/stop_signal.h"
#include "deploy/training_run.h"

namespace pagoda {

namespace {

absl::StatusOr<int> TrainJob(const TrainArguments& arguments, const JobConfig& job,
                             const StartArguments& start) {
  PAGODA_ASSIGN_OR_RETURN(const std::string cut, PrepareOutput(job, start));
  std::vector<std::string> directories;
  for (int server = 0; server < arguments.servers; ++server) {
    directories.push_back(ServerDirectory(job.trainer.output_dir, server));
  }
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<EmbeddedServers> servers,
                          EmbeddedServers::Open(job.server, directories));
  const std::unique_ptr<AllReduce> allreduce = SingleWorker();
  TrainingRun run;
  run.job = &job;
  run.client = &servers->client();
  run.allreduce = allreduce.get();
  run.resume_cut = cut;
  run.keep_newer = start.keep_newer;
  run.trace_path = start.trace_path;
  run.hand_over_pause = absl::Seconds(start.hand_over_pause_s);
  run.resume_command =
      ResumeCommand("train", arguments.job,
                    arguments.servers == 1 ? "" : absl::StrCat("--servers ", arguments.servers));
  return RunTraining(run);
}

}  // namespace

absl::StatusOr<int> RunTrain(const TrainArguments& arguments) {
  // Beside a progress bar only what is wrong; in a log file everything.
  InitLogging("train", Progress::IsTerminal(stdout) ? LogLevel::kWarning : LogLevel::kInfo);
  PAGODA_ASSIGN_OR_RETURN(const std::vector<JobConfig> jobs,
                          LoadJobs(arguments.job.job_path, arguments.job.assignments));
  PAGODA_ASSIGN_OR_RETURN(const std::vector<StageStart> stages,
                          PlanStages(jobs, arguments.job, arguments.start));
  StopSignal::Install("\nstopping at the next step, with a cut; Ctrl-C again quits at once\n");
  Progress progress(stdout, Progress::IsTerminal(stdout));
  return RunStages(
      stages,
      [&](const JobConfig& job, const StartArguments& start) {
        return TrainJob(arguments, job, start);
      },
      [&](const std::string& line) { progress.Line(line); });
}

}  // namespace pagoda
