#include "server/parameter_service.h"

#include <catch2/catch.hpp>
#include <string>
#include <thread>

#include "tests/server/service_session.h"
#include "tests/worker/temporary_directory.h"

namespace pagoda {
namespace {

void Join(ParameterService& service, const proto::HelloRequest& hello) {
  const auto reply = service.Hello(hello);
  INFO(reply.status().ToString());
  REQUIRE(reply.ok());
}

std::string Message(const absl::Status& status) {
  return std::string(status.message());
}

TEST_CASE("Hello creates tables and gives their indices in the order asked") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  const auto first = service->Hello(MakeHelloOf(0, 2, {MakeTable("a", 2), MakeTable("b", 3)}));
  REQUIRE(first.ok());
  CHECK(first->version() == kPagodaVersion);
  REQUIRE(first->table_ids_size() == 2);
  CHECK(service->TableDim(first->table_ids(0)).value() == 2);
  CHECK(service->TableDim(first->table_ids(1)).value() == 3);
  CHECK(service->TableDim(77).status().code() == absl::StatusCode::kNotFound);
  const auto second = service->Hello(MakeHelloOf(1, 2, {MakeTable("a", 2), MakeTable("b", 3)}));
  REQUIRE(second.ok());
  CHECK(second->table_ids(1) == first->table_ids(1));
  CHECK(service->TableStats()->tables_size() == 2);
}

TEST_CASE("another version is refused, with both named") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  proto::HelloRequest hello = MakeHelloOf(0, 1, {});
  hello.set_version("9.9.9");
  const absl::Status status = service->Hello(hello).status();
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  CHECK_THAT(Message(status), Catch::Contains("9.9.9") && Catch::Contains(kPagodaVersion));
  hello = MakeHelloOf(0, 1, {});
  hello.set_protocol(kProtocolVersion + 1);
  CHECK(service->Hello(hello).status().code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("a server may be told to be another version") {
  const TemporaryDirectory directory;
  ParameterServiceOptions options;
  options.data_dir = directory.path();
  options.version = "0.0.7";
  auto service = ParameterService::Open(options);
  REQUIRE(service.ok());
  CHECK_THAT(Message((*service)->Hello(MakeHelloOf(0, 1, {})).status()),
             Catch::Contains("the server is of version 0.0.7"));
}

TEST_CASE("options out of range are refused") {
  const TemporaryDirectory directory;
  ParameterServiceOptions options;
  options.data_dir = directory.path();
  options.durability = "eternal";
  CHECK(ParameterService::Open(options).status().code() == absl::StatusCode::kInvalidArgument);
  options.durability = "none";
  options.num_threads = 0;
  CHECK(ParameterService::Open(options).status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("a table of other settings is refused, and says which") {
  const TemporaryDirectory directory;
  {
    auto service = OpenService(directory.path());
    Join(*service, MakeHelloOf(0, 1, {MakeTable("user", 4)}));
  }
  auto service = OpenService(directory.path());
  const absl::Status dim = service->Hello(MakeHelloOf(0, 1, {MakeTable("user", 8)})).status();
  CHECK(dim.code() == absl::StatusCode::kFailedPrecondition);
  CHECK_THAT(Message(dim), Catch::Contains("user") && Catch::Contains("dim"));
  const absl::Status optimizer =
      service->Hello(MakeHelloOf(0, 1, {MakeTable("user", 4, "adam")})).status();
  CHECK(optimizer.code() == absl::StatusCode::kFailedPrecondition);
  // The refusals have not started a session.
  Join(*service, MakeHelloOf(0, 1, {MakeTable("user", 4)}));
}

TEST_CASE("tables that make no sense are refused before any is created") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  std::vector<proto::TableSpec> tables = {MakeTable("good", 4), MakeTable("bad", 4)};
  SECTION("no dim") {
    tables[1].set_dim(0);
  }
  SECTION("no such optimizer") {
    tables[1].mutable_optimizer()->set_kind("adagarden");
  }
  SECTION("no name") {
    tables[1].set_name("");
  }
  SECTION("a name twice") {
    tables[1].set_name("good");
  }
  SECTION("a negative deviation") {
    tables[1].set_init_stddev(-1);
  }
  const absl::Status status = service->Hello(MakeHelloOf(0, 1, tables)).status();
  INFO(status.ToString());
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(service->TableStats()->tables_size() == 0);
}

TEST_CASE("exact tables are refused in async mode") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  proto::TableSpec exact = MakeTable("user", 4, "sgd");
  exact.mutable_optimizer()->set_exact(true);
  proto::HelloRequest hello = MakeHelloOf(0, 1, {exact});
  hello.set_mode("async");
  const absl::Status status = service->Hello(hello).status();
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  CHECK_THAT(Message(status), Catch::Contains("user") && Catch::Contains("sync"));
  CHECK(service->TableStats()->tables_size() == 0);
  Join(*service, MakeHelloOf(0, 1, {exact}));
}

TEST_CASE("a directory remembers which shard it is") {
  const TemporaryDirectory directory;
  {
    auto service = OpenService(directory.path());
    proto::HelloRequest hello = MakeHelloOf(0, 1, {MakeTable("user", 1)});
    hello.set_shard(1);
    hello.set_num_shards(4);
    Join(*service, hello);
  }
  auto service = OpenService(directory.path());
  const absl::Status status = service->Hello(MakeHelloOf(0, 1, {MakeTable("user", 1)})).status();
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  CHECK_THAT(Message(status),
             Catch::Contains("holds shard 1 of 4") && Catch::Contains("shard 0 of 1"));
}

TEST_CASE("a worker that falls silent ends every wait, by name") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  for (uint32_t rank = 0; rank < 2; ++rank) {
    proto::HelloRequest hello = MakeHelloOf(rank, 2, {MakeTable("user", 1)});
    hello.set_timeout_ms(400);
    Join(*service, hello);
  }
  const std::vector<Rows> rows = {{0, {1}, {1.0f}}};
  Answer push, pull;
  std::vector<float> out(1);
  const std::vector<FeatureId> ids = {1};
  service->Push(MakeHeader(0, 1), AsPushes(rows), push.Done());
  service->Pull("job", 0, 1, {{0, ids, out.data()}}, pull.Done());
  std::optional<absl::StatusOr<std::string>> value;
  Answer key;
  service->GetKey("job", "key", absl::Seconds(60),
                  [&](absl::StatusOr<std::string> got) { key.Done()(got.status()); });

  proto::HeartbeatRequest beat;
  beat.set_job("job");
  beat.set_incarnation(1000);
  std::string failure;
  for (int i = 0; i < 100 && failure.empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    failure = service->Heartbeat(beat).failure();
  }
  CHECK_THAT(failure, Catch::StartsWith("worker 1 (rank 1) has not been heard from for 0."));
  for (Answer* answer : {&push, &pull, &key}) {
    CHECK(answer->Get() == absl::AbortedError(failure));
  }
  CHECK(service->JobHealth() == absl::AbortedError(failure));
  CHECK(PushAndWait(*service, MakeHeader(1, 1), rows) == absl::AbortedError(failure));
  CHECK(service->SetKey("job", "k", "v") == absl::AbortedError(failure));
  CHECK(PullAndWait(*service, 0, {1}).status() == absl::AbortedError(failure));
  CHECK_FALSE(service->JobFinished());
}

TEST_CASE("a worker that never joins ends the wait for it") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  proto::HelloRequest hello = MakeHelloOf(0, 2, {MakeTable("user", 1)});
  hello.set_timeout_ms(300);
  Join(*service, hello);
  Answer push;
  service->Push(MakeHeader(0, 1), {}, push.Done());
  proto::HeartbeatRequest beat;
  beat.set_job("job");
  beat.set_incarnation(1000);
  for (int i = 0; i < 100 && !push.here(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    service->Heartbeat(beat);
  }
  CHECK(push.Get().code() == absl::StatusCode::kAborted);
  CHECK_THAT(Message(push.Get()), Catch::StartsWith("worker 1 (rank 1) has not joined"));
}

TEST_CASE("a reported failure reaches the others") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  for (uint32_t rank = 0; rank < 2; ++rank) Join(*service, MakeHelloOf(rank, 2, {}));
  Answer push;
  service->Push(MakeHeader(0, 1), {}, push.Done());
  proto::HeartbeatRequest report;
  report.set_job("job");
  report.set_rank(1);
  report.set_incarnation(1001);
  report.set_failure("ratings.csv:17: bad number");
  service->Heartbeat(report);
  CHECK(push.Get() ==
        absl::AbortedError("worker 1 (rank 1) has failed: ratings.csv:17: bad number"));
}

