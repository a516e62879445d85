#include "deploy/job_launcher.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "deploy/output_directory.h"
#include "deploy/stop_signal.h"
#include "worker/durable_file.h"

namespace pagoda {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(30);
constexpr int kLogLinesShown = 6;

std::string ServerName(int server) {
  return absl::StrCat("server-", server);
}
std::string WorkerName(int worker) {
  return absl::StrCat("worker-", worker);
}

// A worker that was asked to stop and made its cut.
bool EndedByRequest(const EndedProcess& process) {
  return !process.killed() && process.exit_code() == kExitInterrupted;
}

}  // namespace

absl::StatusOr<int> JobLauncher::Run() {
  StopSignal::KeepRunningOnSecond();
  PAGODA_RETURN_IF_ERROR(MakeDirectories(absl::StrCat(options_.output_dir, "/logs")));
  absl::Status started = StartServers();
  if (started.ok()) started = AwaitServers();
  if (started.ok()) started = StartWorkers();
  if (!started.ok()) return failed_.empty() ? started : EndAfterFailure();
  return Watch();
}

absl::Status JobLauncher::StartServers() {
  for (int server = 0; server < options_.servers; ++server) {
    const std::string name = ServerName(server);
    const std::string address_file = absl::StrCat(options_.output_dir, "/logs/", name, ".address");
    std::error_code ignored;  // Absent is what is wanted.
    std::filesystem::remove(address_file, ignored);
    ProcessOptions process{
        name, {options_.executable, "server"}, LogPath(options_.output_dir, name)};
    process.arguments.insert(process.arguments.end(), options_.server_arguments.begin(),
                             options_.server_arguments.end());
    for (const std::string& argument :
         {std::string("--listen"), std::string("127.0.0.1:0"), std::string("--data"),
          ServerDirectory(options_.output_dir, server), std::string("--address-file"),
          address_file}) {
      process.arguments.push_back(argument);
    }
    PAGODA_RETURN_IF_ERROR(group_.Start(process));
    progress_->Line(absl::StrCat(name, " started, pid ", group_.PidOf(name)));
  }
  return absl::OkStatus();
}

absl::Status JobLauncher::AwaitServers() {
  const absl::Time deadline = absl::Now() + options_.server_start_max;
  for (int server = 0; server < options_.servers; ++server) {
    const std::string name = ServerName(server);
    const std::string address_file = absl::StrCat(options_.output_dir, "/logs/", name, ".address");
    while (true) {
      PAGODA_RETURN_IF_ERROR(CheckProcesses());
      if (StopSignal::Requested()) return absl::CancelledError("stopped before the training began");
      if (const auto address = ReadWholeFile(address_file); address.ok()) {
        addresses_.emplace_back(absl::StripSuffix(*address, "\n"));
        break;
      }
      if (absl::Now() > deadline) {
        return absl::DeadlineExceededError(absl::StrCat(
            name, " did not listen within ", absl::FormatDuration(options_.server_start_max),
            "; see ", LogPath(options_.output_dir, name)));
      }
      absl::SleepFor(kPoll);
    }
    progress_->Line(absl::StrCat(name, " listens on ", addresses_.back()));
  }
  return absl::OkStatus();
}

absl::Status JobLauncher::StartWorkers() {
  for (int worker = 0; worker < options_.workers; ++worker) {
    const std::string name = WorkerName(worker);
    ProcessOptions process{
        name, {options_.executable, "worker"}, LogPath(options_.output_dir, name)};
    const auto append = [&](const std::vector<std::string>& arguments) {
      process.arguments.insert(process.arguments.end(), arguments.begin(), arguments.end());
    };
    append(options_.worker_arguments);
    append({"--servers", absl::StrJoin(addresses_, ","), "--rank", absl::StrCat(worker),
            "--workers", absl::StrCat(options_.workers)});
    if (worker == 0) append(options_.first_worker_arguments);
    PAGODA_RETURN_IF_ERROR(group_.Start(process));
    progress_->Line(absl::StrCat(name, " started, pid ", group_.PidOf(name)));
  }
  follower_.emplace(LogPath(options_.output_dir, WorkerName(0)));
  return absl::OkStatus();
}

