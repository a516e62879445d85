#include "server/sync_step.h"

#include <catch2/catch.hpp>

namespace pagoda {
namespace {

WorkerPush PushOf(uint32_t rank, Step step, float factor = 1.0f) {
  WorkerPush push;
  push.header.rank = rank;
  push.header.step = step;
  push.header.learning_rate_factor = factor;
  return push;
}

TEST_CASE("a step is complete when all are in, and comes out in rank order") {
  SyncStep step;
  for (const uint32_t rank : {2u, 0u, 1u}) {
    CHECK_FALSE(step.Complete(3));
    REQUIRE(step.Check(PushOf(rank, 5).header).ok());
    step.Add(PushOf(rank, 5));
  }
  REQUIRE(step.Complete(3));
  CHECK(step.applied_step() == 4);
  const std::vector<WorkerPush> pushes = step.Take();
  for (uint32_t rank = 0; rank < 3; ++rank) CHECK(pushes[rank].header.rank == rank);
  CHECK_FALSE(step.Check(PushOf(0, 6).header).ok());  // While it is being applied.
  step.Finish(true);
  CHECK(step.applied_step() == 5);
  CHECK_FALSE(step.Check(PushOf(0, 5).header).ok());
  CHECK(step.Check(PushOf(0, 6).header).ok());
}

TEST_CASE("a step that was refused may be pushed again") {
  SyncStep step;
  step.Add(PushOf(0, 1));
  (void)step.Take();
  step.Finish(false);
  CHECK(step.applied_step() == 0);
  CHECK(step.Check(PushOf(0, 1).header).ok());
}

TEST_CASE("pushes of other steps, again, or with another rate are refused") {
  SyncStep step;
  step.Add(PushOf(0, 3, 0.5f));
  CHECK_FALSE(step.Check(PushOf(1, 4, 0.5f).header).ok());
  CHECK_FALSE(step.Check(PushOf(1, 2, 0.5f).header).ok());
  CHECK_FALSE(step.Check(PushOf(0, 3, 0.5f).header).ok());
  CHECK_FALSE(step.Check(PushOf(1, 3, 0.25f).header).ok());
  CHECK(step.Check(PushOf(1, 3, 0.5f).header).ok());
}

TEST_CASE("a session starts after the steps its rows hold") {
  SyncStep step;
  step.Add(PushOf(0, 1));
  step.Reset(200);
  CHECK(step.empty());
  CHECK(step.applied_step() == 200);
  CHECK_FALSE(step.Check(PushOf(0, 200).header).ok());
  CHECK(step.Check(PushOf(0, 201).header).ok());
}

}  // namespace
}  // namespace pagoda
