#include "worker/client_session.h"

#include <catch2/catch.hpp>
#include <limits>
#include <optional>
#include <thread>

#include "absl/time/clock.h"
#include "proto/version.h"

namespace pagoda {
namespace {

SessionOptions Session() {
  SessionOptions options;
  options.job = "adult";
  options.rank = 1;
  options.num_workers = 3;
  options.mode = "async";
  options.epoch = 7;
  options.applied_step = 200;
  options.timeout = absl::Seconds(4);
  options.tables.resize(2);
  options.tables[0].set_name("user");
  options.tables[0].set_dim(2);
  options.tables[1].set_name("item");
  options.tables[1].set_dim(1);
  return options;
}

TEST_CASE("incarnations only grow") {
  const uint64_t before = static_cast<uint64_t>(absl::GetCurrentTimeNanos());
  uint64_t last = NewIncarnation();
  CHECK(last >= before);
  for (int i = 0; i < 1000; ++i) {
    const uint64_t next = NewIncarnation();
    REQUIRE(next > last);
    last = next;
  }
}

TEST_CASE("Hello says all that the session is") {
  const proto::HelloRequest hello = MakeHello(Session(), 2, 4, 99);
  CHECK(hello.version() == kPagodaVersion);
  CHECK(hello.protocol() == kProtocolVersion);
  CHECK(hello.job() == "adult");
  CHECK(hello.rank() == 1);
  CHECK(hello.num_workers() == 3);
  CHECK(hello.shard() == 2);
  CHECK(hello.num_shards() == 4);
  CHECK(hello.mode() == "async");
  CHECK(hello.epoch() == 7);
  CHECK(hello.timeout_ms() == 4000);
  CHECK(hello.training());
  CHECK(hello.incarnation() == 99);
  CHECK(hello.applied_step() == 200);
  REQUIRE(hello.tables_size() == 2);
  CHECK(hello.tables(1).name() == "item");
}

TEST_CASE("tables out of range are refused") {
  const SessionOptions session = Session();
  for (const int table : {-1, 2}) {
    const std::vector<TablePull> pulls = {{table, {}, nullptr}};
    CHECK(CheckPulls(pulls, session).code() == absl::StatusCode::kInvalidArgument);
    const std::vector<TablePush> pushes = {{table, {}, nullptr}};
    CHECK(CheckPushes(pushes, session).code() == absl::StatusCode::kInvalidArgument);
  }
  CHECK(CheckPulls({}, session).ok());
  CHECK(CheckPushes({}, session).ok());
}

TEST_CASE("a gradient that is not finite never leaves the worker") {
  const std::vector<FeatureId> ids = {5, 6};
  const std::vector<float> gradients = {0, 0, 0, std::numeric_limits<float>::infinity()};
  const std::vector<TablePush> pushes = {{0, ids, gradients.data()}};
  const absl::Status status = CheckPushes(pushes, Session());
  CHECK(status == absl::InvalidArgumentError("table 'user': the gradient of id 6 is not finite"));
}

TEST_CASE("a session that reads takes no push") {
  SessionOptions session = Session();
  session.training = false;
  CHECK(CheckPushes({}, session).code() == absl::StatusCode::kFailedPrecondition);
}

absl::Status Joined(const std::vector<absl::Status>& parts, bool backwards) {
  std::optional<absl::Status> result;
  FanIn fan_in(parts.size(), [&](absl::Status status) { result = status; });
  for (size_t i = 0; i < parts.size(); ++i) {
    CHECK_FALSE(result.has_value());
    const size_t part = backwards ? parts.size() - 1 - i : i;
    fan_in.Finish(part, parts[part]);
  }
  REQUIRE(result.has_value());
  return *result;
}

TEST_CASE("one answer out of several: OK, or the cause, in any order of arrival") {
  const absl::Status ok;
  const absl::Status invalid = absl::InvalidArgumentError("bad");
  const absl::Status unavailable = absl::UnavailableError("gone");
  const absl::Status aborted = absl::AbortedError("job over");
  for (const bool backwards : {false, true}) {
    CHECK(Joined({ok}, backwards).ok());
    CHECK(Joined({ok, ok, ok}, backwards).ok());
    CHECK(Joined({ok, invalid, unavailable}, backwards) == invalid);
    CHECK(Joined({aborted, ok, unavailable}, backwards) == unavailable);
    CHECK(Joined({aborted, ok}, backwards) == aborted);
    CHECK(Joined({absl::CancelledError("x"), aborted}, backwards) == absl::CancelledError("x"));
  }
}

TEST_CASE("answers may come from any threads") {
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> calls{0};
    {
      FanIn fan_in(4, [&](absl::Status) { ++calls; });
      std::vector<std::thread> threads;
      for (size_t part = 0; part < 4; ++part) {
        threads.emplace_back([&fan_in, part] { fan_in.Finish(part, absl::OkStatus()); });
      }
      for (std::thread& thread : threads) thread.join();
    }
    REQUIRE(calls == 1);
  }
}

}  // namespace
}  // namespace pagoda
