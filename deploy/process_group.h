// Child processes that belong together: started, watched, signalled, and never left
// behind. Each writes stdout and stderr to a log file of its own.
//
// A child is its own process group, so a terminal's Ctrl-C reaches only the parent,
// which decides what to forward; and the kernel kills it when the parent dies, even
// by kill -9.
//
// Threads: all calls from one thread, the one that started the children (the kernel
// ties a child's end to the thread that forked it).
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace pagoda {

struct ProcessOptions {
  std::string name;                    // "worker-0"
  std::vector<std::string> arguments;  // [0] is the executable's path.
  std::string log_path;                // Created, or emptied.
};

struct EndedProcess {
  std::string name;
  pid_t pid = 0;
  int wait_status = 0;  // As from waitpid.
  std::string log_path;

  bool succeeded() const;
  bool killed() const;    // By a signal.
  int exit_code() const;  // REQUIRES: !killed()
  // "was killed by signal 9 (Killed)", "ended with exit code 1"
  std::string Describe() const;
};

class ProcessGroup {
 public:
  ProcessGroup() = default;
  // Kills what still runs, and waits for it.
  ~ProcessGroup();
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;

  //   NOT_FOUND, PERMISSION_DENIED  the executable or the log file (named)
  absl::Status Start(const ProcessOptions& options);

  // Those that ended since the last call, without waiting.
  std::vector<EndedProcess> Reap();

  // Sends `signal` to the running children whose name starts with `prefix`.
  void Signal(const std::string& prefix, int signal);
  int CountRunning(const std::string& prefix) const;
  // 0 when there is no running child of that name.
  pid_t PidOf(const std::string& name) const;

 private:
  struct Child {
    std::string name;
    pid_t pid;
    std::string log_path;
  };
  std::vector<Child> running_;
};

// The last `count` lines of a file; empty when it cannot be read.
std::vector<std::string> LastLines(const std::string& path, int count);

// Follows a growing file: each call returns the complete lines added since the last.
class LineFollower {
 public:
  explicit LineFollower(std::string path) : path_(std::move(path)) {}
  std::vector<std::string> NewLines();

 private:
  std::string path_;
  int64_t offset_ = 0;
  std::string partial_;
};

}  // namespace pagoda
