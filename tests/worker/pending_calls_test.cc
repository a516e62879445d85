#include "worker/pending_calls.h"

#include <catch2/catch.hpp>
#include <thread>

#include "tests/worker/scripted_client.h"

namespace pagoda {
namespace {

using Catch::Matchers::Contains;

TEST_CASE("a wait returns once few enough calls are unfinished") {
  ScriptedClient client;
  PendingCalls calls;
  REQUIRE(calls.Wait(0, client, absl::Seconds(1), "x").ok());
  calls.Started();
  calls.Started();
  REQUIRE(calls.Wait(2, client, absl::ZeroDuration(), "x").ok());
  REQUIRE(absl::IsDeadlineExceeded(calls.Wait(1, client, absl::ZeroDuration(), "x")));
  std::thread finisher([&] {
    calls.Finished(absl::OkStatus());
    calls.Finished(absl::OkStatus());
  });
  REQUIRE(calls.Wait(0, client, absl::Seconds(10), "x").ok());
  finisher.join();
}

TEST_CASE("the first error ends every wait, at once and for good") {
  ScriptedClient client;
  PendingCalls calls;
  calls.Started();
  calls.Started();
  calls.Started();
  calls.Finished(absl::NotFoundError("first"));
  calls.Finished(absl::UnavailableError("second"));
  REQUIRE(absl::IsNotFound(calls.Wait(0, client, absl::Seconds(60), "x")));
  REQUIRE(absl::IsNotFound(calls.Wait(5, client, absl::Seconds(60), "x")));
}

TEST_CASE("a wait ends with the job's cause when a peer dies") {
  ScriptedClient client;
  PendingCalls calls;
  calls.Started();
  std::thread killer([&] { client.SetHealth(absl::AbortedError("worker 1 was silent")); });
  const absl::Status status = calls.Wait(0, client, absl::Seconds(60), "a pull of rows");
  killer.join();
  REQUIRE(absl::IsAborted(status));
  REQUIRE_THAT(std::string(status.message()), Contains("worker 1 was silent"));
}

TEST_CASE("a wait has a deadline even when all looks well, and says what it waited for") {
  ScriptedClient client;
  PendingCalls calls;
  calls.Started();
  const absl::Status status = calls.Wait(0, client, absl::Milliseconds(150), "a pull of rows");
  REQUIRE(absl::IsDeadlineExceeded(status));
  REQUIRE_THAT(std::string(status.message()), Contains("a pull of rows") && Contains("150ms"));
}

}  // namespace
}  // namespace pagoda
