// Everything at once: threads that pull, push, cut, evict, scan and ask, and long random
// sequences held against std::unordered_map.
#include <atomic>
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <random>
#include <thread>
#include <unordered_map>

#include "tests/embedding_store/store_fixture.h"

#ifndef PAGODA_DIFFERENTIAL_OPERATIONS
#define PAGODA_DIFFERENTIAL_OPERATIONS 1000000
#endif

namespace pagoda {
namespace {

using Kind = SparseOptimizerKind;

#if PAGODA_DIFFERENTIAL_OPERATIONS <= 1000000
TEST_CASE("eight threads that pull, push, cut, evict and scan leave what they pushed") {
  const Durability durability = GENERATE(Durability::kProcess, Durability::kMachine);
  constexpr uint64_t kPushers = 4;
  constexpr uint64_t kPushes = 60;
  const std::vector<TableOptions> tables = {MakeTable("a", 16, Kind::kAdagrad),
                                            MakeTable("b", 3, Kind::kAdam)};
  ScratchDirectory scratch;
  ThreadPool pool(2);
  StoreOptions options = MakeStore(scratch / "store");
  options.memory_bytes = int64_t{16} << 20;
  options.log_bytes_max = int64_t{1} << 20;
  options.durability = durability;
  options.pool = &pool;
  auto store = OpenStore(options);
  for (const TableOptions& table : tables) OpenTableOf(*store, table);
  // Rows of "c" come and go: each is the sum of the learning rates since it last came.
  TableOptions fleeting = MakeTable("c", 1, Kind::kSgd);
  fleeting.init_stddev = 0.0f;
  fleeting.optimizer.learning_rate = 1.0f;
  const uint32_t c = OpenTableOf(*store, fleeting);
  // Ids of a pusher are its own: id % kPushers.
  const auto push_of = [&](uint64_t pusher, uint64_t n) {
    TestPush push = RandomPush(tables, 20 + pusher, n, 100, 3000);
    for (TestPush::Part& part : push.parts) {
      for (FeatureId& id : part.ids) id = id / kPushers * kPushers + pusher;
      // Rounding down may have made two ids one.
      std::sort(part.ids.begin(), part.ids.end());
      part.ids.erase(std::unique(part.ids.begin(), part.ids.end()), part.ids.end());
      part.gradients.resize(part.ids.size() * static_cast<size_t>(tables[part.table].dim));
    }
    return push;
  };
  const auto with_c = [&](TestPush push) {
    push.parts.push_back({c, push.parts[0].ids, {}});
    push.parts.back().gradients.assign(push.parts[0].ids.size(), -1.0f);
    return push;
  };
  std::atomic<uint64_t> evicted{0};
  std::atomic<int> failed{0};
  std::atomic<uint64_t> running{kPushers};
  std::vector<std::thread> threads;
  for (uint64_t p = 0; p < kPushers; ++p) {
    threads.emplace_back([&, p] {
      for (uint64_t n = 1; n <= kPushes; ++n) {
        failed += Apply(*store, with_c(push_of(p, n))).ok() ? 0 : 1;
      }
      --running;
    });
  }
  threads.emplace_back([&] {
    std::vector<float> weights(200 * 16), fleeting_weights(200);
    for (uint64_t n = 1; running > 0; ++n) {
      std::vector<FeatureId> ids = push_of(n % kPushers, n % kPushes + 1).parts[0].ids;
      const StorePull pulls[] = {{0, ids, weights.data()}, {c, ids, fleeting_weights.data()}};
      failed += store->Pull(pulls).ok() ? 0 : 1;
    }
  });
  threads.emplace_back([&] {
    EvictionRule rule;
    rule.rows_max = 50;
    while (running > 0) {
      const auto result = store->Evict(c, rule);
      failed += result.ok() ? 0 : 1;
      if (result.ok()) evicted += result->evicted;
    }
  });
  threads.emplace_back([&] {
    for (int n = 0; running > 0; ++n) {
      const std::string cut = scratch / std::string("cut-").append(std::to_string(n));
      failed += store->Cut(cut).ok() && EmbeddingStore::VerifyCut(cut).ok() ? 0 : 1;
      std::filesystem::remove_all(cut);
    }
  });
  threads.emplace_back([&] {
    while (running > 0) {
      failed += store->Stat().ok() && store->ContentHash().ok() ? 0 : 1;
      const absl::Status found = store->Get(0, 12345).status();
      failed += found.ok() || absl::IsNotFound(found) ? 0 : 1;
    }
  });
  for (std::thread& thread : threads) thread.join();
  CHECK(failed == 0);
  StoreOracle oracle(tables);
  std::unordered_map<FeatureId, float> pushed;
  for (uint64_t p = 0; p < kPushers; ++p) {
    for (uint64_t n = 1; n <= kPushes; ++n) {
      const TestPush push = push_of(p, n);
      oracle.Push(push);
      for (const FeatureId id : push.parts[0].ids) pushed[id] += push.learning_rate_factor;
    }
  }
  CHECK(evicted > 0);
  REQUIRE(store
              ->Scan([&](uint32_t table, const StoredRow& row) {
                if (table != c) return true;
                const float sum = row.weights[0];
                failed += sum > 0.0f && sum <= pushed[row.id] * 1.0001f ? 0 : 1;
                return true;
              })
              .ok());
  CHECK(failed == 0);
  EvictionRule all;
  all.updates_min = kPushers * kPushes + 1;
  REQUIRE(store->Evict(c, all).ok());
  CHECK(oracle.Compare(*store) == "");
  store.reset();
  store = OpenStore(options);
  CHECK(store->sequence() == kPushers * kPushes);
  CHECK(oracle.Compare(*store) == "");
}
#endif

// Rows in the map are weights, then slots.
class MapOfRows {
 public:
  explicit MapOfRows(const TableOptions& table) : table_(table), initial_({table}) {}

