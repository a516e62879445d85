// The launcher against shell scripts that play the parts of servers and workers.
#include "deploy/job_launcher.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "deploy/stop_signal.h"
#include "tests/deploy/scratch_directory.h"

using namespace pagoda;

namespace {

// A server that serves until it is asked to stop; $address_file is its last argument.
constexpr const char* kServer = R"(
if [ "$1" = server ]; then
  for last in "$@"; do :; done
  echo 127.0.0.1:4242 > "$last"
  trap 'exit 0' TERM
  while :; do sleep 0.05; done
fi
)";

struct Played {
  absl::StatusOr<int> result = absl::UnknownError("not run");
  std::string text;  // What the launcher printed.
  double seconds = 0;
};

// Runs a launcher whose processes run `script`, which sees "server" or "worker" in $1.
Played Play(const ScratchDirectory& scratch, const std::string& script, int servers = 1,
            int workers = 2, absl::Duration server_start_max = absl::Seconds(20)) {
  LauncherOptions options;
  options.executable = scratch.Write("player.sh", "#!/bin/sh\n" + script);
  std::filesystem::permissions(options.executable, std::filesystem::perms::owner_all);
  options.output_dir = scratch.File("out");
  options.servers = servers;
  options.workers = workers;
  options.server_arguments = {"job.toml"};
  options.worker_arguments = {"job.toml", "--launched"};
  options.first_worker_arguments = {"--trace", "t"};
  options.server_start_max = server_start_max;
  char* text = nullptr;
  size_t size = 0;
  std::FILE* out = open_memstream(&text, &size);
  Played played;
  const absl::Time begin = absl::Now();
  {
    Progress progress(out, false);
    JobLauncher launcher(options, &progress);
    played.result = launcher.Run();
  }
  played.seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  std::fclose(out);
  played.text.assign(text, size);
  std::free(text);
  return played;
}

std::string Contents(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a job in good order: servers first, workers with their addresses, then the end") {
  ScratchDirectory scratch;
  const Played played = Play(scratch, absl::StrCat(kServer, R"(
echo "$@"
echo "step 7  loss 0.5  grad 1  samples/s 10  done 50.0%  eta 0:01"
exit 0)"),
                             2, 2);
  INFO(played.text);
  REQUIRE(played.result.ok());
  CHECK(*played.result == 0);
  CHECK(Has(played.text, "server-1 listens on 127.0.0.1:4242\n"));
  CHECK(Has(played.text, "worker-0 started, pid "));
  CHECK(Has(played.text, "step 7  loss 0.5"));
  CHECK(Has(played.text, "worker-1 finished\n"));
  CHECK(Has(played.text, "server-0 finished\n"));
  CHECK(
      Has(Contents(scratch.File("out/logs/worker-0.log")),
          "worker job.toml --launched --servers 127.0.0.1:4242,127.0.0.1:4242 --rank 0 --workers 2 "
          "--trace t\n"));
  CHECK(Has(Contents(scratch.File("out/logs/worker-1.log")), "--rank 1 --workers 2\n"));
}

TEST_CASE("a worker killed with -9 is named with its last lines, and all ends in time") {
  ScratchDirectory scratch;
  const Played played = Play(scratch, absl::StrCat(kServer, R"(
case "$*" in *"--rank 1"*) echo the last words; kill -9 $$ ;; esac
trap '' TERM INT
sleep 60)"));
  INFO(played.text);
  REQUIRE_FALSE(played.result.ok());
  CHECK(absl::IsAborted(played.result.status()));
  const std::string message(played.result.status().message());
  CHECK(Has(message, "worker-1 (pid "));
  CHECK(Has(message, "was killed by signal 9 (Killed)"));
  CHECK(Has(message, "2 other processes were then killed"));
  CHECK(Has(played.text, "    the last words\n"));
  CHECK(played.seconds < 8.0);
}

