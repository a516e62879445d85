#include "deploy/process_group.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace pagoda {
namespace {

// How much of a log's end may be searched for its last lines.
constexpr int64_t kTailBytes = 64 << 10;

// Between fork and exec: only async-signal-safe calls. Never returns; reports the
// errno of a failure through `report`.
[[noreturn]] void RunChild(char* const* arguments, int log, int report, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() == parent) {  // Else the parent died before the line above.
    setpgid(0, 0);
    const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(log, STDOUT_FILENO) >= 0 &&
        dup2(log, STDERR_FILENO) >= 0) {
      execv(arguments[0], arguments);
    }
  }
  const int error = errno;
  const ssize_t written = write(report, &error, sizeof(error));
  _exit(written == sizeof(error) ? 127 : 126);
}

// The child's errno when it could not exec, else 0 (exec closed the pipe).
int ExecError(int report) {
  int error = 0;
  ssize_t got = 0;
  do {
    got = read(report, &error, sizeof(error));
  } while (got < 0 && errno == EINTR);
  return got == sizeof(error) ? error : 0;
}

}  // namespace

bool EndedProcess::succeeded() const {
  return WIFEXITED(wait_status) && exit_code() == 0;
}
bool EndedProcess::killed() const {
  return WIFSIGNALED(wait_status);
}
int EndedProcess::exit_code() const {
  return WEXITSTATUS(wait_status);
}

std::string EndedProcess::Describe() const {
  if (killed()) {
    const int signal = WTERMSIG(wait_status);
    return absl::StrCat("was killed by signal ", signal, " (", strsignal(signal), ")");
  }
  return absl::StrCat("ended with exit code ", exit_code());
}

ProcessGroup::~ProcessGroup() {
  for (const Child& child : running_) kill(-child.pid, SIGKILL);
  for (const Child& child : running_) waitpid(child.pid, nullptr, 0);
}

absl::Status ProcessGroup::Start(const ProcessOptions& options) {
  const int log = open(options.log_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (log < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot write the log ", options.log_path));
  }
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) {
    const int error = errno;
    close(log);
    return absl::ErrnoToStatus(error, "cannot make a pipe");
  }
  std::vector<char*> arguments;
  for (const std::string& argument : options.arguments) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  const int fork_error = errno;
  if (pid == 0) RunChild(arguments.data(), log, report[1], parent);
  close(log);
  close(report[1]);
  const int error = pid < 0 ? fork_error : ExecError(report[0]);
  close(report[0]);
  if (error == 0) {
    running_.push_back({options.name, pid, options.log_path});
    return absl::OkStatus();
  }
  if (pid > 0) waitpid(pid, nullptr, 0);
  return absl::ErrnoToStatus(
      error, absl::StrCat("cannot start ", options.name, " from ", options.arguments[0]));
}

std::vector<EndedProcess> ProcessGroup::Reap() {
  std::vector<EndedProcess> ended;
  std::vector<Child> running;
  for (const Child& child : running_) {
    int status = 0;
    if (waitpid(child.pid, &status, WNOHANG) == child.pid) {
      ended.push_back({child.name, child.pid, status, child.log_path});
    } else {
      running.push_back(child);
    }
  }
  running_ = std::move(running);
  return ended;
}

void ProcessGroup::Signal(const std::string& prefix, int signal) {
  for (const Child& child : running_) {
    if (absl::StartsWith(child.name, prefix)) kill(child.pid, signal);
  }
}

int ProcessGroup::CountRunning(const std::string& prefix) const {
  return static_cast<int>(std::count_if(running_.begin(), running_.end(), [&](const Child& child) {
    return absl::StartsWith(child.name, prefix);
  }));
}

pid_t ProcessGroup::PidOf(const std::string& name) const {
  for (const Child& child : running_) {
    if (child.name == name) return child.pid;
  }
  return 0;
}

std::vector<std::string> LastLines(const std::string& path, int count) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return {};
  const int64_t size = file.tellg();
  const int64_t begin = std::max<int64_t>(0, size - kTailBytes);
  std::string tail(static_cast<size_t>(size - begin), '\0');
  file.seekg(begin);
  file.read(tail.data(), static_cast<std::streamsize>(tail.size()));
  tail.resize(static_cast<size_t>(file.gcount()));
  std::vector<std::string> lines = absl::StrSplit(tail, '\n');
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  const size_t keep = std::min(lines.size(), static_cast<size_t>(count));
  return {lines.end() - static_cast<int64_t>(keep), lines.end()};
}

std::vector<std::string> LineFollower::NewLines() {
  std::ifstream file(path_, std::ios::binary);
  if (!file) return {};
  file.seekg(offset_);
  std::stringstream added;
  if (file.peek() == std::ifstream::traits_type::eof()) return {};
  added << file.rdbuf();
  offset_ += static_cast<int64_t>(added.str().size());
  partial_ += added.str();
  std::vector<std::string> lines = absl::StrSplit(partial_, '\n');
  partial_ = lines.back();
  lines.pop_back();
  return lines;
}

}  // namespace pagoda
