// `pagoda server`: one parameter server, for one job after the other or just one.

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "deploy/commands.h"
#include "deploy/job_stages.h"
#include "deploy/stop_signal.h"
#include "server/parameter_server_grpc.h"
#include "server/parameter_service.h"
#include "worker/durable_file.h"

namespace pagoda {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(50);
// After a worker's death the others learn the cause with their next heartbeat,
// a quarter of their timeout away.
constexpr absl::Duration kFailureLinger = absl::Milliseconds(2500);
// For calls under way; after a failure they have been answered with the cause already,
// and what is left goes to peers that are gone.
constexpr absl::Duration kShutdownGrace = absl::Seconds(5);
constexpr absl::Duration kFailureGrace = absl::Milliseconds(300);

// [server] of the job file, or of --set alone.
absl::StatusOr<ParameterServiceOptions> ServiceOptions(const JobArguments& job) {
  if (!job.job_path.empty()) {
    PAGODA_ASSIGN_OR_RETURN(const JobConfig config,
                            LoadJob(job.job_path, job.assignments, job.stage));
    return config.server;
  }
  JobDocument document;
  for (const std::string& assignment : job.assignments) {
    PAGODA_RETURN_IF_ERROR(ApplyOverride(assignment, document));
  }
  for (const JobEntry& entry : document.entries) {
    if (entry.section == "server") continue;
    return absl::InvalidArgumentError(
        absl::StrCat(entry.where, ": without a job file a server has only [server] keys"));
  }
  ParameterServiceOptions options;
  PAGODA_RETURN_IF_ERROR(KeysOfServer(options).Fill(document.entries, "command line"));
  return options;
}

// Serves until a signal (OK), the end of the job (OK), or its failure (the cause).
absl::Status ServeUntilEnd(const ParameterService& service, bool keep_serving) {
  while (!StopSignal::Requested()) {
    absl::SleepFor(kPoll);
    if (const absl::Status health = service.JobHealth(); !health.ok()) {
      PAGODA_LOG_ERROR("the job has failed: {}", std::string(health.message()));
      const absl::Time linger_end = absl::Now() + kFailureLinger;
      while (absl::Now() < linger_end && !StopSignal::Requested()) absl::SleepFor(kPoll);
      return health;
    }
    if (service.JobFinished() && !keep_serving) {
      PAGODA_LOG_INFO("every worker has finished");
      return absl::OkStatus();
    }
  }
  PAGODA_LOG_INFO("asked to stop");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int> RunServer(const ServerArguments& arguments) {
  InitLogging(absl::StrCat("server ", arguments.listen), LogLevel::kInfo);
  StopSignal::Install("");
  PAGODA_ASSIGN_OR_RETURN(ParameterServiceOptions options, ServiceOptions(arguments.job));
  options.data_dir = arguments.data_dir;
  if (!arguments.pretend_version.empty()) options.version = arguments.pretend_version;
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<ParameterService> service,
                          ParameterService::Open(options));
  GrpcServerOptions network;
  network.listen = arguments.listen;
  network.insecure_plaintext = arguments.insecure_plaintext;
  network.num_threads = options.num_threads;
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<GrpcServer> server,
                          StartGrpcServer(network, service.get()));
  InitLogging(absl::StrCat("server ", server->address()), LogLevel::kInfo);
  PAGODA_LOG_INFO("{} listens on {}, rows in {}", VersionText(), server->address(),
                  arguments.data_dir);
  if (!arguments.address_file.empty()) {
    PAGODA_RETURN_IF_ERROR(ReplaceFileDurably(arguments.address_file, server->address() + "\n"));
  }
  const absl::Status end = ServeUntilEnd(*service, arguments.keep_serving);
  const absl::Status cause = end.ok() ? absl::UnavailableError(absl::StrCat(
                                            "the server ", server->address(), " was asked to stop"))
                                      : end;
  server->Shutdown(cause, end.ok() ? kShutdownGrace : kFailureGrace);
  PAGODA_RETURN_IF_ERROR(end);
  PAGODA_LOG_INFO("ended in good order");
  return 0;
}

}  // namespace pagoda
