// Starts the processes of a job on this machine, watches them, and ends them
// together: `pagoda launch`.
//
//   servers listen on free loopback ports and report them in address files;
//   workers start when all servers are up; the first worker's log is shown as it
//   grows; Ctrl-C goes to the workers, which make a cut; when a process dies, it is
//   named with its last log lines and the rest is ended.
//
// Time: after a death everything is over within kDeathGrace and a moment, well below
// the promised 10 s.
//
// Threads: one thread (process_group.h says why).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "deploy/process_group.h"
#include "deploy/progress.h"

namespace pagoda {

struct LauncherOptions {
  std::string executable;  // Called as EXECUTABLE server ... and EXECUTABLE worker ...
  std::string output_dir;
  int servers = 1;
  int workers = 1;
  // Arguments after "server" or "worker", the same for each process of the kind.
  // The launcher adds --listen, --data and --address-file; --servers, --rank, --workers.
  std::vector<std::string> server_arguments;
  std::vector<std::string> worker_arguments;
  std::vector<std::string> first_worker_arguments;  // Also for worker 0.
  // A server may replay its log before it listens.
  absl::Duration server_start_max = absl::Seconds(90);
};

class JobLauncher {
 public:
  // The others get this long to say why they end, after the first death ...
  static constexpr absl::Duration kDeathGrace = absl::Seconds(3);
  // ... and servers to close their stores, at the end of a job in good order.
  static constexpr absl::Duration kServerEnd = absl::Seconds(30);

  JobLauncher(LauncherOptions options, Progress* progress)
      : options_(std::move(options)), progress_(progress) {}

  // Runs the job to its end. Returns 0, or 130 when a signal (StopSignal) ended it
  // with a cut.
  //   ABORTED            a process died or failed (named, with its log's last lines)
  //   DEADLINE_EXCEEDED  a server did not start in time (named)
  //   CANCELLED          a second signal: everything was killed at once
  absl::StatusOr<int> Run();

 private:
  absl::Status StartServers();
  absl::Status AwaitServers();
  absl::Status StartWorkers();
  absl::StatusOr<int> Watch();
  // Reaps; remembers failures. An error when one has failed.
  absl::Status CheckProcesses();
  // Lets the rest speak, kills what is left, and says what happened.
  absl::Status EndAfterFailure();
  absl::Status EndServers();
  void ShowFirstWorker();
  void ForwardStop();

  LauncherOptions options_;
  Progress* progress_;
  ProcessGroup group_;
  std::vector<std::string> addresses_;
  std::vector<EndedProcess> failed_;      // In the order of their deaths.
  std::optional<LineFollower> follower_;  // Of the first worker's log.
  int interrupted_workers_ = 0;
  bool stop_forwarded_ = false;
};

}  // namespace pagoda
