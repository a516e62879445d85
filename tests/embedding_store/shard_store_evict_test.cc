// Eviction: who goes, what is left, and that nothing brings a row back.
#include "embedding_store/eviction.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <limits>
#include <set>
#include <thread>

#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Kind = SparseOptimizerKind;
using Catch::Contains;

std::vector<TableOptions> Tables() {
  std::vector<TableOptions> tables = {MakeTable("a", 3, Kind::kSgd),
                                      MakeTable("b", 5, Kind::kAdagrad)};
  tables[1].precision = RowPrecision::kBF16;
  return tables;
}

// Pushes `ids` of table 0 with a gradient of all `gradient` at `step`.
void PushIds(EmbeddingStore& store, const std::vector<FeatureId>& ids, Step step,
             float gradient = 1.0f) {
  const std::vector<float> gradients(ids.size() * 3, gradient);
  const StorePush push{0, ids, gradients};
  REQUIRE(store.Push({&push, 1}, step, 1.0f).ok());
}

std::vector<FeatureId> Range(FeatureId begin, FeatureId end) {
  std::vector<FeatureId> ids;
  for (FeatureId id = begin; id < end; ++id) ids.push_back(id);
  return ids;
}

std::set<FeatureId> IdsOf(EmbeddingStore& store, uint32_t table = 0) {
  std::set<FeatureId> ids;
  REQUIRE(store
              .Scan([&](uint32_t t, const StoredRow& row) {
                if (t == table) ids.insert(row.id);
                return true;
              })
              .ok());
  return ids;
}

EvictionResult Evict(EmbeddingStore& store, const EvictionRule& rule, uint32_t table = 0) {
  const auto result = store.Evict(table, rule);
  INFO(result.status());
  REQUIRE(result.ok());
  return *result;
}

