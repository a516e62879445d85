// What of exact tables outlives the process, and what reads leave as it is.
#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <thread>
#include <vector>

#include "base/hash.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Kind = SparseOptimizerKind;

// Two tables that need the rates of all steps, and one that is not exact.
std::vector<TableOptions> SomeTables() {
  std::vector<TableOptions> tables = {MakeTable("adam", 8, Kind::kAdam),
                                      MakeTable("momentum", 3, Kind::kMomentum),
                                      MakeTable("plain", 4, Kind::kAdagrad)};
  tables[0].optimizer.exact = tables[1].optimizer.exact = true;
  tables[0].optimizer.weight_decay = 0.01f;
  tables[1].optimizer.l2 = 0.02f;
  return tables;
}

std::vector<float> PullSome(EmbeddingStore& store) {
  std::vector<float> all;
  std::vector<FeatureId> ids;
  for (uint64_t id = 0; id < 60; ++id) ids.push_back(MixBits(id));
  for (uint32_t t = 0; t < 3; ++t) {
    const std::vector<float> rows = PullRows(store, t, ids);
    all.insert(all.end(), rows.begin(), rows.end());
  }
  return all;
}

TEST_CASE("rates of past steps survive flushes, replay, cuts and restoring") {
  ScratchDirectory scratch;
  const std::vector<TableOptions> tables = SomeTables();
  std::vector<float> expected;
  std::vector<float> at_cut;
  {
    auto store = OpenStore(MakeStore(scratch / "store"));
    for (const TableOptions& table : tables) OpenTableOf(*store, table);
    for (uint64_t n = 1; n <= 120; ++n) {
      REQUIRE(Apply(*store, RandomPush(tables, 4, n, 6, 50)).ok());
      if (n == 70) {
        at_cut = PullSome(*store);
        REQUIRE(store->Cut(scratch / "cut").ok());
      }
    }
    expected = PullSome(*store);
    // As kill -9 would leave it: the flush of the cut, and the log since then.
    std::filesystem::copy(scratch / "store", scratch / "copy",
                          std::filesystem::copy_options::recursive);
  }
  SECTION("closed in good order") {
    CHECK(PullSome(*OpenStore(MakeStore(scratch / "store"))) == expected);
  }
  SECTION("killed") {
    auto store = OpenStore(MakeStore(scratch / "copy"));
    CHECK(PullSome(*store) == expected);
    const auto row = store->Get(0, MixBits(3));
    REQUIRE(row.ok());
    CHECK(row->slots.back() == 120.0f);  // Caught up: Adam's count is the table's.
    const std::vector<float> pulled = PullRows(*store, 0, {MixBits(3)});
    CHECK(row->weights == pulled);
  }
  SECTION("a cut, read where it is") {
    StoreOptions options = MakeStore(scratch / "cut");
    options.read_only = true;
    CHECK(PullSome(*OpenStore(options)) == at_cut);
  }
  SECTION("a cut, restored and gone on with") {
    auto store = OpenStore(MakeStore(scratch / "copy"));
    REQUIRE(store->Restore(scratch / "cut", "").ok());
    CHECK(PullSome(*store) == at_cut);
    for (uint64_t n = 71; n <= 120; ++n) {
      REQUIRE(Apply(*store, RandomPush(tables, 4, n, 6, 50)).ok());
    }
    CHECK(PullSome(*store) == expected);
  }
}

TEST_CASE("exact tables are read while they take steps") {
  ScratchDirectory scratch;
  TableOptions table = MakeTable("t", 4, Kind::kAdamW);
  table.optimizer.exact = true;
  table.optimizer.weight_decay = 0.05f;
  auto store = OpenStore(MakeStore(scratch / "store"));
  OpenTableOf(*store, table);
  std::vector<FeatureId> untouched;
  for (uint64_t id = 1000; id < 1200; ++id) untouched.push_back(MixBits(id));
  std::atomic<bool> done{false};
  std::atomic<int> grown{0};
  std::thread reader([&] {
    std::vector<float> before(untouched.size() * 4, 1e9f);
    std::vector<float> now(before.size());
    while (!done.load()) {
      const StorePull pull{0, untouched, now.data()};
      if (!store->Pull({&pull, 1}).ok()) ++grown;
      for (size_t i = 0; i < now.size(); ++i) {  // They only decay.
        if (std::fabs(now[i]) > std::fabs(before[i])) ++grown;
      }
      before = now;
    }
  });
  for (uint64_t n = 1; n <= 300; ++n) {
    if (!Apply(*store, RandomPush({table}, 4, n, 40, 500)).ok()) ++grown;
  }
  done.store(true);
  reader.join();
  CHECK(grown.load() == 0);
}

TEST_CASE("a table's schedule sets the rate of each push, and may change between runs") {
  ScratchDirectory scratch;
  TableOptions table = MakeTable("t", 1, Kind::kSgd);
  table.init_stddev = 0.0f;
  table.optimizer.learning_rate = 1.0f;
  table.optimizer.schedule.warmup_steps = 4;
  const FeatureId id = 9;
  const float one = 1.0f;
  const StorePush push{0, {&id, 1}, {&one, 1}};
  {
    auto store = OpenStore(MakeStore(scratch / "store"));
    OpenTableOf(*store, table);
    for (Step step = 1; step <= 5; ++step) REQUIRE(store->Push({&push, 1}, step, 0.5f).ok());
    CHECK(PullRows(*store, 0, {id})[0] == -0.5f * (0.25f + 0.5f + 0.75f + 1.0f + 1.0f));
    std::filesystem::copy(scratch / "store", scratch / "copy",
                          std::filesystem::copy_options::recursive);
  }
  auto store = OpenStore(MakeStore(scratch / "copy"));  // Replays the rates that were.
  table.optimizer.schedule = {RateScheduleKind::kInverseSqrt, 0, 0, 0.0f};
  OpenTableOf(*store, table);
  CHECK(PullRows(*store, 0, {id})[0] == -1.75f);
  REQUIRE(store->Push({&push, 1}, 100, 0.5f).ok());
  CHECK(PullRows(*store, 0, {id})[0] == Approx(-1.8));
}

TEST_CASE("reads store nothing, and a scan shows what a pull does") {
  ScratchDirectory scratch;
  const std::vector<TableOptions> tables = SomeTables();
  auto store = OpenStore(MakeStore(scratch / "store"));
  for (const TableOptions& table : tables) OpenTableOf(*store, table);
  for (uint64_t n = 1; n <= 40; ++n) {
    REQUIRE(Apply(*store, RandomPush(tables, 4, n, 6, 50)).ok());
  }
  const uint64_t hash = HashOfStore(*store);
  const std::vector<float> first = PullSome(*store);
  CHECK(PullSome(*store) == first);
  CHECK(HashOfStore(*store) == hash);
  std::vector<StoredRow> rows;
  REQUIRE(store
              ->Scan([&](uint32_t table, const StoredRow& row) {
                if (table == 1) rows.push_back(row);
                return true;
              })
              .ok());
  REQUIRE_FALSE(rows.empty());
  for (const StoredRow& row : rows) {
    CAPTURE(row.id, row.last_step);
    CHECK(PullRows(*store, 1, {row.id}) == row.weights);
  }
}

}  // namespace
}  // namespace pagoda