  StoreOracle::Row& Row(FeatureId id) {
    const auto found = rows_.find(id);
    return found != rows_.end() ? found->second
                                : rows_.emplace(id, initial_.RowOf(0, id)).first->second;
  }
  StoreOracle::Row Read(FeatureId id) const {
    const auto found = rows_.find(id);
    return found != rows_.end() ? found->second : initial_.RowOf(0, id);
  }
  bool Has(FeatureId id) const { return rows_.contains(id); }
  size_t size() const { return rows_.size(); }

 private:
  const TableOptions table_;
  const StoreOracle initial_;
  std::unordered_map<FeatureId, StoreOracle::Row> rows_;
};

TEST_CASE("long random sequences agree with an unordered_map") {
  const auto seed = static_cast<uint32_t>(std::random_device{}());
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const TableOptions table = MakeTable("t", 3, Kind::kAdagrad);
  // More rows than memory holds.
  constexpr uint64_t kIds = 400000;
  ScratchDirectory scratch;
  StoreOptions options = MakeStore(scratch / "store");
  options.memory_bytes = int64_t{16} << 20;
  options.log_bytes_max = int64_t{4} << 20;
  auto store = OpenStore(options);
  OpenTableOf(*store, table);
  MapOfRows map(table);
  Step step = 0;
  for (int64_t done = 0; done < PAGODA_DIFFERENTIAL_OPERATIONS;) {
    // Half of the ids from a hundredth of the range.
    std::vector<FeatureId> ids(1 + random() % 256);
    for (FeatureId& id : ids) id = random() % (random() % 2 == 0 ? kIds / 100 : kIds);
    const uint64_t what = random() % 1000;
    if (what == 0) {
      store.reset();
      store = OpenStore(options);
    } else if (what < 20) {
      const auto row = store->Get(0, ids[0]);
      REQUIRE(row.ok() == map.Has(ids[0]));
      if (row.ok()) REQUIRE(row->slots == map.Read(ids[0]).slots);
      REQUIRE((row.ok() || absl::IsNotFound(row.status())));
    } else if (what < 500) {
      const std::vector<float> weights = PullRows(*store, 0, ids);
      for (size_t i = 0; i < ids.size(); ++i) {
        const StoreOracle::Row row = map.Read(ids[i]);
        REQUIRE(std::memcmp(weights.data() + 3 * i, row.weights.data(), 3 * sizeof(float)) == 0);
      }
    } else {
      std::sort(ids.begin(), ids.end());
      ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
      std::vector<float> gradients(3 * ids.size());
      for (float& g : gradients) g = static_cast<float>(random() % 100) / 50.0f - 1.0f;
      const StorePush push{0, ids, gradients};
      REQUIRE(store->Push({&push, 1}, ++step, 1.0f).ok());
      for (size_t i = 0; i < ids.size(); ++i) {
        OracleUpdate(table.optimizer, table.optimizer.learning_rate, gradients.data() + 3 * i,
                     &map.Row(ids[i]));
      }
    }
    done += static_cast<int64_t>(ids.size());
  }
  CHECK(store->Stat()->at(0).rows == map.size());
}

}  // namespace
}  // namespace pagoda