absl::StatusOr<int> JobLauncher::Watch() {
  while (group_.CountRunning("worker-") > 0) {
    absl::SleepFor(kPoll);
    ShowFirstWorker();
    ForwardStop();
    if (StopSignal::Count() > 1) {
      progress_->Finish();
      return absl::CancelledError("a second Ctrl-C: every process was killed, without a cut");
    }
    if (!CheckProcesses().ok()) return EndAfterFailure();
  }
  ShowFirstWorker();
  PAGODA_RETURN_IF_ERROR(EndServers());
  return interrupted_workers_ > 0 ? kExitInterrupted : 0;
}

absl::Status JobLauncher::CheckProcesses() {
  for (EndedProcess& process : group_.Reap()) {
    if (process.succeeded()) {
      progress_->Line(absl::StrCat(process.name, " finished"));
    } else if (EndedByRequest(process) && StopSignal::Requested()) {
      ++interrupted_workers_;
      progress_->Line(absl::StrCat(process.name, " stopped"));
    } else {
      progress_->Line(absl::StrCat(process.name, " (pid ", process.pid, ") ", process.Describe()));
      failed_.push_back(std::move(process));
    }
  }
  return failed_.empty() ? absl::OkStatus() : absl::AbortedError("a process died");
}

absl::Status JobLauncher::EndAfterFailure() {
  const absl::Time deadline = absl::Now() + kDeathGrace;
  while (group_.CountRunning("") > 0 && absl::Now() < deadline && StopSignal::Count() < 2) {
    absl::SleepFor(kPoll);
    ShowFirstWorker();
    CheckProcesses().IgnoreError();  // Adds to failed_, which is reported below.
    // Nobody is left whom the servers could tell.
    if (group_.CountRunning("worker-") == 0) group_.Signal("server-", SIGTERM);
  }
  const int killed = group_.CountRunning("");
  group_.Signal("", SIGKILL);
  while (group_.CountRunning("") > 0) {
    group_.Reap();
    absl::SleepFor(absl::Milliseconds(5));
  }
  progress_->Finish();
  // A process killed from outside is the cause; others failed because of it.
  std::stable_partition(failed_.begin(), failed_.end(),
                        [](const EndedProcess& process) { return process.killed(); });
  for (const EndedProcess& process : failed_) {
    progress_->Line(absl::StrCat("--- ", process.name, " ", process.Describe(), "; the end of ",
                                 process.log_path, ":"));
    for (const std::string& line : LastLines(process.log_path, kLogLinesShown)) {
      progress_->Line(absl::StrCat("    ", line));
    }
  }
  const EndedProcess& first = failed_.front();
  std::string message = absl::StrCat(first.name, " (pid ", first.pid, ") ", first.Describe());
  if (!first.killed()) {
    const std::vector<std::string> last = LastLines(first.log_path, 1);
    if (!last.empty()) absl::StrAppend(&message, ": ", last[0]);
  }
  if (killed > 0) absl::StrAppend(&message, " (", killed, " other processes were then killed)");
  return absl::AbortedError(message);
}

absl::Status JobLauncher::EndServers() {
  group_.Signal("server-", SIGTERM);
  const absl::Time deadline = absl::Now() + kServerEnd;
  while (group_.CountRunning("server-") > 0) {
    absl::SleepFor(kPoll);
    if (!CheckProcesses().ok()) return EndAfterFailure();
    if (absl::Now() < deadline && StopSignal::Count() < 2) continue;
    // The cut is made and the log holds the rest, but it should not happen unseen.
    progress_->Line(absl::StrCat("killing ", group_.CountRunning("server-"),
                                 " servers that did not end within ",
                                 absl::FormatDuration(kServerEnd)));
    group_.Signal("server-", SIGKILL);
    while (group_.CountRunning("server-") > 0) {
      group_.Reap();
      absl::SleepFor(absl::Milliseconds(5));
    }
  }
  return absl::OkStatus();
}

void JobLauncher::ShowFirstWorker() {
  if (!follower_.has_value()) return;
  for (const std::string& line : follower_->NewLines()) {
    if (const auto point = ParseProgressLine(line); point.has_value()) {
      progress_->Show(*point);
    } else {
      progress_->Line(line);
    }
  }
}

void JobLauncher::ForwardStop() {
  if (!StopSignal::Requested() || stop_forwarded_) return;
  stop_forwarded_ = true;
  group_.Signal("worker-", SIGINT);
}

}  // namespace pagoda
