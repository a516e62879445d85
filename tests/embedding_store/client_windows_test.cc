#include "embedding_store/client_windows.h"

#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <set>

namespace pagoda {
namespace {

using Catch::Contains;

bool Applied(const ClientWindows& windows, const PushOrigin& origin) {
  const auto applied = windows.WasApplied(origin);
  INFO(applied.status());
  REQUIRE(applied.ok());
  return *applied;
}

TEST_CASE("a window remembers what it was told, in any order") {
  ClientWindows windows;
  CHECK_FALSE(Applied(windows, {7, 1, 1}));
  windows.Record({7, 1, 3}, 10);
  CHECK(Applied(windows, {7, 1, 3}));
  CHECK_FALSE(Applied(windows, {7, 1, 1}));
  CHECK_FALSE(Applied(windows, {7, 1, 2}));
  CHECK_FALSE(Applied(windows, {7, 1, 4}));
  CHECK_FALSE(Applied(windows, {8, 1, 3}));
  windows.Record({7, 1, 1}, 11);
  windows.Record({7, 1, 1}, 11);
  CHECK(Applied(windows, {7, 1, 1}));
  CHECK_FALSE(Applied(windows, {7, 1, 2}));
}

TEST_CASE("behind the window is an error, at its edge is not") {
  ClientWindows windows;
  const uint64_t width = ClientWindows::kWidth;
  windows.Record({1, 1, 1}, 1);
  windows.Record({1, 1, width}, 2);
  CHECK(Applied(windows, {1, 1, 1}));
  windows.Record({1, 1, width + 1}, 3);
  const absl::Status forgotten = windows.WasApplied({1, 1, 1}).status();
  CHECK(absl::IsResourceExhausted(forgotten));
  CHECK_THAT(std::string(forgotten.message()), Contains("push 1 of client 1"));
  CHECK_FALSE(Applied(windows, {1, 1, 2}));
  CHECK(Applied(windows, {1, 1, width}));
}

TEST_CASE("a higher incarnation starts afresh, and a lower one is refused") {
  ClientWindows windows;
  windows.Record({1, 5, 9}, 1);
  CHECK_FALSE(Applied(windows, {1, 6, 9}));
  CHECK(Applied(windows, {1, 5, 9}));  // Until the higher one has pushed.
  windows.Record({1, 6, 2}, 2);
  CHECK(Applied(windows, {1, 6, 2}));
  CHECK_FALSE(Applied(windows, {1, 6, 9}));
  CHECK(absl::IsFailedPrecondition(windows.WasApplied({1, 5, 9}).status()));
  CHECK(absl::IsFailedPrecondition(windows.WasApplied({1, 5, 10}).status()));
}

TEST_CASE("windows agree with a set, and come back from their bytes") {
  const auto seed = static_cast<uint32_t>(std::random_device{}());
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  ClientWindows windows;
  std::map<uint64_t, std::set<uint64_t>> applied;
  for (uint64_t push = 1; push <= 20000; ++push) {
    const uint64_t client = random() % 3;
    std::set<uint64_t>& known = applied[client];
    const uint64_t highest = known.empty() ? 0 : *known.rbegin();
    const uint64_t jump = random() % 500 == 0 ? random() % 3000 : random() % 6;
    const uint64_t back = random() % 1200;
    const uint64_t sequence =
        random() % 2 == 0 ? highest + jump : highest - std::min(highest, back);
    if (sequence == 0) continue;
    const PushOrigin origin{client, 1, sequence};
    if (highest >= sequence && highest - sequence >= ClientWindows::kWidth) {
      REQUIRE(absl::IsResourceExhausted(windows.WasApplied(origin).status()));
      continue;
    }
    REQUIRE(Applied(windows, origin) == known.contains(sequence));
    windows.Record(origin, push);
    known.insert(sequence);
    if (push % 1000 == 0) {
      ClientWindows copy;
      REQUIRE(copy.Decode(windows.Encode()).ok());
      REQUIRE(copy.Encode() == windows.Encode());
      windows = copy;
    }
  }
}

TEST_CASE("one client too many makes the longest silent one forgotten") {
  ClientWindows windows;
  for (uint64_t c = 0; c < ClientWindows::kClientsMax; ++c) windows.Record({c, 1, 1}, c + 1);
  windows.Record({0, 1, 2}, 100000);
  windows.Record({99999, 1, 1}, 100001);
  CHECK(windows.size() == ClientWindows::kClientsMax);
  CHECK(Applied(windows, {0, 1, 1}));
  CHECK_FALSE(Applied(windows, {1, 1, 1}));
  CHECK(Applied(windows, {2, 1, 1}));
  CHECK(windows.Encode().size() == ClientWindows::kClientsMax * 160);
}

TEST_CASE("bytes that no window made are refused and change nothing") {
  ClientWindows windows;
  windows.Record({1, 1, 1}, 1);
  windows.Record({2, 1, 1}, 2);
  const std::string bytes = windows.Encode();
  CHECK(absl::IsDataLoss(windows.Decode(bytes.substr(1))));
  CHECK(absl::IsDataLoss(windows.Decode(bytes.substr(160) + bytes.substr(0, 160))));
  std::string no_highest = bytes;
  no_highest[32] = 0;
  CHECK(absl::IsDataLoss(windows.Decode(no_highest)));
  CHECK(windows.Encode() == bytes);
  CHECK(windows.Decode("").ok());
  CHECK(windows.size() == 0);
}

}  // namespace
}  // namespace pagoda
