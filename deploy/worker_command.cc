// `pagoda worker`: one worker of a job, against parameter servers.

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "deploy/commands.h"
#include "deploy/job_stages.h"
#include "deploy/output_directory.h"
#include "deploy/stop_signal.h"
#include "deploy/training_run.h"
#include "kernels/device_name.h"
#include "kernels/gpu_device.h"
#include "worker/allreduce_gloo.h"
#include "worker/durable_file.h"
#include "worker/parameter_client_grpc.h"

namespace pagoda {
namespace {

absl::Status CheckRank(const WorkerArguments& arguments) {
  if (arguments.rank < arguments.num_workers) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--rank ", arguments.rank, " with --workers ",
                                                 arguments.num_workers, ": ranks go from 0 to ",
                                                 arguments.num_workers - 1));
}

// The first worker reads the cut, for all.
absl::StatusOr<std::string> PrepareFirstWorker(const WorkerArguments& arguments,
                                               const JobConfig& job) {
  if (arguments.rank != 0) return std::string();
  PAGODA_RETURN_IF_ERROR(MakeDirectories(job.trainer.output_dir));
  PAGODA_ASSIGN_OR_RETURN(const std::string cut, ResumeCut(job, arguments.start));
  PAGODA_RETURN_IF_ERROR(
      ReplaceFileDurably(absl::StrCat(job.trainer.output_dir, "/job.toml"), job.effective_text));
  return cut;
}

std::unique_ptr<AllReduce> JoinWorkers(const WorkerArguments& arguments,
                                       const TrainerOptions& options, ParameterClient* client) {
  GlooOptions gloo;
  gloo.job = options.job;
  gloo.rank = arguments.rank;
  gloo.num_workers = arguments.num_workers;
  gloo.host = arguments.listen_host;
  gloo.servers = arguments.servers;
  gloo.peer_timeout = options.timeout;
  return MakeGlooAllReduce(gloo, client);
}

}  // namespace

absl::StatusOr<int> RunWorker(const WorkerArguments& arguments) {
  InitLogging(absl::StrCat("worker-", arguments.rank), LogLevel::kInfo);
  PAGODA_RETURN_IF_ERROR(CheckRank(arguments));
  PAGODA_ASSIGN_OR_RETURN(JobConfig job, LoadJob(arguments.job.job_path, arguments.job.assignments,
                                                 arguments.job.stage));
  if (arguments.launched && arguments.num_workers > 1) {
    job.trainer.device =
        DeviceOfWorker(job.trainer.device, arguments.rank, UsableGpus(DeviceKind::kCuda));
  }
  StopSignal::Install("\nstopping at the next step, with a cut; Ctrl-C again quits at once\n");
  PAGODA_ASSIGN_OR_RETURN(const std::string cut, PrepareFirstWorker(arguments, job));
  GrpcClientOptions network;
  network.servers = arguments.servers;
  network.insecure_plaintext = arguments.insecure_plaintext;
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<ParameterClient> client, MakeGrpcClient(network));
  const std::unique_ptr<AllReduce> allreduce = JoinWorkers(arguments, job.trainer, client.get());
  TrainingRun run;
  run.job = &job;
  run.client = client.get();
  run.allreduce = allreduce.get();
  run.resume_cut = cut;
  run.keep_newer = arguments.start.keep_newer;
  run.trace_path = arguments.start.trace_path;
  run.hand_over_pause = absl::Seconds(arguments.start.hand_over_pause_s);
  if (!arguments.launched) {
    run.resume_command =
        ResumeCommand("worker", arguments.job,
                      absl::StrCat("--servers ", absl::StrJoin(arguments.servers, ","),
                                   " --rank 0 --workers ", arguments.num_workers));
  }
  return RunTraining(run);
}

}  // namespace pagoda
