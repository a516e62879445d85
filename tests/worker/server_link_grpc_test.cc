#include "worker/server_link_grpc.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/time/clock.h"

namespace pagoda {
namespace {

// A server that answers pushes as the test says, and remembers what it was sent.
class ScriptedServer final : public proto::ParameterServer::Service {
 public:
  ScriptedServer() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~ScriptedServer() override {
    release_ = true;
    server_->Shutdown();
  }

  grpc::Status Push(grpc::ServerContext* context, const proto::PushRequest* request,
                    proto::PushReply* reply) override {
    std::lock_guard<std::mutex> lock(mutex_);
    pushes_.push_back(request->SerializeAsString());
    if (pushes_.size() <= script_.size()) {
      return grpc::Status(script_[pushes_.size() - 1], "scripted");
    }
    reply->set_applied_step(request->step());
    return grpc::Status::OK;
  }
  grpc::Status Pull(grpc::ServerContext* context, const proto::PullRequest*,
                    proto::PullReply*) override {
    while (!release_ && !context->IsCancelled()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return grpc::Status::OK;
  }
  grpc::Status Heartbeat(grpc::ServerContext*, const proto::HeartbeatRequest* request,
                         proto::HeartbeatReply* reply) override {
    reply->set_failure(request->failure());
    return grpc::Status::OK;
  }

  void Script(std::vector<grpc::StatusCode> script) { script_ = std::move(script); }
  std::vector<std::string> pushes() {
    std::lock_guard<std::mutex> lock(mutex_);
    return pushes_;
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  std::mutex mutex_;
  std::vector<grpc::StatusCode> script_;
  std::vector<std::string> pushes_;
  std::atomic<bool> release_{false};
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// A link whose retries run, as the client's own thread makes them.
struct TickedLink {
  explicit TickedLink(const std::string& address)
      : link({address, 1 << 20, absl::Seconds(30)}), ticker([this] {
          while (!stop) {
            link.RunDueRetries(ServerLink::Clock::now());
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
          }
        }) {}
  ~TickedLink() {
    stop = true;
    ticker.join();
    link.Fail(absl::CancelledError("the test is over"));
  }

  absl::Status Push(const ServerLink::CallOptions& options = {}) {
    auto request = std::make_shared<proto::PushRequest>();
    request->set_sequence(42);
    request->set_step(7);
    proto::PushReply reply;
    return link.CallAndWait<proto::PushRequest, proto::PushReply>(
        [](ServerLink::Stub::async_interface* async, auto... arguments) {
          async->Push(arguments...);
        },
        request, options, &reply);
  }
  void Pull(std::function<void(absl::Status)> done) {
    link.Call<proto::PullRequest, proto::PullReply>(
        [](ServerLink::Stub::async_interface* async, auto... arguments) {
          async->Pull(arguments...);
        },
        std::make_shared<proto::PullRequest>(), {},
        [done](absl::Status status, proto::PullReply&) { done(status); });
  }

  ServerLink link;
  std::atomic<bool> stop{false};
  std::thread ticker;
};

double SecondsSince(absl::Time start) {
  return absl::ToDoubleSeconds(absl::Now() - start);
}

TEST_CASE("UNAVAILABLE and RESOURCE_EXHAUSTED are retried with the very same request") {
  ScriptedServer server;
  server.Script({grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::RESOURCE_EXHAUSTED,
                 grpc::StatusCode::UNAVAILABLE});
  TickedLink ticked(server.address());
  CHECK(ticked.Push().ok());
  const std::vector<std::string> pushes = server.pushes();
  REQUIRE(pushes.size() == 4);
  for (const std::string& push : pushes) CHECK(push == pushes[0]);
}

TEST_CASE("a limit that stays is told after a few tries") {
  ScriptedServer server;
  server.Script(std::vector<grpc::StatusCode>(100, grpc::StatusCode::RESOURCE_EXHAUSTED));
  TickedLink ticked(server.address());
  const absl::Status status = ticked.Push();
  CHECK(status == absl::ResourceExhaustedError("server " + server.address() + ": scripted"));
  CHECK(server.pushes().size() == 6);
}

TEST_CASE("other answers are final, and name the server") {
  ScriptedServer server;
  server.Script({grpc::StatusCode::INVALID_ARGUMENT});
  TickedLink ticked(server.address());
  CHECK(ticked.Push() == absl::InvalidArgumentError("server " + server.address() + ": scripted"));
  CHECK(server.pushes().size() == 1);
}

TEST_CASE("a call that must not be retried is not") {
  ScriptedServer server;
  server.Script({grpc::StatusCode::UNAVAILABLE});
  TickedLink ticked(server.address());
  ServerLink::CallOptions options;
  options.retry = false;
  CHECK(ticked.Push(options).code() == absl::StatusCode::kUnavailable);
  CHECK(server.pushes().size() == 1);
}

TEST_CASE("retries end at the call's deadline") {
  ScriptedServer server;
  server.Script(std::vector<grpc::StatusCode>(1000, grpc::StatusCode::UNAVAILABLE));
  TickedLink ticked(server.address());
  ServerLink::CallOptions options;
  options.deadline = absl::Milliseconds(600);
  const absl::Time start = absl::Now();
  CHECK(ticked.Push(options).code() == absl::StatusCode::kUnavailable);
  CHECK(SecondsSince(start) < 3);
  CHECK(server.pushes().size() >= 2);
}

TEST_CASE("failing the link ends calls under way, waiting retries and later calls with one cause") {
  ScriptedServer server;
  server.Script(std::vector<grpc::StatusCode>(1000, grpc::StatusCode::UNAVAILABLE));
  TickedLink ticked(server.address());
  const absl::Status cause = absl::AbortedError("worker 1 died");
  std::atomic<int> caused{0};
  for (int i = 0; i < 5; ++i) {
    ticked.Pull([&](absl::Status status) { caused += status == cause ? 1 : 100; });
  }
  std::thread pushing([&] { caused += ticked.Push() == cause ? 1 : 100; });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  CHECK(caused == 0);
  const absl::Time start = absl::Now();
  ticked.link.Fail(cause);
  pushing.join();
  while (caused < 6 && SecondsSince(start) < 5) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  CHECK(caused == 6);
  CHECK(ticked.Push() == cause);
}

TEST_CASE("heartbeats bring the job's failure, and keep the time of the last answer") {
  ScriptedServer server;
  TickedLink ticked(server.address());
  proto::HeartbeatRequest beat;
  beat.set_failure("as told");
  std::atomic<bool> came{false};
  const auto before = ServerLink::Clock::now();
  ticked.link.Heartbeat(beat, absl::Seconds(5),
                        [&](const std::string& failure) { came = failure == "as told"; });
  const absl::Time start = absl::Now();
  while (!came && SecondsSince(start) < 5) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  CHECK(came);
  CHECK(ticked.link.last_answer() >= before);
  CHECK(ticked.link.last_error().empty());
}

TEST_CASE("a server that is not there leaves its last answer old, and says why") {
  TickedLink ticked("127.0.0.1:1");
  const auto before = ticked.link.last_answer();
  ServerLink::CallOptions options;
  options.deadline = absl::Milliseconds(500);
  CHECK(ticked.Push(options).code() == absl::StatusCode::kUnavailable);
  CHECK(ticked.link.last_answer() == before);
  CHECK_THAT(ticked.link.last_error(), Catch::Contains("Connection refused"));
  const auto now = ServerLink::Clock::now();
  ticked.link.ForgiveSilence(now);
  CHECK(ticked.link.last_answer() == now);
}

}  // namespace
}  // namespace pagoda
