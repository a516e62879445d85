// Eviction by itself: what sets it off, what it leaves, and what stops it.
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <thread>

#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;
using Kind = SparseOptimizerKind;

TableOptions TableWith(const EvictionPolicy& policy) {
  TableOptions table = MakeTable("a", 1, Kind::kSgd);
  table.eviction = policy;
  return table;
}

void PushIds(EmbeddingStore& store, FeatureId begin, FeatureId end, Step step) {
  std::vector<FeatureId> ids;
  for (FeatureId id = begin; id < end; ++id) ids.push_back(id);
  const std::vector<float> gradients(ids.size(), 1.0f);
  const StorePush push{0, ids, gradients};
  REQUIRE(store.Push({&push, 1}, step, 1.0f).ok());
}

StoreTableStat StatOf(EmbeddingStore& store) {
  const auto stats = store.Stat();
  REQUIRE(stats.ok());
  return stats->at(0);
}

// Waits until the table has at most so many rows.
bool ShrinksTo(EmbeddingStore& store, uint64_t rows) {
  for (int i = 0; i < 1000; ++i) {
    if (StatOf(store).rows <= rows) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

void Rest(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

TEST_CASE("a table above its rows loses the first in order, down to nine tenths") {
  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  EvictionPolicy policy;
  policy.rule.rows_max = 100;
  OpenTableOf(*store, TableWith(policy));
  for (Step step = 1; step <= 10; ++step) PushIds(*store, step * 10, step * 10 + 10, step);
  Rest(600);
  CHECK(StatOf(*store).rows == 100);
  PushIds(*store, 200, 201, 11);
  // 11 rows too many: those of the first step go, and one of the second.
  REQUIRE(ShrinksTo(*store, 90));
  CHECK(StatOf(*store).rows == 90);
  CHECK(StatOf(*store).evicted == 11);
  for (FeatureId id = 10; id < 20; ++id) CHECK(absl::IsNotFound(store->Get(0, id).status()));
  int second = 0;
  for (FeatureId id = 20; id < 30; ++id) second += store->Get(0, id).ok() ? 1 : 0;
  CHECK(second == 9);
  for (FeatureId id = 30; id < 110; ++id) CHECK(store->Get(0, id).ok());
  CHECK(store->Get(0, 200).ok());
  store.reset();
  store = OpenStore(MakeStore(scratch / "store"));
  CHECK(store->tables().at(0).eviction == policy);
  CHECK(StatOf(*store).rows == 90);
  CHECK(StatOf(*store).evicted == 11);
}

TEST_CASE("a table above its bytes on disk shrinks below them") {
  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  EvictionPolicy policy;
  OpenTableOf(*store, TableWith(policy));
  const auto row_bytes = static_cast<int64_t>(StatOf(*store).row_bytes_disk);
  for (Step step = 1; step <= 60; ++step) PushIds(*store, step, step + 1, step);
  policy.bytes_disk_max = row_bytes * 50;
  OpenTableOf(*store, TableWith(policy));
  REQUIRE(ShrinksTo(*store, 45));
  Rest(300);
  CHECK(StatOf(*store).rows == 45);
}

TEST_CASE("steps set eviction off at their multiples") {
  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  EvictionPolicy policy;
  policy.rule.unused_steps = 5;
  policy.every_steps = 20;
  OpenTableOf(*store, TableWith(policy));
  Rest(1000);  // It has looked once.
  PushIds(*store, 0, 10, 1);
  PushIds(*store, 10, 20, 19);
  Rest(600);
  CHECK(StatOf(*store).rows == 20);
  PushIds(*store, 20, 21, 20);
  REQUIRE(ShrinksTo(*store, 11));
  CHECK(StatOf(*store).evicted == 10);
}

TEST_CASE("time sets eviction off") {
  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  EvictionPolicy policy;
  policy.rule.updates_min = 2;
  policy.every_seconds = 1;
  OpenTableOf(*store, TableWith(policy));
  PushIds(*store, 0, 10, 1);
  PushIds(*store, 0, 3, 2);
  CHECK(ShrinksTo(*store, 3));
}

TEST_CASE("a store that is told not to, a frozen table and a read-only store evict nothing") {
  ScratchDirectory scratch;
  EvictionPolicy policy;
  policy.rule.rows_max = 10;
  StoreOptions options = MakeStore(scratch / "store");
  options.evicts_by_policy = false;
  {
    auto store = OpenStore(options);
    OpenTableOf(*store, TableWith(policy));
    PushIds(*store, 0, 50, 1);
    Rest(500);
    CHECK(StatOf(*store).rows == 50);
    TableOptions frozen = TableWith(policy);
    frozen.frozen = true;
    OpenTableOf(*store, frozen);
  }
  options.evicts_by_policy = true;
  auto store = OpenStore(options);
  Rest(500);
  CHECK(StatOf(*store).rows == 50);
  // A policy may change between runs.
  policy.rule.rows_max = 20;
  OpenTableOf(*store, TableWith(policy));
  REQUIRE(ShrinksTo(*store, 20));
  TableOptions bad = TableWith({});
  bad.eviction.rule.unused_steps = 3;
  CHECK_THAT(std::string(store->OpenTable(bad).status().message()), Contains("every_steps"));
  bad = MakeTable("exact", 1, Kind::kMomentum);
  bad.optimizer.exact = true;
  bad.eviction = policy;
  CHECK_THAT(std::string(store->OpenTable(bad).status().message()), Contains("exact"));
}

TEST_CASE("eviction by itself beside pushes, cuts, new tables and restores") {
  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  EvictionPolicy policy;
  policy.rule.rows_max = 500;
  OpenTableOf(*store, TableWith(policy));
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  std::thread pusher([&] {
    std::vector<FeatureId> ids(50);
    const std::vector<float> gradients(ids.size(), 1.0f);
    for (Step step = 1; !stop; ++step) {
      for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<FeatureId>(step) * 20 + i;
      const StorePush push{0, ids, gradients};
      if (!store->Push({&push, 1}, step, 1.0f).ok()) ++failures;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  for (int i = 0; i < 5; ++i) {
    Rest(300);
    CHECK(store->Cut(scratch / ("cut" + std::to_string(i))).ok());
    TableOptions more = MakeTable("more" + std::to_string(i), 2, Kind::kSgd);
    more.eviction = policy;
    CHECK(store->OpenTable(more).ok());
  }
  stop = true;
  pusher.join();
  CHECK(failures == 0);
  REQUIRE(ShrinksTo(*store, 500));
  CHECK(StatOf(*store).evicted > 0);
  const uint64_t hash_before = HashOfStore(*store);
  REQUIRE(store->Cut(scratch / "last").ok());
  REQUIRE(store->Restore(scratch / "last", "").ok());
  CHECK(HashOfStore(*store) == hash_before);
}

}  // namespace
}  // namespace pagoda
