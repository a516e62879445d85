#include "server/rendezvous_board.h"

#include <catch2/catch.hpp>
#include <optional>
#include <string>

namespace pagoda {
namespace {

struct Waiter {
  RendezvousBoard::Done Done() {
    return [this](absl::StatusOr<std::string> value) { answer = std::move(value); };
  }
  std::optional<absl::StatusOr<std::string>> answer;
};

void Run(const std::vector<RendezvousBoard::Answer>& answers) {
  for (const RendezvousBoard::Answer& answer : answers) answer.done(answer.value);
}

const SteadyTime kStart = SteadyTime() + std::chrono::hours(1);

TEST_CASE("a value that is there is answered at once") {
  RendezvousBoard board;
  const std::string value("a\0b", 3);
  Run(board.Set("key", value).value());
  Waiter waiter;
  Run(board.Get("job", "key", kStart, kStart + std::chrono::seconds(1), waiter.Done()));
  REQUIRE(waiter.answer.has_value());
  CHECK(waiter.answer->value() == value);
}

TEST_CASE("a waiter is answered when its key is set, and no other's") {
  RendezvousBoard board;
  Waiter mine, also_mine, other;
  Run(board.Get("job", "key", kStart, kStart + std::chrono::seconds(1), mine.Done()));
  Run(board.Get("job", "key", kStart, kStart + std::chrono::seconds(1), also_mine.Done()));
  Run(board.Get("job", "other", kStart, kStart + std::chrono::seconds(1), other.Done()));
  Run(board.Set("key", "").value());
  REQUIRE(mine.answer.has_value());
  CHECK(mine.answer->value().empty());
  CHECK(also_mine.answer.has_value());
  CHECK_FALSE(other.answer.has_value());
}

TEST_CASE("a waiter's deadline names the key") {
  RendezvousBoard board;
  Waiter soon, later;
  Run(board.Get("job", "rank-1", kStart, kStart + std::chrono::seconds(1), soon.Done()));
  Run(board.Get("job", "rank-1", kStart, kStart + std::chrono::seconds(9), later.Done()));
  Run(board.Expire(kStart));
  CHECK_FALSE(soon.answer.has_value());
  Run(board.Expire(kStart + std::chrono::seconds(1)));
  REQUIRE(soon.answer.has_value());
  CHECK(soon.answer->status().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK_THAT(std::string(soon.answer->status().message()), Catch::Contains("rank-1"));
  CHECK_FALSE(later.answer.has_value());
}

TEST_CASE("a wait of no length is answered at once") {
  RendezvousBoard board;
  Waiter waiter;
  Run(board.Get("", "key", kStart, kStart, waiter.Done()));
  REQUIRE(waiter.answer.has_value());
  CHECK(waiter.answer->status().code() == absl::StatusCode::kDeadlineExceeded);
}

TEST_CASE("a job's failure answers its waiters with the cause, and no others") {
  RendezvousBoard board;
  Waiter mine, other, nobodys;
  const SteadyTime later = kStart + std::chrono::seconds(1);
  Run(board.Get("job", "key", kStart, later, mine.Done()));
  Run(board.Get("other", "key", kStart, later, other.Done()));
  Run(board.Get("", "key", kStart, later, nobodys.Done()));
  Run(board.Fail("job", absl::AbortedError("worker 1 died")));
  REQUIRE(mine.answer.has_value());
  CHECK(mine.answer->status() == absl::AbortedError("worker 1 died"));
  CHECK_FALSE(other.answer.has_value());
  CHECK_FALSE(nobodys.answer.has_value());
  Run(board.FailAll(absl::AbortedError("the end")));
  REQUIRE(other.answer.has_value());
  CHECK(nobodys.answer->status() == absl::AbortedError("the end"));
}

TEST_CASE("keys and values have limits") {
  RendezvousBoard board;
  CHECK(board.Set("", "x").status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(board.Set(std::string(RendezvousBoard::kKeyBytesMax + 1, 'k'), "x").status().code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(board.Set(std::string(RendezvousBoard::kKeyBytesMax, 'k'), "x").ok());
  CHECK(board.Set("key", std::string(RendezvousBoard::kValueBytesMax + 1, 'v')).status().code() ==
        absl::StatusCode::kInvalidArgument);
}

TEST_CASE("a full board forgets what was set longest ago, and replacing does not count twice") {
  RendezvousBoard board;
  const SteadyTime later = kStart + std::chrono::seconds(1);
  auto has = [&](const std::string& key) {
    Waiter waiter;
    Run(board.Get("", key, later, kStart, waiter.Done()));
    REQUIRE(waiter.answer.has_value());
    return waiter.answer->ok();
  };
  const std::string value(RendezvousBoard::kValueBytesMax, 'v');
  const size_t room = RendezvousBoard::kBytesMax / RendezvousBoard::kValueBytesMax;
  for (size_t i = 0; i < room; ++i) REQUIRE(board.Set(std::to_string(i), value).ok());
  CHECK(board.Set("0", value).ok());  // Now the newest.
  CHECK(has("1"));
  CHECK(board.Set("one more", "x").ok());
  CHECK_FALSE(has("1"));
  CHECK(has("0"));
  CHECK(has("2"));
  for (size_t i = 0; i < RendezvousBoard::kKeysMax; ++i) {
    REQUIRE(board.Set("small " + std::to_string(i), "").ok());
  }
  CHECK_FALSE(has("0"));
  CHECK_FALSE(has("one more"));
  CHECK(has("small 0"));
}

TEST_CASE("waiters are bounded") {
  RendezvousBoard board;
  Waiter waiter;
  for (size_t i = 0; i < RendezvousBoard::kWaitersMax; ++i) {
    Run(board.Get("job", "key", kStart, kStart + std::chrono::seconds(1),
                  [](absl::StatusOr<std::string>) {}));
  }
  Run(board.Get("job", "key", kStart, kStart + std::chrono::seconds(1), waiter.Done()));
  REQUIRE(waiter.answer.has_value());
  CHECK(waiter.answer->status().code() == absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace pagoda
