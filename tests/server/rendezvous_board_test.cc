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
  Run(board.Get("key", kStart, waiter.Done()));
  REQUIRE(waiter.answer.has_value());
  CHECK(waiter.answer->value() == value);
}

TEST_CASE("a waiter is answered when its key is set, and no other's") {
  RendezvousBoard board;
  Waiter mine, also_mine, other;
  Run(board.Get("key", kStart, mine.Done()));
  Run(board.Get("key", kStart, also_mine.Done()));
  Run(board.Get("other", kStart, other.Done()));
  CHECK(board.has_waiters());
  Run(board.Set("key", "").value());
  REQUIRE(mine.answer.has_value());
  CHECK(mine.answer->value().empty());
  CHECK(also_mine.answer.has_value());
  CHECK_FALSE(other.answer.has_value());
}

TEST_CASE("a waiter's deadline names the key") {
  RendezvousBoard board;
  Waiter soon, later;
  Run(board.Get("rank-1", kStart + std::chrono::seconds(1), soon.Done()));
  Run(board.Get("rank-1", kStart + std::chrono::seconds(9), later.Done()));
  Run(board.Expire(kStart));
  CHECK_FALSE(soon.answer.has_value());
  Run(board.Expire(kStart + std::chrono::seconds(1)));
  REQUIRE(soon.answer.has_value());
  CHECK(soon.answer->status().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK_THAT(std::string(soon.answer->status().message()), Catch::Contains("rank-1"));
  CHECK_FALSE(later.answer.has_value());
}

TEST_CASE("a failure answers every waiter with its cause") {
  RendezvousBoard board;
  Waiter waiter;
  Run(board.Get("key", kStart, waiter.Done()));
  Run(board.Fail(absl::AbortedError("worker 1 died")));
  REQUIRE(waiter.answer.has_value());
  CHECK(waiter.answer->status() == absl::AbortedError("worker 1 died"));
  CHECK_FALSE(board.has_waiters());
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

TEST_CASE("the board as a whole has limits, and replacing does not count twice") {
  RendezvousBoard board;
  const std::string value(RendezvousBoard::kValueBytesMax, 'v');
  const size_t room = RendezvousBoard::kBytesMax / RendezvousBoard::kValueBytesMax;
  for (size_t i = 0; i < room; ++i) REQUIRE(board.Set(std::to_string(i), value).ok());
  CHECK(board.Set("one more", "x").status().code() == absl::StatusCode::kResourceExhausted);
  CHECK(board.Set("0", value).ok());
  CHECK(board.Set("0", "").ok());
  CHECK(board.Set("one more", "x").ok());
  board.Wipe();
  Waiter waiter;
  Run(board.Get("0", kStart, waiter.Done()));
  CHECK_FALSE(waiter.answer.has_value());
}

TEST_CASE("waiters are bounded") {
  RendezvousBoard board;
  Waiter waiter;
  for (size_t i = 0; i < RendezvousBoard::kWaitersMax; ++i) {
    Run(board.Get("key", kStart, [](absl::StatusOr<std::string>) {}));
  }
  Run(board.Get("key", kStart, waiter.Done()));
  REQUIRE(waiter.answer.has_value());
  CHECK(waiter.answer->status().code() == absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace pagoda