TEST_CASE("a worker that leaves before the others' next step fails the job") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  for (uint32_t rank = 0; rank < 2; ++rank) Join(*service, MakeHelloOf(rank, 2, {}));
  proto::HeartbeatRequest leave;
  leave.set_job("job");
  leave.set_rank(1);
  leave.set_incarnation(1001);
  leave.set_leaving(true);
  service->Heartbeat(leave);
  const absl::Status status = PushAndWait(*service, MakeHeader(0, 1), {});
  CHECK(status.code() == absl::StatusCode::kAborted);
  CHECK_THAT(Message(status), Catch::Contains("worker 1 (rank 1) has left"));
}

TEST_CASE("the job is finished when all have left, and another may come") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  Join(*service, MakeHelloOf(0, 1, {MakeTable("user", 1)}));
  CHECK_FALSE(service->JobFinished());
  proto::HeartbeatRequest leave;
  leave.set_job("job");
  leave.set_incarnation(1000);
  leave.set_leaving(true);
  CHECK(service->Heartbeat(leave).failure().empty());
  CHECK(service->JobFinished());
  CHECK(service->JobHealth().ok());
  proto::HelloRequest next = MakeHelloOf(0, 1, {MakeTable("user", 1)});
  next.set_job("other");
  Join(*service, next);
  CHECK_FALSE(service->JobFinished());
}