TEST_CASE("each criterion sends its rows away, and only those") {
  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  for (const TableOptions& table : Tables()) OpenTableOf(*store, table);
  const std::vector<float> initial = PullRows(*store, 0, Range(0, 40));
  PushIds(*store, Range(0, 10), 1);
  PushIds(*store, Range(5, 20), 2);
  PushIds(*store, Range(20, 30), 5, 100.0f);
  const std::vector<FeatureId> other_ids = {3};
  const std::vector<float> other_gradients(5, 1.0f);
  const StorePush push{1, other_ids, other_gradients};
  REQUIRE(store->Push({&push, 1}, 1, 1.0f).ok());
  std::set<FeatureId> left = IdsOf(*store);
  REQUIRE(left.size() == 30);

  SECTION("unused for long") {
    // Last steps: 0-4 step 1, 5-19 step 2, 20-29 step 5.
    const EvictionResult result = Evict(*store, {.now = 5, .unused_steps = 3});
    CHECK(result.rows_before == 30);
    CHECK(result.evicted == 5);
    for (FeatureId id = 0; id < 5; ++id) left.erase(id);
  }
  SECTION("seldom pushed to") {
    CHECK(Evict(*store, {.updates_min = 2}).evicted == 25);
    left = {5, 6, 7, 8, 9};
  }
  SECTION("small") {
    CHECK(Evict(*store, {.norm_min = 5.0f}).evicted == 20);
    left.clear();
    for (FeatureId id = 20; id < 30; ++id) left.insert(id);
  }
  // The first `count` of [begin, end) by the hash that breaks ties.
  const auto erase_first = [&](FeatureId begin, FeatureId end, size_t count) {
    std::vector<FeatureId> ids = Range(begin, end);
    std::sort(ids.begin(), ids.end(),
              [](FeatureId a, FeatureId b) { return EvictionTie(a) < EvictionTie(b); });
    for (size_t i = 0; i < count; ++i) left.erase(ids[i]);
  };
  SECTION("too many: the oldest go, and of a step's rows as many as must") {
    CHECK(Evict(*store, {.rows_max = 27}).evicted == 3);
    erase_first(0, 5, 3);
    CHECK(IdsOf(*store) == left);
    CHECK(Evict(*store, {.rows_max = 27}).evicted == 0);
    CHECK(Evict(*store, {.rows_max = 25}).evicted == 2);
    erase_first(0, 5, 5);
    CHECK(Evict(*store, {.rows_max = 24}).evicted == 1);
    erase_first(5, 20, 1);
  }
  SECTION("of low score: pushes, halved with every half life") {
    // Scores at step 5: 0-4 one push of step 1, 5-9 two until step 2, 10-19 one of step 2,
    // 20-29 one of step 5; half lives of 3 steps make these 0.40, 1, 0.5, 1.
    CHECK(Evict(*store, {.score_min = 0.45, .score_half_life = 3}).evicted == 5);
    CHECK(Evict(*store, {.score_min = 0.75, .score_half_life = 3}).evicted == 10);
    for (FeatureId id = 0; id < 5; ++id) left.erase(id);
    for (FeatureId id = 10; id < 20; ++id) left.erase(id);
  }
  SECTION("too many: the least frequent go") {
    CHECK(Evict(*store, {.rows_max = 5, .order = EvictionOrder::kLeastFrequent}).evicted == 25);
    left = {5, 6, 7, 8, 9};
    CHECK(Evict(*store, {.rows_max = 4, .order = EvictionOrder::kLeastFrequent}).evicted == 1);
    erase_first(5, 10, 1);
  }
  SECTION("too many: the smallest go") {
    CHECK(Evict(*store, {.rows_max = 10, .order = EvictionOrder::kSmallest}).evicted == 20);
    left.clear();
    for (FeatureId id = 20; id < 30; ++id) left.insert(id);
  }
  SECTION("too many: those of the lowest score go") {
    const EvictionRule rule{
        .rows_max = 15, .score_half_life = 3, .order = EvictionOrder::kLowestScore};
    CHECK(Evict(*store, rule).evicted == 15);
    for (FeatureId id = 0; id < 5; ++id) left.erase(id);
    for (FeatureId id = 10; id < 20; ++id) left.erase(id);
  }
  SECTION("ages count from the newest step where none is given") {
    CHECK(Evict(*store, {.unused_steps = 3}).evicted == 5);
    for (FeatureId id = 0; id < 5; ++id) left.erase(id);
  }
  SECTION("a limit counts what the others send away") {
    CHECK(Evict(*store, {.updates_min = 2, .rows_max = 5}).evicted == 25);
    left = {5, 6, 7, 8, 9};
  }
  CHECK(IdsOf(*store) == left);
  CHECK(IdsOf(*store, 1) == std::set<FeatureId>{3});
  CHECK(store->Stat()->at(0).rows == left.size());
  const std::vector<float> now = PullRows(*store, 0, Range(0, 40));
  for (FeatureId id = 0; id < 40; ++id) {
    for (size_t c = 0; c < 3; ++c) {
      CAPTURE(id);
      REQUIRE((now[id * 3 + c] == initial[id * 3 + c]) == !left.contains(id));
    }
  }
  store.reset();
  store = OpenStore(MakeStore(scratch / "store"));
  CHECK(IdsOf(*store) == left);
  CHECK(store->Stat()->at(0).rows == left.size());
}

TEST_CASE("an evicted row starts anew, and older cuts keep theirs") {
  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  const std::vector<TableOptions> tables = Tables();
  for (const TableOptions& table : tables) OpenTableOf(*store, table);
  PushIds(*store, Range(0, 100), 1);
  REQUIRE(store->Cut(scratch / "before").ok());
  const uint64_t hash_before = HashOfStore(*store);
  CHECK(Evict(*store, {.now = 10, .unused_steps = 1}).evicted == 100);
  CHECK(HashOfStore(*store) == 0);
  PushIds(*store, {7}, 11);
  StoreOracle oracle(tables);
  TestPush push;
  push.parts.push_back({0, {7}, std::vector<float>(3, 1.0f)});
  push.step = 11;
  oracle.Push(push);
  CHECK(oracle.Compare(*store) == "");
  REQUIRE(store->Restore(scratch / "before", "").ok());
  CHECK(HashOfStore(*store) == hash_before);
}

TEST_CASE("the log never brings an evicted row back") {
  ScratchDirectory scratch;
  const std::string path = scratch / "store";
  const std::string copy = scratch / "copy";
  auto store = OpenStore(MakeStore(path));
  for (const TableOptions& table : Tables()) OpenTableOf(*store, table);
  PushIds(*store, Range(0, 50), 1);
  PushIds(*store, Range(50, 60), 9);
  CHECK(Evict(*store, {.now = 9, .unused_steps = 5}).evicted == 50);
  PushIds(*store, Range(60, 70), 10);
  PushIds(*store, {3}, 10);
  // The directory as a kill would leave it, its log not yet flushed. RocksDB may remove
  // a merged file under the copying: then once more.
  for (int attempt = 0;; ++attempt) {
    std::error_code error;
    std::filesystem::remove_all(copy);
    std::filesystem::copy(path, copy, std::filesystem::copy_options::recursive, error);
    if (!error && EmbeddingStore::Open(MakeStore(copy)).ok()) break;
    REQUIRE(attempt < 50);
  }
  const std::set<FeatureId> want = IdsOf(*store);
  const uint64_t hash = HashOfStore(*store);
  CHECK(want.size() == 21);
  auto again = OpenStore(MakeStore(copy));
  CHECK(IdsOf(*again) == want);
  CHECK(HashOfStore(*again) == hash);
  CHECK(again->Stat()->at(0).rows == 21);
}

