// Pulls and pushes through the whole store: refusals that change nothing, batch
// sizes, threads, layouts, and tables larger than memory.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <thread>

#include "base/hash.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;
using Kind = SparseOptimizerKind;

std::vector<float> Ones(size_t count) {
  return std::vector<float>(count, 1.0f);
}

TEST_CASE("a refused push changes nothing and says why") {
  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  const std::vector<TableOptions> tables = {MakeTable("users", 4, Kind::kAdam),
                                            MakeTable("items", 3, Kind::kAdagrad)};
  for (const TableOptions& table : tables) OpenTableOf(*store, table);
  for (uint64_t n = 1; n <= 5; ++n) {
    REQUIRE(Apply(*store, RandomPush(tables, 1, n, 50, 100)).ok());
  }
  const uint64_t hash = HashOfStore(*store);
  const std::vector<FeatureId> known = {MixBits(1), MixBits(2)};

  struct Case {
    const char* what;
    std::vector<TestPush::Part> parts;
    float factor;
    absl::StatusCode code;
    std::vector<std::string> words;
  };
  auto spoiled = [](size_t count, size_t at, float value) {
    std::vector<float> gradients = Ones(count);
    gradients[at] = value;
    return gradients;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const auto invalid = absl::StatusCode::kInvalidArgument;
  const std::vector<Case> cases = {
      {"nan",
       {{0, {7, 8}, Ones(8)}, {1, {9, 77}, spoiled(6, 4, nan)}},
       1.0f,
       invalid,
       {"items", "77", "not finite"}},
      {"inf", {{0, {7, 8}, spoiled(8, 0, -inf)}}, 1.0f, invalid, {"users", "id 7"}},
      {"few values", {{0, {7, 8}, Ones(7)}}, 1.0f, invalid, {"users", "8", "7"}},
      {"many values", {{1, {}, Ones(3)}}, 1.0f, invalid, {"items"}},
      {"repeat of a new id", {{0, {7, 8, 7}, Ones(12)}}, 1.0f, invalid, {"users", "id 7", "twice"}},
      {"repeat of a known id",
       {{0, {known[0], known[1], known[0]}, Ones(12)}},
       1.0f,
       invalid,
       {"users", std::to_string(known[0]), "twice"}},
      {"repeat over two parts",
       {{0, {7}, Ones(4)}, {1, {1}, Ones(3)}, {0, {7}, Ones(4)}},
       1.0f,
       invalid,
       {"id 7"}},
      {"no such table",
       {{0, {7}, Ones(4)}, {2, {1}, Ones(3)}},
       1.0f,
       absl::StatusCode::kNotFound,
       {"table 2"}},
      {"nan factor", {{0, {7}, Ones(4)}}, nan, invalid, {"factor"}},
      {"negative factor", {{0, {7}, Ones(4)}}, -1.0f, invalid, {"factor"}}};
  for (const Case& c : cases) {
    const absl::Status status = Apply(*store, {c.parts, 9, c.factor});
    CAPTURE(c.what, status);
    CHECK(status.code() == c.code);
    for (const std::string& word : c.words) {
      CHECK_THAT(std::string(status.message()), Contains(word));
    }
    CHECK(HashOfStore(*store) == hash);
    CHECK(store->sequence() == 5);
  }
  // And the next good one works, with the same ids.
  CHECK(Apply(*store, {{{0, {7, 8, known[0]}, Ones(12)}}, 9, 1.0f}).ok());
  CHECK(store->sequence() == 6);
}

TEST_CASE("frozen tables and read-only stores take no pushes") {
  ScratchDirectory scratch;
  TableOptions table = MakeTable("t", 2, Kind::kAdagrad);
  {
    auto store = OpenStore(MakeStore(scratch / "store"));
    OpenTableOf(*store, table);
    REQUIRE(Apply(*store, {{{0, {1}, Ones(2)}}, 1, 1.0f}).ok());
    const uint64_t hash = HashOfStore(*store);
    table.frozen = true;
    OpenTableOf(*store, table);
    const absl::Status frozen = Apply(*store, {{{0, {1}, Ones(2)}}, 2, 1.0f});
    CHECK(absl::IsFailedPrecondition(frozen));
    CHECK_THAT(std::string(frozen.message()), Contains("\"t\"") && Contains("frozen"));
    CHECK(HashOfStore(*store) == hash);
    PullRows(*store, 0, {1, 2});
  }
  StoreOptions options = MakeStore(scratch / "store");
  options.read_only = true;
  auto reader = OpenStore(options);
  CHECK(reader->tables().at(0).frozen);
  CHECK(absl::IsFailedPrecondition(Apply(*reader, {{{0, {1}, Ones(2)}}, 2, 1.0f})));
  CHECK(absl::IsFailedPrecondition(reader->Cut(scratch / "cut").status()));
  CHECK(absl::IsFailedPrecondition(reader->Restore(scratch / "cut", "")));
  CHECK(absl::IsFailedPrecondition(reader->OpenTable(MakeTable("other", 2, Kind::kSgd)).status()));
}

TEST_CASE("batches of 0, 1 and odd sizes, with repeats and unknown ids") {
  ScratchDirectory scratch;
  const std::vector<TableOptions> tables = {MakeTable("t", 5, Kind::kRowwiseAdagrad)};
  StoreOracle oracle(tables);
  auto store = OpenStore(MakeStore(scratch / "store"));
  OpenTableOf(*store, tables[0]);
  REQUIRE(store->Push({}, 1, 1.0f).ok());
  REQUIRE(Apply(*store, {{{0, {}, {}}}, 2, 1.0f}).ok());
  CHECK(store->sequence() == 2);
  REQUIRE(store->Pull({}).ok());
  CHECK(PullRows(*store, 0, {}).empty());
  CHECK(PullRows(*store, 0, {4}) == oracle.RowOf(0, 4).weights);

  TestPush push{{{0, {4}, {1, 2, 3, 4, 5}}}, 3, 1.0f};
  oracle.Push(push);
  REQUIRE(Apply(*store, push).ok());
  push = {{{0, {~uint64_t{0}, 0, 4}, Ones(15)}}, 4, 0.5f};
  oracle.Push(push);
  REQUIRE(Apply(*store, push).ok());
  const std::vector<FeatureId> ids = {4, 99, 4, 0, ~uint64_t{0}, 99, 98};
  std::vector<float> expected;
  for (FeatureId id : ids) {
    const std::vector<float> row = oracle.RowOf(0, id).weights;
    expected.insert(expected.end(), row.begin(), row.end());
  }
  CHECK(PullRows(*store, 0, ids) == expected);
  // Reading stored nothing.
  CHECK(store->Stat()->at(0).rows == 3);
  CHECK(absl::IsNotFound(store->Get(0, 99).status()));
  CHECK(store->Get(0, 4)->last_step == 4);
  CHECK(absl::IsNotFound(store->Get(1, 4).status()));
  float out[5];
  const FeatureId one[] = {1};
  const StorePull wrong{7, one, out};
  CHECK(absl::IsNotFound(store->Pull({&wrong, 1})));
  CHECK(oracle.Compare(*store) == "");
}

// What the oracle knows of rows.
std::vector<uint32_t> OracleStatistics(const StoreOracle& oracle, uint32_t table,
                                       const std::vector<FeatureId>& ids) {
  std::vector<uint32_t> statistics;
  for (const FeatureId id : ids) {
    const StoreOracle::Row row = oracle.RowOf(table, id);
    statistics.push_back(row.updates);
    statistics.push_back(static_cast<uint32_t>(row.last_step));
  }
  return statistics;
}

TEST_CASE("statistics of rows are exact: in memory, from disk, after reopening and of no row") {
  const int64_t memory = GENERATE(int64_t{16} << 20, int64_t{64} << 20);
  const uint64_t seed = 21;
  CAPTURE(seed, memory);
  ScratchDirectory scratch;
  StoreOptions options = MakeStore(scratch / "store");
  options.memory_bytes = memory;
  std::vector<TableOptions> tables = {MakeTable("users", 4, Kind::kAdam),
                                      MakeTable("items", 500, Kind::kAdagrad),
                                      MakeTable("half", 3, Kind::kSgd)};
  tables[2].precision = RowPrecision::kF16;
  StoreOracle oracle(tables);
  std::vector<FeatureId> ids;  // Some twice, some never pushed.
  for (uint64_t i = 0; i < 9000; ++i) ids.push_back(MixBits(i * 7919 % 8500));
  auto store = OpenStore(options);
  for (const TableOptions& table : tables) OpenTableOf(*store, table);
  for (int times = 0; times < 2; ++times) {
    for (uint64_t n = 1; n <= 20; ++n) {
      const TestPush push =
          RandomPush(tables, seed, 100 * static_cast<uint64_t>(times) + 3 * n, 900, 8000);
      REQUIRE(Apply(*store, push).ok());
      oracle.Push(push);
    }
    for (uint32_t t = 0; t < tables.size(); ++t) {
      CAPTURE(t, times);
      REQUIRE(PullStatistics(*store, t, ids) == OracleStatistics(oracle, t, ids));
      REQUIRE(PullStatistics(*store, t, {}).empty());
    }
    store.reset();
    store = OpenStore(options);
    for (uint32_t t = 0; t < tables.size(); ++t) {
      CAPTURE(t, times);
      REQUIRE(PullStatistics(*store, t, ids) == OracleStatistics(oracle, t, ids));
    }
  }
}

TEST_CASE("statistics of an exact table count its own steps, and evicted rows have none") {
  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  TableOptions exact = MakeTable("exact", 2, Kind::kAdam);
  exact.optimizer.exact = true;
  const uint32_t e = OpenTableOf(*store, exact);
  const uint32_t s = OpenTableOf(*store, MakeTable("plain", 2, Kind::kSgd));
  REQUIRE(Apply(*store, {{{e, {1, 2}, Ones(4)}, {s, {1}, Ones(2)}}, 10}).ok());
  REQUIRE(Apply(*store, {{{e, {}, {}}}, 11}).ok());
  REQUIRE(Apply(*store, {{{e, {2}, Ones(2)}, {s, {2, 1}, Ones(4)}}, 12}).ok());
  CHECK(PullStatistics(*store, e, {1, 2, 3}) == std::vector<uint32_t>{1, 1, 2, 3, 0, 0});
  CHECK(PullStatistics(*store, s, {1, 2, 3}) == std::vector<uint32_t>{2, 12, 1, 12, 0, 0});
  EvictionRule rule;
  rule.updates_min = 2;
  REQUIRE(store->Evict(s, rule).ok());
  CHECK(PullStatistics(*store, s, {1, 2}) == std::vector<uint32_t>{2, 12, 0, 0});
}

TEST_CASE("reading leaves the contents as they are") {
  ScratchDirectory scratch;
  const std::vector<TableOptions> tables = {MakeTable("t", 8, Kind::kAdam)};
  auto store = OpenStore(MakeStore(scratch / "store"));
  OpenTableOf(*store, tables[0]);
  for (uint64_t n = 1; n <= 5; ++n) {
    REQUIRE(Apply(*store, RandomPush(tables, 2, n, 100, 300)).ok());
  }
  const uint64_t hash = HashOfStore(*store);
  const uint64_t rows = store->Stat()->at(0).rows;
  for (FeatureId id = 0; id < 3000; id += 3) PullRows(*store, 0, {id, MixBits(id % 300)});
  CHECK(HashOfStore(*store) == hash);
  CHECK(store->Stat()->at(0).rows == rows);
  CHECK(store->sequence() == 5);
}

// Pushes of several thousand rows, above what is worth several threads.
uint64_t HashWithThreads(int threads, int64_t memory_bytes) {
  ScratchDirectory scratch;
  const std::vector<TableOptions> tables = {MakeTable("a", 16, Kind::kAdagrad),
                                            MakeTable("b", 1, Kind::kFtrl)};
  ThreadPool pool(threads);
  StoreOptions options = MakeStore(scratch / "store");
  options.pool = threads == 0 ? nullptr : &pool;
  options.memory_bytes = memory_bytes;
  auto store = OpenStore(options);
  for (const TableOptions& table : tables) OpenTableOf(*store, table);
  for (uint64_t n = 1; n <= 8; ++n) {
    const TestPush push = RandomPush(tables, 6, n, 8000, 20000);
    REQUIRE(Apply(*store, push).ok());
    PullRows(*store, 0, push.parts[0].ids);
  }
  return HashOfStore(*store);
}

TEST_CASE("threads and memory make no difference to the bits") {
  const uint64_t hash = HashWithThreads(1, int64_t{64} << 20);
  CHECK(HashWithThreads(2, int64_t{64} << 20) == hash);
  CHECK(HashWithThreads(8, int64_t{16} << 20) == hash);
}

TEST_CASE("one store or four, the rows and the sum of hashes are the same") {
  ScratchDirectory scratch;
  const std::vector<TableOptions> tables = {MakeTable("a", 7, Kind::kAdam),
                                            MakeTable("b", 3, Kind::kRowwiseAdagrad)};
  constexpr uint32_t kShards = 4;
  auto whole = OpenStore(MakeStore(scratch / "whole"));
  std::vector<std::unique_ptr<EmbeddingStore>> shards;
  for (uint32_t s = 0; s < kShards; ++s) {
    shards.push_back(OpenStore(MakeStore(scratch / ("shard" + std::to_string(s)))));
  }
  for (uint32_t t = 0; t < tables.size(); ++t) {
    OpenTableOf(*whole, tables[t]);
    // In another order there: names make tables, not indices.
    for (auto& shard : shards) OpenTableOf(*shard, tables[1 - t]);
  }
  for (uint64_t n = 1; n <= 20; ++n) {
    const TestPush push = RandomPush(tables, 8, n, 60, 300);
    REQUIRE(Apply(*whole, push).ok());
    for (uint32_t s = 0; s < kShards; ++s) {
      TestPush part{{}, push.step, push.learning_rate_factor};
      for (const TestPush::Part& p : push.parts) {
        const auto dim = static_cast<size_t>(tables[p.table].dim);
        TestPush::Part mine{1 - p.table, {}, {}};
        for (size_t i = 0; i < p.ids.size(); ++i) {
          if (ShardOf(p.ids[i], kShards) != s) continue;
          mine.ids.push_back(p.ids[i]);
          mine.gradients.insert(mine.gradients.end(), p.gradients.begin() + i * dim,
                                p.gradients.begin() + (i + 1) * dim);
        }
        part.parts.push_back(std::move(mine));
      }
      REQUIRE(Apply(*shards[s], part).ok());
    }
  }
  uint64_t sum = 0;
  for (auto& shard : shards) sum += HashOfStore(*shard);
  CHECK(sum == HashOfStore(*whole));
  for (uint64_t i = 0; i < 300; ++i) {
    const FeatureId id = MixBits(i);
    REQUIRE(PullRows(*shards[ShardOf(id, kShards)], 1, {id}) == PullRows(*whole, 0, {id}));
  }
}

TEST_CASE("tables several times larger than memory keep every row right") {
  const Durability durability = GENERATE(Durability::kProcess, Durability::kNone);
  ScratchDirectory scratch;
  const std::vector<TableOptions> tables = {MakeTable("wide", 64, Kind::kAdagrad),
                                            MakeTable("narrow", 1, Kind::kSgd)};
  ThreadPool pool(2);
  StoreOptions options = MakeStore(scratch / "store");
  options.memory_bytes = int64_t{16} << 20;
  options.log_bytes_max = int64_t{8} << 20;
  options.durability = durability;
  options.pool = &pool;
  StoreOracle oracle(tables);
  uint64_t n = 0;
  {
    auto store = OpenStore(options);
    for (const TableOptions& table : tables) OpenTableOf(*store, table);
    for (; n < 40; ++n) {
      const TestPush push = RandomPush(tables, 9, n + 1, 6000, 60000);
      oracle.Push(push);
      const absl::Status status = Apply(*store, push);
      INFO(status);
      REQUIRE(status.ok());
      if (n % 5 != 0) continue;
      const std::vector<FeatureId>& ids = push.parts[0].ids;
      const std::vector<float> weights = PullRows(*store, 0, ids);
      for (size_t i = 0; i < ids.size(); i += 97) {
        const std::vector<float> row = oracle.RowOf(0, ids[i]).weights;
        REQUIRE(std::equal(row.begin(), row.end(), weights.begin() + i * 64));
      }
    }
    CHECK(oracle.rows().size() * 300 > 16e6);
    CHECK(oracle.Compare(*store) == "");
    uint64_t rows = 0;
    uint64_t memory = 0;
    const auto stats = store->Stat();
    REQUIRE(stats.ok());
    for (const StoreTableStat& stat : *stats) {
      rows += stat.rows;
      memory += stat.bytes_memory;
    }
    CHECK(rows == oracle.rows().size());
    CHECK(memory <= 16 << 20);
  }
  auto store = OpenStore(options);
  CHECK(oracle.Compare(*store) == "");
}

TEST_CASE("a push larger than the memory tier is refused whole") {
  ScratchDirectory scratch;
  StoreOptions options = MakeStore(scratch / "store");
  options.memory_bytes = int64_t{16} << 20;
  auto store = OpenStore(options);
  OpenTableOf(*store, MakeTable("t", 64, Kind::kAdagrad));
  REQUIRE(Apply(*store, {{{0, {1, 2, 3}, Ones(3 * 64)}}, 1, 1.0f}).ok());
  const uint64_t hash = HashOfStore(*store);
  TestPush::Part part{0, {}, Ones(size_t{64} * 60000)};
  for (FeatureId id = 0; id < 60000; ++id) part.ids.push_back(id);
  const absl::Status status = Apply(*store, {{part}, 2, 1.0f});
  CAPTURE(status);
  CHECK(absl::IsResourceExhausted(status));
  CHECK_THAT(std::string(status.message()), Contains("memory tier"));
  CHECK(HashOfStore(*store) == hash);
  CHECK(store->sequence() == 1);
  part.ids.resize(5000);
  part.gradients.resize(size_t{64} * 5000);
  CHECK(Apply(*store, {{part}, 2, 1.0f}).ok());
}

TEST_CASE("pulls beside pushes, flushes and cuts read whole rows") {
  ScratchDirectory scratch;
  ThreadPool pool(2);
  StoreOptions options = MakeStore(scratch / "store");
  options.memory_bytes = int64_t{16} << 20;
  options.log_bytes_max = int64_t{2} << 20;
  options.pool = &pool;
  auto store = OpenStore(options);
  TableOptions table = MakeTable("t", 32, Kind::kSgd);
  table.init_stddev = 0.0f;
  OpenTableOf(*store, table);
  std::atomic<bool> stop{false};
  std::atomic<int> torn{0};
  std::vector<std::thread> readers;
  for (uint64_t r = 0; r < 2; ++r) {
    readers.emplace_back([&, r] {
      for (uint64_t i = 0; !stop; ++i) {
        std::vector<FeatureId> ids(3000);
        for (size_t k = 0; k < ids.size(); ++k) ids[k] = MixBits(i * 3000 + k + r) % 200000;
        std::vector<float> weights(ids.size() * 32);
        const StorePull pull{0, ids, weights.data()};
        if (!store->Pull({&pull, 1}).ok()) ++torn;
        for (size_t k = 0; k < weights.size(); k += 32) {
          if (weights[k] != weights[k + 31]) ++torn;
        }
      }
    });
  }
  for (uint64_t n = 0; n < 40; ++n) {
    TestPush::Part part{0, {}, Ones(size_t{32} * 5000)};
    for (FeatureId id = 0; id < 5000; ++id) part.ids.push_back((n * 5000 + id) % 200000);
    const absl::Status status = Apply(*store, {{part}, static_cast<Step>(n), 1.0f});
    INFO(status);
    REQUIRE(status.ok());
    if (n % 16 == 7) REQUIRE(store->Cut(scratch / ("cut" + std::to_string(n))).ok());
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(torn == 0);
  CHECK(store->Stat()->at(0).rows == 200000);
}

}  // namespace
}  // namespace pagoda
