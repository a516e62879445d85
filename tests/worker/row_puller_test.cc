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
  RowPuller puller(&client, OneTableDeclaration(), absl::Seconds(5));
  const auto batch = puller.Start(Prepared({9, 4, 9}), 3);
  REQUIRE(puller.Wait(*batch).ok());
  REQUIRE(client.pulls_after == std::vector<Step>{3});
  REQUIRE(client.pulled_ids == std::vector<size_t>{2});
  REQUIRE(batch->rows[0] == std::vector<float>{9.0f, 9.25f, 4.0f, 4.25f});
}

TEST_CASE("a batch without ids asks nothing of the servers") {
  ScriptedClient client;
  RowPuller puller(&client, OneTableDeclaration(), absl::Seconds(5));
  const auto batch = puller.Start(Prepared({}), 3);
  REQUIRE(puller.Wait(*batch).ok());
  REQUIRE(client.pulls_after.empty());
}

TEST_CASE("a refresh reads the repeated rows again, whichever answer comes first") {
  const bool refresh_answered_first = GENERATE(false, true);
  ScriptedClient client;
  client.hold = true;
  RowPuller puller(&client, OneTableDeclaration(), absl::Seconds(5));
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

TEST_CASE("statistics come with the rows where they are declared, and are refreshed with them") {
  ScriptedClient client;
  client.statistics[{0, 9}] = {7, 3};
  client.statistics[{0, 4}] = {1, 2};
  const bool declared = GENERATE(false, true);
  Declaration declaration = OneTableDeclaration();
  declaration.lookups[0].statistics = declared;
  RowPuller puller(&client, declaration, absl::Seconds(5));
  const auto batch = puller.Start(Prepared({9, 4, 6}, {0, 2}), 3, 3);
  CHECK(batch->version == 3);
  client.statistics[{0, 9}] = {8, 4};
  client.statistics[{0, 4}] = {99, 99};  // Not among the repeats: not asked for again.
  client.statistics[{0, 6}] = {1, 4};
  puller.Refresh(batch, 4);
  CHECK(batch->version == 4);
  REQUIRE(puller.Wait(*batch).ok());
  REQUIRE(batch->StatisticsOfTables().size() == 1);
  if (declared) {
    CHECK(batch->statistics[0] == std::vector<uint32_t>{8, 4, 1, 2, 1, 4});
    CHECK(batch->StatisticsOfTables()[0] == batch->statistics[0].data());
  } else {
    CHECK(batch->StatisticsOfTables()[0] == nullptr);
  }
}

TEST_CASE("rows that the cache has are not asked for, nor read again") {
  ThreadPool pool(1);
  const auto ctx = *Context::Create({}, &pool);
  const auto queue = *CopyQueue::Create(*ctx);
  const auto cache = *RowCache::Create(*ctx, OneTableDeclaration(), {true}, {1 << 12, 100});
  ScriptedClient client;
  RowPuller puller(&client, OneTableDeclaration(), absl::Seconds(5), cache.get());
  for (int times = 0; times < 2; ++times) {  // The second time they are worth it.
    const auto first = puller.Start(Prepared({9, 4}), 1, 1);
    REQUIRE(first->pulled == RowPositions{{0, 1}});
    REQUIRE(puller.Wait(*first).ok());
    REQUIRE(first->rows[0] == std::vector<float>{9.0f, 9.25f, 4.0f, 4.25f});
    REQUIRE(cache->Admit(*queue, first->data->prepared, first->cached, {first->rows[0].data()}, 1)
                .ok());
    puller.Release(*first);
  }
  const auto batch = puller.Start(Prepared({7, 4, 6, 9}, {1, 2}), 2, 2);
  REQUIRE(client.pulled_ids.back() == 2);
  REQUIRE(batch->pulled == RowPositions{{0, 2}});
  REQUIRE(batch->cached.positions == RowPositions{{1, 3}});
  REQUIRE(puller.Arrived(*batch));
  client.changed[{0, 4}] = client.changed[{0, 6}] = 100.0f;
  puller.Refresh(batch, 3);
  REQUIRE(client.pulled_ids.back() == 1);
  REQUIRE(batch->refreshed == RowPositions{{2}});
  REQUIRE(puller.Wait(*batch).ok());
  REQUIRE(batch->rows[0][0] == 7.0f);
  REQUIRE(batch->rows[0][4] == 106.0f);
  puller.Release(*batch);
}

TEST_CASE("buffers are used again, and a smaller batch does not see the larger one's rows") {
  ScriptedClient client;
  RowPuller puller(&client, OneTableDeclaration(), absl::Seconds(5));
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
    RowPuller puller(&client, OneTableDeclaration(), absl::Milliseconds(150));
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
