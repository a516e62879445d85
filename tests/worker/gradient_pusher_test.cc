#include "worker/gradient_pusher.h"

#include <catch2/catch.hpp>

#include "tests/worker/scripted_client.h"

namespace pagoda {
namespace {

std::unique_ptr<RowGradients> Gradients(GradientPusher& pusher, const std::vector<FeatureId>& ids,
                                        float value) {
  auto gradients = pusher.Take();
  gradients->ids = {ids, {}};
  gradients->gradients.resize(2);
  gradients->gradients[0].assign(2 * ids.size() + 4, value);  // Larger than needed is legal.
  return gradients;
}

TEST_CASE("a push carries step, factor, ids and gradients; a table without ids is left out") {
  ScriptedClient client;
  GradientPusher pusher(&client, {.in_flight_max = 1, .wait_max = absl::Seconds(5)});
  REQUIRE(pusher.Push(7, Gradients(pusher, {3, 5}, 0.5f), 0.25f).ok());
  REQUIRE(pusher.Drain().ok());
  REQUIRE(client.pushes.size() == 1);
  REQUIRE(client.pushes[0].step == 7);
  REQUIRE(client.pushes[0].factor == 0.25f);
  REQUIRE(client.pushes[0].gradients.size() == 2);
  REQUIRE(client.pushes[0].gradients.at({0, 5}) == std::vector<float>{0.5f, 0.5f});
}

TEST_CASE("empty pushes are sent exactly when the servers wait for them") {
  for (const bool send_empty : {false, true}) {
    ScriptedClient client;
    GradientPusher pusher(
        &client, {.in_flight_max = 1, .send_empty = send_empty, .wait_max = absl::Seconds(5)});
    REQUIRE(pusher.Push(1, Gradients(pusher, {}, 0.0f), 1.0f).ok());
    REQUIRE(client.pushes.size() == (send_empty ? 1U : 0U));
  }
}

TEST_CASE("rows asked back come with the acknowledgement, once, and their buffers are used again") {
  ScriptedClient client;
  client.hold = true;
  GradientPusher pusher(&client, {.in_flight_max = 2, .wait_max = absl::Seconds(5)});
  auto gradients = Gradients(pusher, {3, 5, 8}, 0.5f);
  gradients->returned = {{0, 2}, {}};
  gradients->rows.assign(2, std::vector<float>(4));
  const float* const buffer = gradients->rows[0].data();
  REQUIRE(pusher.Push(7, std::move(gradients), 1.0f).ok());
  REQUIRE(pusher.TakeReturned().empty());
  client.Release();
  auto returned = pusher.TakeReturned();
  REQUIRE(returned.size() == 1);
  REQUIRE(pusher.TakeReturned().empty());
  REQUIRE(returned[0]->step == 7);
  REQUIRE(returned[0]->ids[0] == std::vector<FeatureId>{3, 5, 8});
  REQUIRE(returned[0]->rows[0] == std::vector<float>{10003.0f, 10003.25f, 10008.0f, 10008.25f});
  pusher.Recycle(std::move(returned[0]));
  REQUIRE(pusher.Take()->rows[0].data() == buffer);
  // Refused: no rows.
  gradients = Gradients(pusher, {3}, 0.5f);
  gradients->returned = {{0}, {}};
  gradients->rows.assign(2, std::vector<float>(2));
  REQUIRE(pusher.Push(8, std::move(gradients), 1.0f).ok());
  client.Release(absl::UnavailableError("gone"));
  REQUIRE(pusher.TakeReturned().empty());
}

TEST_CASE("no more pushes than allowed are in flight") {
  ScriptedClient client;
  client.hold = true;
  GradientPusher pusher(&client, {.in_flight_max = 2, .wait_max = absl::Milliseconds(150)});
  REQUIRE(pusher.Push(1, Gradients(pusher, {1}, 1.0f), 1.0f).ok());
  REQUIRE(pusher.Push(2, Gradients(pusher, {1}, 2.0f), 1.0f).ok());
  REQUIRE(absl::IsDeadlineExceeded(pusher.Push(3, Gradients(pusher, {1}, 3.0f), 1.0f)));
  REQUIRE(client.held.size() == 2);
  client.Release();
  REQUIRE(pusher.Push(4, Gradients(pusher, {1}, 4.0f), 1.0f).ok());
  REQUIRE(absl::IsDeadlineExceeded(pusher.Drain()));
  client.Release();
  client.Release();
  REQUIRE(pusher.Drain().ok());
  REQUIRE(client.pushes.size() == 3);
}

TEST_CASE("a refused push shows in the next push and in the drain") {
  ScriptedClient client;
  client.hold = true;
  GradientPusher pusher(&client, {.in_flight_max = 2, .wait_max = absl::Seconds(5)});
  REQUIRE(pusher.Push(1, Gradients(pusher, {1}, 1.0f), 1.0f).ok());
  client.Release(absl::InvalidArgumentError("id 1 repeats"));
  REQUIRE(absl::IsInvalidArgument(pusher.Push(2, Gradients(pusher, {1}, 1.0f), 1.0f)));
  REQUIRE(absl::IsInvalidArgument(pusher.Drain()));
}

TEST_CASE("buffers come back after the acknowledgement, also to nobody") {
  ScriptedClient client;
  client.hold = true;
  {
    GradientPusher pusher(&client, {.in_flight_max = 2, .wait_max = absl::Seconds(5)});
    auto first = Gradients(pusher, {1}, 1.0f);
    const float* buffer = first->gradients[0].data();
    REQUIRE(pusher.Push(1, std::move(first), 1.0f).ok());
    client.Release();
    auto second = pusher.Take();
    REQUIRE(second->gradients[0].data() == buffer);
    second->ids = {{2}, {}};
    REQUIRE(pusher.Push(2, std::move(second), 1.0f).ok());
  }
  client.Release();  // The pusher is gone; its buffers are not.
  REQUIRE(client.pushes.size() == 2);
}

}  // namespace
}  // namespace pagoda
