#include "worker/worker_meeting.h"

#include <catch2/catch.hpp>
#include <set>
#include <thread>

#include "absl/time/clock.h"
#include "tests/worker/board_client.h"

namespace pagoda {
namespace {

struct Coming {
  int rank = 0;
  absl::Duration delay;
};

// The workers come one after another; their prefixes or errors, in the order given.
std::vector<absl::StatusOr<std::string>> Meet(Board& board, int num_workers,
                                              const std::vector<Coming>& coming,
                                              absl::Duration timeout = absl::Seconds(10),
                                              const std::string& job = "job") {
  std::vector<absl::StatusOr<std::string>> prefixes(coming.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < coming.size(); ++i) {
    threads.emplace_back([&, i] {
      absl::SleepFor(coming[i].delay);
      BoardClient client(&board);
      prefixes[i] = MeetWorkers({job, coming[i].rank, num_workers, timeout}, &client);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return prefixes;
}

std::string TheOnePrefix(const std::vector<absl::StatusOr<std::string>>& prefixes) {
  std::set<std::string> distinct;
  for (const auto& prefix : prefixes) {
    INFO(prefix.status().ToString());
    REQUIRE(prefix.ok());
    distinct.insert(*prefix);
  }
  REQUIRE(distinct.size() == 1);
  return *distinct.begin();
}

TEST_CASE("workers meet in any order of coming") {
  const absl::Duration late = absl::Milliseconds(120);
  for (const auto& coming : std::vector<std::vector<Coming>>{{{0, {}}, {1, {}}, {2, {}}},
                                                             {{0, late}, {1, {}}, {2, {}}},
                                                             {{0, {}}, {1, 2 * late}, {2, late}}}) {
    Board board;
    CHECK_THAT(TheOnePrefix(Meet(board, 3, coming)), Catch::StartsWith("job/meeting-"));
  }
}

TEST_CASE("a later run on the same board meets anew, whoever comes first") {
  Board board;
  std::set<std::string> seen;
  for (int run = 0; run < 6; ++run) {
    CAPTURE(run);
    const absl::Duration late = absl::Milliseconds(100);
    const std::string prefix =
        TheOnePrefix(Meet(board, 2,
                          {{0, run % 2 == 0 ? late : absl::ZeroDuration()},
                           {1, run % 2 == 1 ? late : absl::ZeroDuration()}}));
    CHECK(seen.insert(prefix).second);
  }
}

TEST_CASE("what a run that broke off left behind does no harm") {
  Board board;
  // Worker 1 of a dead run, then worker 0 of a dead run: neither met anyone.
  CHECK_FALSE(Meet(board, 2, {{1, {}}}, absl::Milliseconds(100))[0].ok());
  CHECK_FALSE(Meet(board, 2, {{0, {}}}, absl::Milliseconds(100))[0].ok());
  TheOnePrefix(Meet(board, 2, {{0, {}}, {1, absl::Milliseconds(150)}}));
  CHECK_FALSE(Meet(board, 2, {{0, {}}}, absl::Milliseconds(100))[0].ok());
  TheOnePrefix(Meet(board, 2, {{0, absl::Milliseconds(150)}, {1, {}}}));
}

TEST_CASE("who does not come is named") {
  Board board;
  auto missing = Meet(board, 3, {{0, {}}, {2, {}}}, absl::Milliseconds(300));
  for (const auto& prefix : missing) {
    CHECK(prefix.status() == absl::DeadlineExceededError(
                                 "worker 1 (rank 1) has not come to the rendezvous within 300ms"));
  }
  Board empty;
  missing = Meet(empty, 2, {{1, {}}}, absl::Milliseconds(200));
  CHECK_THAT(std::string(missing[0].status().message()),
             Catch::Contains("worker 0 (rank 0) has not come"));
}

TEST_CASE("jobs on one board do not meet each other") {
  Board board;
  std::string a, b;
  std::thread other([&] {
    auto met = Meet(board, 2, {{0, {}}, {1, absl::Milliseconds(50)}}, absl::Seconds(10), "b");
    b = met[0].value_or("") == met[1].value_or("-") ? *met[0] : "";
  });
  a = TheOnePrefix(Meet(board, 2, {{0, absl::Milliseconds(50)}, {1, {}}}, absl::Seconds(10), "a"));
  other.join();
  CHECK_THAT(a, Catch::StartsWith("a/"));
  CHECK_THAT(b, Catch::StartsWith("b/"));
}

TEST_CASE("a board that fails ends the wait with its cause") {
  Board board;
  std::thread failing([&] {
    absl::SleepFor(absl::Milliseconds(100));
    board.Fail(absl::UnavailableError("server 127.0.0.1:7000: gone"));
  });
  CHECK(Meet(board, 2, {{0, {}}})[0].status() ==
        absl::UnavailableError("server 127.0.0.1:7000: gone"));
  failing.join();
}

}  // namespace
}  // namespace pagoda
