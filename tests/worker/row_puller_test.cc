#include "worker/row_puller.h"

#include <catch2/catch.hpp>

#include "tests/worker/list_reader.h"
#include "tests/worker/scripted_client.h"

namespace pagoda {
namespace {

std::unique_ptr<PrefetchedBatch> Prepared(const std::vector<FeatureId>& ids,
                                          const std::vector<int32_t>& repeats = {}) {
  auto data = std::make_unique<PrefetchedBatch>();
  data->prepared = *PrepareBatch(OneFeatureSchema(), OneTableDeclaration(), BatchOfIds({ids}));
  data->is_prepared = true;
  data->repeats = {repeats};
  return data;
}

TEST_CASE("rows arrive in the order of the unique ids") {
  ScriptedClient client;
  RowPuller puller(&client, {2}, absl::Seconds(5));
  const auto batch = puller.Start(Prepared({9, 4, 9}), 3);
  REQUIRE(puller.Wait(*batch).ok());
  REQUIRE(client.pulls_after == std::vector<Step>{3});
  REQUIRE(client.pulled_ids == std::vector<size_t>{2});
  REQUIRE(batch->rows[0] == std::vector<float>{9.0f, 9.25f, 4.0f, 4.25f});
}

TEST_CASE("a batch without ids asks nothing of the servers") {
  ScriptedClient client;
  RowPuller puller(&client, {2}, absl::Seconds(5));
  const auto batch = puller.Start(Prepared({}), 3);
  REQUIRE(puller.Wait(*batch).ok());
  REQUIRE(client.pulls_after.empty());
}

TEST_CASE("a refresh reads the repeated rows again, whichever answer comes first") {
  const bool refresh_answered_first = GENERATE(false, true);
  ScriptedClient client;
  client.hold = true;
  RowPuller puller(&client, {2}, absl::Seconds(5));
  const auto batch = puller.Start(Prepared({9, 4, 6}, {0, 2}), 3);
  if (!refresh_answered_first) client.Release();
  client.changed[{0, 9}] = 100.0f;  // The step in front pushed 9 and 6.
  client.changed[{0, 6}] = 200.0f;
  puller.Refresh(batch, 4);
  REQUIRE(client.pulls_after == std::vector<Step>{3, 4});
  REQUIRE(client.pulled_ids == std::vector<size_t>{3, 2});
  if (refresh_answered_first) std::swap(client.held[0], client.held[1]);
  while (!client.held.empty()) client.Release();
  REQUIRE(puller.Wait(*batch).ok());
  REQUIRE(batch->rows[0] == std::vector<float>{109.0f, 109.25f, 4.0f, 4.25f, 206.0f, 206.25f});
}

TEST_CASE("buffers are used again, and a smaller batch does not see the larger one's rows") {
  ScriptedClient client;
  RowPuller puller(&client, {2}, absl::Seconds(5));
  const auto large = puller.Start(Prepared({1, 2, 3}), 0);
  REQUIRE(puller.Wait(*large).ok());
  const float* buffer = large->rows[0].data();
  puller.Recycle(*large);
  const auto small = puller.Start(Prepared({7}), 0);
  REQUIRE(puller.Wait(*small).ok());
  REQUIRE(small->rows[0].data() == buffer);
  REQUIRE(small->rows[0][0] == 7.0f);
}

TEST_CASE("a server's error is the wait's, and a late answer after giving up harms nobody") {
  ScriptedClient client;
  client.hold = true;
  {
    RowPuller puller(&client, {2}, absl::Milliseconds(150));
    auto refused = puller.Start(Prepared({1}), 0);
    client.Release(absl::UnavailableError("server b:2 does not answer"));
    REQUIRE(absl::IsUnavailable(puller.Wait(*refused)));
    auto abandoned = puller.Start(Prepared({1}), 0);
    REQUIRE(absl::IsDeadlineExceeded(puller.Wait(*abandoned)));
  }
  client.Release();  // Writes into the buffers of the abandoned batch.
}

}  // namespace
}  // namespace pagoda
