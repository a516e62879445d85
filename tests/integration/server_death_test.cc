// Real server processes that are killed, stopped or cut off during a call: every
// call ends within the timeout, and names the server.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <thread>

#include "absl/time/clock.h"
#include "tests/server/service_session.h"
#include "tests/worker/temporary_directory.h"
#include "worker/parameter_client_grpc.h"

namespace pagoda {
namespace {

class ServerProcess {
 public:
  explicit ServerProcess(const std::string& data_dir) {
    int out[2];
    PAGODA_CHECK(pipe(out) == 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(out[1], STDOUT_FILENO);
      execl(PAGODA_SERVER_PROCESS, PAGODA_SERVER_PROCESS, data_dir.c_str(), nullptr);
      _exit(127);
    }
    close(out[1]);
    std::FILE* lines = fdopen(out[0], "r");
    char line[256];
    int port = 0;
    while (port == 0 && std::fgets(line, sizeof(line), lines) != nullptr) port = std::atoi(line);
    PAGODA_CHECK(port > 0);
    std::fclose(lines);
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  ~ServerProcess() { Signal(SIGKILL); }

  const std::string& address() const { return address_; }
  void Signal(int number) {
    if (pid_ <= 0) return;
    kill(pid_, number);
    if (number != SIGKILL) return;
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
  std::string address_;
};

// Worker 0 of two waits in a push and a pull at two servers; what ends the calls
// when the second server gets `signal`, and after how long.
void CheckDeath(int signal) {
  TemporaryDirectory directories[2];
  ServerProcess first(directories[0].path()), second(directories[1].path());
  GrpcClientOptions options;
  options.servers = {first.address(), second.address()};
  auto client = MakeGrpcClient(options).value();
  auto other = MakeGrpcClient(options).value();
  SessionOptions session;
  session.job = "job";
  session.num_workers = 2;
  session.tables = {MakeTable("user", 4)};
  session.timeout = absl::Seconds(2);
  REQUIRE(client->Open(session).ok());
  session.rank = 1;
  REQUIRE(other->Open(session).ok());
  const std::vector<FeatureId> ids = {1, 2, 3, 4, 5, 6, 7, 8};
  const std::vector<float> gradients(32, 1.0f);
  std::vector<float> rows(32);
  Answer push, pull;
  client->Push(1, {{0, ids, gradients.data()}}, 1.0f, push.Done());
  client->Pull({{0, ids, rows.data()}}, 1, pull.Done());
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  CHECK_FALSE(push.here());

  const absl::Time start = absl::Now();
  second.Signal(signal);
  const absl::Status status = push.Get();
  CHECK(absl::Now() - start < absl::Seconds(4));
  CHECK(pull.Get() == status);
  INFO(status.ToString());
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK_THAT(std::string(status.message()),
             Catch::StartsWith("server " + second.address() + " has not answered for 2.0 s"));
  CHECK(client->Health() == status);
  const absl::Time later = absl::Now();
  CHECK(client->SetKey("k", "v") == status);
  client->Leave(status);  // Reaches the first server, does not wait for the second.
  CHECK(absl::Now() - later < absl::Seconds(4));
}

TEST_CASE("a server killed during calls is named within the timeout") {
  CheckDeath(SIGKILL);
}

TEST_CASE("a server that stops answering during calls is named within the timeout") {
  CheckDeath(SIGSTOP);
}

TEST_CASE("an acknowledged push survives kill -9 of the server") {
  TemporaryDirectory directory;
  const std::vector<FeatureId> ids = {7};
  const std::vector<float> gradients(4, 1.0f);
  std::vector<float> before(4), after(4);
  SessionOptions session;
  session.job = "job";
  session.tables = {MakeTable("user", 4)};
  for (const bool restarted : {false, true}) {
    ServerProcess server(directory.path());
    GrpcClientOptions options;
    options.servers = {server.address()};
    auto client = MakeGrpcClient(options).value();
    const absl::Status opened = client->Open(session);
    INFO(opened.ToString());
    REQUIRE(opened.ok());
    if (!restarted) {
      Answer push;
      client->Push(1, {{0, ids, gradients.data()}}, 1.0f, push.Done());
      REQUIRE(push.Get().ok());
    }
    Answer pull;
    client->Pull({{0, ids, restarted ? after.data() : before.data()}}, 0, pull.Done());
    REQUIRE(pull.Get().ok());
    server.Signal(SIGKILL);
  }
  CHECK(after == before);
}

}  // namespace
}  // namespace pagoda