TEST_CASE("eviction beside pushes and pulls takes old rows only") {
  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  for (const TableOptions& table : Tables()) OpenTableOf(*store, table);
  const std::vector<FeatureId> old_ids = Range(0, 20000), hot = Range(100000, 101000);
  PushIds(*store, old_ids, 1);

  std::atomic<bool> stop{false};
  std::atomic<Step> step{1000};
  // Catch's assertions are for one thread.
  std::atomic<int> failures{0};
  std::thread pusher([&] {
    const std::vector<float> gradients(hot.size() * 3, 1e-3f);
    const StorePush push{0, hot, gradients};
    while (!stop) {
      const Step next = step + 1;
      if (!store->Push({&push, 1}, next, 1.0f).ok()) ++failures;
      step = next;
    }
  });
  std::thread puller([&] {
    std::vector<float> weights(old_ids.size() * 3);
    const StorePull pull{0, old_ids, weights.data()};
    while (!stop) {
      if (!store->Pull({&pull, 1}).ok()) ++failures;
    }
  });
  while (step < 1010) std::this_thread::yield();
  const EvictionResult result = Evict(*store, {.now = step, .unused_steps = 500});
  const Step until = step + 10;
  while (step < until) std::this_thread::yield();
  stop = true;
  pusher.join();
  puller.join();
  CHECK(failures == 0);
  CHECK(result.evicted == old_ids.size());
  CHECK(IdsOf(*store) == std::set<FeatureId>(hot.begin(), hot.end()));
  // Every row that was pulled while it went reads as its initial value now.
  ScratchDirectory fresh_scratch;
  auto fresh = OpenStore(MakeStore(fresh_scratch / "store"));
  OpenTableOf(*fresh, Tables()[0]);
  CHECK(PullRows(*store, 0, old_ids) == PullRows(*fresh, 0, old_ids));
  StoredRow row = *store->Get(0, hot[0]);
  CHECK(row.last_step == step);
}

TEST_CASE("nonsense is refused, and nothing goes") {
  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  std::vector<TableOptions> tables = Tables();
  tables[1].frozen = true;
  for (const TableOptions& table : tables) OpenTableOf(*store, table);
  PushIds(*store, Range(0, 3), 1);
  CHECK_THAT(std::string(store->Evict(0, {}).status().message()), Contains("no criterion"));
  CHECK_THAT(std::string(store->Evict(0, {.unused_steps = -1}).status().message()),
             Contains("unused_steps"));
  CHECK_THAT(
      std::string(
          store->Evict(0, {.norm_min = std::numeric_limits<float>::infinity()}).status().message()),
      Contains("norm_min"));
  CHECK(absl::IsFailedPrecondition(store->Evict(1, {.rows_max = 1}).status()));
  CHECK(absl::IsNotFound(store->Evict(2, {.rows_max = 1}).status()));
  TableOptions exact = MakeTable("exact", 3, Kind::kMomentum);
  exact.optimizer.exact = true;
  const uint32_t exact_table = OpenTableOf(*store, exact);
  CHECK_THAT(std::string(store->Evict(exact_table, {.rows_max = 1}).status().message()),
             Contains("exact"));
  exact.name = "half";
  exact.precision = RowPrecision::kF16;
  CHECK_THAT(std::string(store->OpenTable(exact).status().message()), Contains("f32"));
  CHECK(IdsOf(*store).size() == 3);
  REQUIRE(store->Cut(scratch / "cut").ok());
  StoreOptions read_only = MakeStore(scratch / "cut");
  read_only.read_only = true;
  auto cut = OpenStore(read_only);
  CHECK(absl::IsFailedPrecondition(cut->Evict(0, {.rows_max = 1}).status()));
}

}  // namespace
}  // namespace pagoda