TEST_CASE("a failure takes its last log line along; those who fail of it come after") {
  ScratchDirectory scratch;
  const Played played = Play(scratch, absl::StrCat(kServer, R"(
case "$*" in
  *"--rank 0"*) echo "error: row 17 is bad" >&2; exit 1 ;;
  *) sleep 0.5; echo "error: worker 0 failed" >&2; exit 1 ;;
esac)"));
  INFO(played.text);
  REQUIRE_FALSE(played.result.ok());
  const std::string message(played.result.status().message());
  CHECK(Has(message, "worker-0 (pid "));
  CHECK(Has(message, "ended with exit code 1: error: row 17 is bad"));
  CHECK(Has(played.text, "    error: worker 0 failed\n"));
}

TEST_CASE("a killed process is the cause even when others are seen to die first") {
  ScratchDirectory scratch;
  const Played played = Play(scratch, absl::StrCat(kServer, R"(
case "$*" in *"--rank 0"*) exit 1 ;; *) sleep 0.3; kill -9 $$ ;; esac)"));
  REQUIRE_FALSE(played.result.ok());
  CHECK(Has(std::string(played.result.status().message()), "worker-1 (pid "));
}

TEST_CASE("a server that dies before it listens ends the start") {
  ScratchDirectory scratch;
  const Played played = Play(scratch, "echo 'error: port in use' >&2; exit 1");
  REQUIRE_FALSE(played.result.ok());
  CHECK(Has(std::string(played.result.status().message()), "server-0 (pid "));
  CHECK(Has(std::string(played.result.status().message()), "error: port in use"));
}

TEST_CASE("a server that never listens runs into the deadline") {
  ScratchDirectory scratch;
  const Played played = Play(scratch, "sleep 60", 1, 1, absl::Milliseconds(300));
  REQUIRE_FALSE(played.result.ok());
  CHECK(absl::IsDeadlineExceeded(played.result.status()));
  CHECK(Has(std::string(played.result.status().message()), "server-0 did not listen within 300ms"));
}

TEST_CASE("a server's death while workers train is the job's failure") {
  ScratchDirectory scratch;
  const Played played = Play(scratch, R"(
if [ "$1" = server ]; then
  for last in "$@"; do :; done
  echo 127.0.0.1:4242 > "$last"
  sleep 0.5; kill -9 $$
fi
sleep 60)");
  REQUIRE_FALSE(played.result.ok());
  CHECK(Has(std::string(played.result.status().message()), "server-0 (pid "));
}

TEST_CASE("Ctrl-C reaches the workers, which end with 130; so does the launcher") {
  ScratchDirectory scratch;
  // In a child: signals are for whole processes.
  const pid_t child = fork();
  if (child == 0) {
    StopSignal::Install("");
    const Played played = Play(scratch, absl::StrCat(kServer, R"(
trap 'echo stopping; exit 130' INT
echo ready
while :; do sleep 0.05; done)"));
    _exit(played.result.ok() && Has(played.text, "worker-1 stopped\n") ? *played.result : 1);
  }
  const std::string log = scratch.File("out/logs/worker-1.log");
  for (int i = 0; i < 500 && !Has(Contents(log), "ready"); ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  kill(child, SIGINT);
  int status = 0;
  waitpid(child, &status, 0);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == kExitInterrupted);
  CHECK(Has(Contents(log), "stopping"));
}

TEST_CASE("a second Ctrl-C kills what does not stop") {
  ScratchDirectory scratch;
  const pid_t child = fork();
  if (child == 0) {
    StopSignal::Install("");
    const Played played = Play(scratch, absl::StrCat(kServer, R"(
trap '' INT
echo ready
while :; do sleep 0.05; done)"));
    _exit(absl::IsCancelled(played.result.status()) ? 7 : 1);
  }
  const std::string log = scratch.File("out/logs/worker-1.log");
  for (int i = 0; i < 500 && !Has(Contents(log), "ready"); ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  kill(child, SIGINT);
  absl::SleepFor(absl::Milliseconds(200));
  kill(child, SIGINT);
  int status = 0;
  waitpid(child, &status, 0);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 7);
}
