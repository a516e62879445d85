#include "worker/failure_cause.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <thread>

#include "tests/worker/scripted_client.h"

namespace pagoda {
namespace {

using Catch::Matchers::Contains;

TEST_CASE("an echo is replaced by the cause, which may come a moment later") {
  ScriptedClient client;
  std::thread reporter([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    client.SetHealth(absl::AbortedError("worker 1 failed: bad.csv:17: not a number"));
  });
  const absl::Status explained =
      ExplainFailure(absl::UnavailableError("allreduce: connection closed"), client);
  reporter.join();
  REQUIRE(absl::IsAborted(explained));
  REQUIRE_THAT(std::string(explained.message()),
               Contains("bad.csv:17") && Contains("connection closed"));
}

TEST_CASE("a worker's own error stands, without a wait") {
  ScriptedClient client;
  client.SetHealth(absl::AbortedError("something else"));
  const auto begin = std::chrono::steady_clock::now();
  const absl::Status own = absl::InvalidArgumentError("bad.csv:17");
  REQUIRE(ExplainFailure(own, client) == own);
  REQUIRE(std::chrono::steady_clock::now() - begin < std::chrono::seconds(1));
}

TEST_CASE("an echo that nobody explains stays as it was, and one that names the cause too") {
  ScriptedClient client;
  const absl::Status echo = absl::UnavailableError("server a:1 does not answer");
  REQUIRE(ExplainFailure(echo, client) == echo);
  client.SetHealth(absl::UnavailableError("server a:1 does not answer"));
  REQUIRE(ExplainFailure(echo, client) == echo);
}

}  // namespace
}  // namespace pagoda
