#include "server/sequence_window.h"

#include <catch2/catch.hpp>
#include <cstdint>
#include <set>
#include <vector>

#include "base/random.h"

namespace pagoda {
namespace {

using State = SequenceWindow::State;

TEST_CASE("a new window knows no push") {
  const SequenceWindow window;
  CHECK(window.Find(1) == State::kNew);
  CHECK(window.Find(5'000'000) == State::kNew);
  CHECK(window.highest() == 0);
}

TEST_CASE("a recorded push is applied, its neighbours are new") {
  SequenceWindow window;
  window.Record(3);
  CHECK(window.Find(3) == State::kApplied);
  CHECK(window.Find(1) == State::kNew);
  CHECK(window.Find(2) == State::kNew);
  CHECK(window.Find(4) == State::kNew);
}

TEST_CASE("what has left the window is forgotten, not taken for new") {
  SequenceWindow window;
  window.Record(1);
  window.Record(SequenceWindow::kWidth);
  CHECK(window.Find(1) == State::kApplied);
  window.Record(SequenceWindow::kWidth + 1);
  CHECK(window.Find(1) == State::kForgotten);
  CHECK(window.Find(2) == State::kNew);
  window.Record(10 * SequenceWindow::kWidth);
  CHECK(window.Find(SequenceWindow::kWidth + 1) == State::kForgotten);
  CHECK(window.Find(9 * SequenceWindow::kWidth + 1) == State::kNew);
}

TEST_CASE("any order of pushes agrees with a plain set") {
  const uint64_t seed = 20240601;
  CAPTURE(seed);
  SequenceWindow window;
  std::set<uint64_t> applied;
  uint64_t highest = 0;
  for (uint64_t i = 0; i < 20000; ++i) {
    // Around the newest: sometimes ahead, mostly behind, now and then far behind.
    const uint64_t back = RandomBelow(RandomKey{seed}, 2 * i, 1100);
    const uint64_t ahead = RandomBelow(RandomKey{seed}, 2 * i + 1, 40);
    const uint64_t base = highest + ahead;
    const uint64_t sequence = base > back ? base - back : 1;
    State expected = applied.count(sequence) > 0 ? State::kApplied : State::kNew;
    if (sequence + SequenceWindow::kWidth <= highest) expected = State::kForgotten;
    CAPTURE(i, sequence, highest);
    REQUIRE(window.Find(sequence) == expected);
    if (expected == State::kNew) {
      window.Record(sequence);
      applied.insert(sequence);
      highest = std::max(highest, sequence);
    }
  }
}

}  // namespace
}  // namespace pagoda
