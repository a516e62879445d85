#include "deploy/stop_signal.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include <atomic>

using namespace pagoda;

namespace {

// The exit code of `body`, run in a process of its own: signals are for whole processes.
template <typename Body>
int ExitCodeOf(Body body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

std::atomic<int> g_calls{0};

void Count(void* context) {
  g_calls += *static_cast<int*>(context);
}

}  // namespace

TEST_CASE("the first signal calls back, the second ends the process with 130") {
  for (int signal : {SIGINT, SIGTERM}) {
    CHECK(ExitCodeOf([signal] {
            static int one = 1;
            StopSignal::Install("");
            StopSignal::SetCallback(Count, &one);
            if (StopSignal::Requested()) return 1;
            raise(signal);
            return StopSignal::Requested() && g_calls == 1 ? 7 : 2;
          }) == 7);
    CHECK(ExitCodeOf([signal] {
            StopSignal::Install("");
            raise(signal);
            raise(signal);
            return 3;
          }) == kExitInterrupted);
  }
}

TEST_CASE("a signal before the callback is set is not lost") {
  CHECK(ExitCodeOf([] {
          static int one = 1;
          StopSignal::Install("");
          raise(SIGINT);
          StopSignal::SetCallback(Count, &one);
          return g_calls == 1 ? 7 : 1;
        }) == 7);
}

TEST_CASE("a process that looks after others counts instead of quitting") {
  CHECK(ExitCodeOf([] {
          StopSignal::Install("");
          StopSignal::KeepRunningOnSecond();
          raise(SIGINT);
          raise(SIGINT);
          return StopSignal::Count() == 2 ? 7 : 1;
        }) == 7);
}