TEST_CASE("a resumed job starts at its epoch, and the former one's pushes are over") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  Join(*service, MakeHelloOf(0, 1, {MakeTable("user", 1)}));
  CHECK(PushAndWait(*service, MakeHeader(0, 1), {{0, {1}, {1.0f}}}).ok());
  proto::HeartbeatRequest report;
  report.set_job("job");
  report.set_incarnation(1000);
  report.set_failure("stopped");
  service->Heartbeat(report);

  proto::HelloRequest resume = MakeHelloOf(0, 1, {MakeTable("user", 1)});
  resume.set_epoch(2);
  resume.set_incarnation(2000);
  resume.set_applied_step(1);
  Join(*service, resume);
  const absl::Status late = PushAndWait(*service, MakeHeader(0, 2), {{0, {1}, {1.0f}}});
  CHECK(late.code() == absl::StatusCode::kFailedPrecondition);
  CHECK_THAT(Message(late), Catch::Contains("epoch 1"));
  PushHeader header = MakeHeader(0, 2);
  header.epoch = 2;
  header.incarnation = 2000;
  header.sequence = 1;
  CHECK(PullAndWait(*service, 0, {1}, 1).ok());  // applied_step: no wait.
  CHECK(PushAndWait(*service, header, {{0, {1}, {1.0f}}}).ok());
}

TEST_CASE("keys meet their waiters, and waits end") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  Join(*service, MakeHelloOf(0, 1, {}));
  absl::StatusOr<std::string> got = absl::UnknownError("not yet");
  Answer came;
  service->GetKey("job", "rank-1", absl::Seconds(20), [&](absl::StatusOr<std::string> value) {
    got = value;
    came.Done()(absl::OkStatus());
  });
  CHECK_FALSE(came.here());
  CHECK(service->SetKey("job", "rank-1", "10.0.0.1:333").ok());
  REQUIRE(came.Get().ok());
  CHECK(got.value() == "10.0.0.1:333");

  Answer late;
  const auto start = std::chrono::steady_clock::now();
  service->GetKey("job", "rank-2", absl::Milliseconds(200),
                  [&](absl::StatusOr<std::string> value) { late.Done()(value.status()); });
  CHECK(late.Get().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(200));
  CHECK(service->SetKey("other job", "k", "v").code() == absl::StatusCode::kFailedPrecondition);

  CHECK_FALSE(late.Get().ok());
}

TEST_CASE("the board may be used before any job, and outlives one") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  Answer early;
  service->GetKey("", "k", absl::Seconds(20),
                  [&](absl::StatusOr<std::string> value) { early.Done()(value.status()); });
  Join(*service, MakeHelloOf(0, 1, {}));
  proto::HeartbeatRequest report;
  report.set_job("job");
  report.set_incarnation(1000);
  report.set_failure("stopped");
  service->Heartbeat(report);
  CHECK_FALSE(early.here());
  CHECK(service->SetKey("job", "k", "v").code() == absl::StatusCode::kAborted);
  CHECK(service->SetKey("", "k", "v").ok());
  CHECK(early.Get().ok());
}

TEST_CASE("shutting down answers what waits and refuses what comes") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  for (uint32_t rank = 0; rank < 2; ++rank) {
    Join(*service, MakeHelloOf(rank, 2, {MakeTable("user", 1)}));
  }
  Answer push;
  service->Push(MakeHeader(0, 1), {}, push.Done());
  const absl::Status cause = absl::AbortedError("the server is stopping");
  service->Shutdown(cause);
  CHECK(push.Get() == cause);
  CHECK(PushAndWait(*service, MakeHeader(1, 1), {}) == cause);
  CHECK(PullAndWait(*service, 0, {1}).status() == cause);
  CHECK(service->PrepareCut("c").status() == cause);
  CHECK(service->Hello(MakeHelloOf(0, 1, {})).status() == cause);
  service->Shutdown(absl::AbortedError("again"));
  CHECK(PullAndWait(*service, 0, {1}).status() == cause);
}

}  // namespace
}  // namespace pagoda
