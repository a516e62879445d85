#include "deploy/process_group.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include <chrono>
#include <fstream>
#include <thread>

#include "tests/deploy/scratch_directory.h"

using namespace pagoda;

namespace {

ProcessOptions Shell(const ScratchDirectory& scratch, const std::string& name,
                     const std::string& script) {
  return {name, {"/bin/sh", "-c", script}, scratch.File(name + ".log")};
}

// Reaps until one process has ended, for 10 s at most.
EndedProcess AwaitOne(ProcessGroup& group) {
  for (int i = 0; i < 1000; ++i) {
    std::vector<EndedProcess> ended = group.Reap();
    if (!ended.empty()) return ended[0];
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  FAIL("no process ended");
  return {};
}

bool Alive(pid_t pid) {
  return kill(pid, 0) == 0;
}

}  // namespace

TEST_CASE("a process runs, writes its log, and its end is told") {
  ScratchDirectory scratch;
  ProcessGroup group;
  REQUIRE(group.Start(Shell(scratch, "good", "echo out; echo err >&2; exit 0")).ok());
  const EndedProcess good = AwaitOne(group);
  CHECK(good.name == "good");
  CHECK(good.succeeded());
  CHECK(LastLines(good.log_path, 5) == std::vector<std::string>{"out", "err"});
  REQUIRE(group.Start(Shell(scratch, "bad", "exit 3")).ok());
  const EndedProcess bad = AwaitOne(group);
  CHECK_FALSE(bad.succeeded());
  CHECK(bad.Describe() == "ended with exit code 3");
  REQUIRE(group.Start(Shell(scratch, "killed", "kill -9 $$")).ok());
  const EndedProcess killed = AwaitOne(group);
  CHECK(killed.killed());
  CHECK(killed.Describe() == "was killed by signal 9 (Killed)");
}

TEST_CASE("a program that cannot start is an error, and no child is left") {
  ScratchDirectory scratch;
  ProcessGroup group;
  const absl::Status missing =
      group.Start({"ghost", {"/no/such/program"}, scratch.File("ghost.log")});
  CHECK(absl::IsNotFound(missing));
  CHECK(std::string(missing.message()).find("/no/such/program") != std::string::npos);
  const absl::Status log = group.Start({"mute", {"/bin/true"}, "/no/such/directory/mute.log"});
  CHECK(absl::IsNotFound(log));
  CHECK(group.CountRunning("") == 0);
}

TEST_CASE("signals go to the children that are named") {
  ScratchDirectory scratch;
  ProcessGroup group;
  REQUIRE(group.Start(Shell(scratch, "worker-0", "exec sleep 60")).ok());
  REQUIRE(group.Start(Shell(scratch, "server-0", "exec sleep 60")).ok());
  CHECK(group.CountRunning("worker-") == 1);
  CHECK(group.PidOf("server-0") > 0);
  CHECK(group.PidOf("server-1") == 0);
  group.Signal("worker-", SIGTERM);
  CHECK(AwaitOne(group).name == "worker-0");
  CHECK(group.CountRunning("worker-") == 0);
  CHECK(group.CountRunning("") == 1);
}

TEST_CASE("no child outlives the group") {
  ScratchDirectory scratch;
  pid_t pid = 0;
  {
    ProcessGroup group;
    REQUIRE(group.Start(Shell(scratch, "stubborn", "trap '' TERM INT; sleep 60")).ok());
    pid = group.PidOf("stubborn");
    CHECK(Alive(pid));
  }
  CHECK_FALSE(Alive(pid));
}

TEST_CASE("no child outlives its parent, even one killed with -9") {
  ScratchDirectory scratch;
  const std::string pid_file = scratch.File("pid");
  const pid_t parent = fork();
  if (parent == 0) {
    ProcessGroup group;
    if (!group.Start(Shell(scratch, "child", "echo $$ > " + pid_file + "; exec sleep 60")).ok()) {
      _exit(1);
    }
    pause();
    _exit(0);
  }
  pid_t child = 0;
  for (int i = 0; i < 500 && child == 0; ++i) {
    std::ifstream(pid_file) >> child;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  REQUIRE(child > 0);
  kill(parent, SIGKILL);
  waitpid(parent, nullptr, 0);
  bool gone = false;
  for (int i = 0; i < 500 && !gone; ++i) {
    // A zombie that nobody has collected yet is dead, too.
    std::string state;
    std::ifstream stat("/proc/" + std::to_string(child) + "/stat");
    std::string skip;
    gone = !(stat >> skip >> skip >> state) || state == "Z";
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(gone);
}

TEST_CASE("a terminal's Ctrl-C does not reach the children") {
  ScratchDirectory scratch;
  ProcessGroup group;
  REQUIRE(group.Start(Shell(scratch, "child", "exec sleep 60")).ok());
  CHECK(getpgid(group.PidOf("child")) != getpgid(0));
}

TEST_CASE("the last lines of a file") {
  ScratchDirectory scratch;
  const std::string path = scratch.File("log");
  CHECK(LastLines(path, 3).empty());
  std::ofstream(path) << "";
  CHECK(LastLines(path, 3).empty());
  std::ofstream(path) << "one";
  CHECK(LastLines(path, 3) == std::vector<std::string>{"one"});
  std::ofstream(path) << "one\ntwo\nthree\nfour\n\n";
  CHECK(LastLines(path, 2) == std::vector<std::string>{"three", "four"});
  CHECK(LastLines(path, 0).empty());
  std::ofstream(path) << std::string(200000, 'x') << "\nlast\n";
  CHECK(LastLines(path, 1) == std::vector<std::string>{"last"});
}

TEST_CASE("a growing file is followed line by line") {
  ScratchDirectory scratch;
  const std::string path = scratch.File("log");
  LineFollower follower(path);
  CHECK(follower.NewLines().empty());
  std::ofstream file(path);
  file << "one\ntw" << std::flush;
  CHECK(follower.NewLines() == std::vector<std::string>{"one"});
  CHECK(follower.NewLines().empty());
  file << "o\n\nthree\n" << std::flush;
  CHECK(follower.NewLines() == std::vector<std::string>{"two", "", "three"});
}
