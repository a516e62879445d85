#include "embedding_store/memory_tier.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <numeric>
#include <set>
#include <thread>

#include "base/thread_pool.h"
#include "embedding_store/sparse_optimizer.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Kind = SparseOptimizerKind;

struct TierFixture {
  std::unique_ptr<MemoryTier> tier;
  std::vector<TableOptions> tables = {MakeTable("a", 3, Kind::kSgd),
                                      MakeTable("b", 16, Kind::kAdagrad)};
  std::vector<std::atomic<int64_t>> rows = std::vector<std::atomic<int64_t>>(2);

  explicit TierFixture(int64_t bytes = int64_t{32} << 20) {
    auto created = MemoryTier::Create(bytes);
    REQUIRE(created.ok());
    tier = *std::move(created);
    for (const TableOptions& table : tables) tier->AddTable(ShapeOf(table));
  }

  // A push through the tier alone; what is missing starts at `initial`.
  bool Push(uint32_t table, const std::vector<FeatureId>& ids, uint64_t sequence,
            float gradient = 1.0f, float initial = 0.0f) {
    const auto dim = tables[table].dim;
    const std::vector<float> gradients(ids.size() * static_cast<size_t>(dim), gradient);
    const RowSource source{table, dim, ids, nullptr, gradients.data()};
    RowBatch batch;
    tier->Group({&source, 1}, &batch);
    std::vector<char> row(4096);
    std::fill_n(reinterpret_cast<float*>(row.data()), row.size() / 4, initial);
    *HeaderOf(row.data()) = RowHeader{};
    for (size_t p = 0; p < tier->num_partitions(); ++p) {
      std::vector<RowRequest*> misses;
      bool good = tier->PinFound(batch, p, &misses) == nullptr;
      for (RowRequest* miss : misses) {
        good = good && tier->AddPinned(miss, row.data(), false) == MemoryTier::Added::kPinned;
      }
      if (good) continue;
      for (size_t q = 0; q < tier->num_partitions(); ++q) tier->Unpin(batch, q);
      return false;
    }
    std::vector<TableUpdate> updates(2);
    for (size_t t = 0; t < 2; ++t) {
      updates[t].kind = tables[t].optimizer.kind;
      updates[t].settings = MakeRowUpdateSettings(tables[t].optimizer, 1.0f, 1.0f);
      updates[t].dim = tables[t].dim;
      updates[t].rows = &rows[t];
    }
    for (size_t p = 0; p < tier->num_partitions(); ++p) {
      tier->Apply(batch, p, sequence, static_cast<Step>(sequence), updates);
    }
    return true;
  }

  std::vector<float> Read(uint32_t table, const std::vector<FeatureId>& ids,
                          std::vector<RowMiss>* misses) {
    std::vector<float> weights(ids.size() * static_cast<size_t>(tables[table].dim), -7.0f);
    const RowSource source{table, tables[table].dim, ids, weights.data()};
    RowBatch batch;
    tier->Group({&source, 1}, &batch);
    for (size_t p = 0; p < tier->num_partitions(); ++p) tier->Read(batch, p, misses);
    return weights;
  }
};

std::vector<FeatureId> Ids(size_t count, FeatureId first = 0) {
  std::vector<FeatureId> ids(count);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

TEST_CASE("grouping keeps every request, once, with its place") {
  TierFixture fixture;
  const size_t count = GENERATE(size_t{0}, size_t{1}, size_t{7}, size_t{1000});
  const std::vector<FeatureId> first = Ids(count);
  const std::vector<FeatureId> second = Ids(3, 5);
  std::vector<float> weights(count * 3 + 3 * 16);
  const RowSource sources[] = {{0, 3, first, weights.data()},
                               {1, 16, second, weights.data() + count * 3}};
  RowBatch batch;
  fixture.tier->Group(sources, &batch);
  REQUIRE(batch.size() == count + 3);
  std::set<float*> places;
  for (size_t p = 0; p < fixture.tier->num_partitions(); ++p) {
    for (const RowRequest& request : batch.partition(p)) {
      REQUIRE(fixture.tier->PartitionOf(request.id) == p);
      REQUIRE(request.hash == MemoryPartition::HashOf(request.id, request.table));
      float* expected = request.table == 0 ? weights.data() + request.id * 3
                                           : weights.data() + count * 3 + (request.id - 5) * 16;
      REQUIRE(request.weights == expected);
      places.insert(request.weights);
    }
  }
  CHECK(places.size() == count + 3);
}

TEST_CASE("a batch cut up for several threads is grouped as by one") {
  TierFixture fixture;
  const size_t count = GENERATE(size_t{4095}, size_t{4097}, size_t{30001});
  const std::vector<FeatureId> first = Ids(count);
  const std::vector<FeatureId> second = Ids(9000, 5);
  std::vector<float> weights(count * 3 + second.size() * 16);
  const RowSource sources[] = {{0, 3, first, weights.data()},
                               {1, 16, second, weights.data() + count * 3}};
  RowBatch alone, together;
  fixture.tier->Group(sources, &alone);
  ThreadPool pool(4);
  int runs = 0;
  fixture.tier->Group(sources, &together,
                      [&](size_t parts, const std::function<void(size_t)>& body) {
                        ++runs;
                        pool.ParallelFor(static_cast<int64_t>(parts),
                                         [&](int64_t i) { body(static_cast<size_t>(i)); });
                      });
  CHECK(runs == 2);
  for (size_t p = 0; p < fixture.tier->num_partitions(); ++p) {
    const auto a = alone.partition(p);
    const auto b = together.partition(p);
    REQUIRE(a.size() == b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      REQUIRE(a[i].id == b[i].id);
      REQUIRE(a[i].table == b[i].table);
      REQUIRE(a[i].hash == b[i].hash);
      REQUIRE(a[i].weights == b[i].weights);
    }
  }
}

TEST_CASE("a push reaches its own rows though slots move between pin and update") {
  TierFixture fixture;
  const std::vector<FeatureId> ids = Ids(3000);
  REQUIRE(fixture.Push(0, ids, 1));
  const std::vector<float> gradients(ids.size() * 3, 1.0f);
  const RowSource source{0, 3, ids, nullptr, gradients.data()};
  RowBatch batch;
  fixture.tier->Group({&source, 1}, &batch);
  const bool keep = GENERATE(true, false);  // Whether the push goes on, or lets go.
  for (size_t p = 0; p < fixture.tier->num_partitions(); ++p) {
    std::vector<RowRequest*> misses;
    REQUIRE(fixture.tier->PinFound(batch, p, &misses) == nullptr);
    REQUIRE(misses.empty());
  }
  // Pulls bring in enough for every index to grow.
  const std::vector<FeatureId> others = Ids(200000, 1000000);
  std::vector<RowMiss> misses;
  fixture.Read(0, others, &misses);
  REQUIRE(misses.size() == others.size());
  std::vector<char> row(64);
  for (const RowMiss& miss : misses) {
    const ReadRow read{&miss, row.data(), false};
    fixture.tier->Cache({&read, 1});
  }
  std::vector<TableUpdate> updates(2);
  updates[0].kind = Kind::kSgd;
  updates[0].settings = MakeRowUpdateSettings(fixture.tables[0].optimizer, 1.0f, 1.0f);
  updates[0].dim = 3;
  updates[0].rows = &fixture.rows[0];
  for (size_t p = 0; p < fixture.tier->num_partitions(); ++p) {
    if (keep) {
      fixture.tier->Apply(batch, p, 2, 2, updates);
    } else {
      fixture.tier->Unpin(batch, p);
    }
  }
  misses.clear();
  const std::vector<float> weights = fixture.Read(0, ids, &misses);
  CHECK(misses.empty());
  CHECK(weights == std::vector<float>(weights.size(), keep ? -2.0f : -1.0f));
  CHECK(fixture.rows[0] == 3000);
  CHECK(fixture.Push(0, ids, 3));  // No pin was left behind.
}

TEST_CASE("rows pushed are read back, repeats too, others are misses") {
  TierFixture fixture;
  REQUIRE(fixture.Push(0, Ids(1000), 1));
  REQUIRE(fixture.Push(0, Ids(500), 2));
  CHECK(fixture.rows[0] == 1000);
  std::vector<RowMiss> misses;
  const std::vector<float> weights = fixture.Read(0, {3, 3, 700, 5000, 3}, &misses);
  CHECK(weights == std::vector<float>{-2, -2, -2, -2, -2, -2, -1, -1, -1, -7, -7, -7, -2, -2, -2});
  REQUIRE(misses.size() == 1);
  CHECK(misses[0].request.id == 5000);
  // The same id in another table is another row.
  misses.clear();
  fixture.Read(1, {3}, &misses);
  CHECK(misses.size() == 1);
}

TEST_CASE("an id that comes twice is found, and nothing changes") {
  TierFixture fixture;
  REQUIRE(fixture.Push(0, Ids(10), 1));
  CHECK_FALSE(fixture.Push(0, {1, 2, 3, 2}, 2));
  CHECK_FALSE(fixture.Push(0, {100, 101, 100}, 2));
  std::vector<RowMiss> misses;
  CHECK(fixture.Read(0, {2}, &misses) == std::vector<float>{-1, -1, -1});
  CHECK(fixture.rows[0] == 10);
  CHECK(fixture.Push(0, {1, 2, 3}, 2));  // No pin was left behind.
}

TEST_CASE("a row's own sequence stops a replay from counting twice") {
  TierFixture fixture;
  REQUIRE(fixture.Push(0, {1, 2}, 5));
  REQUIRE(fixture.Push(0, {1, 3}, 5));
  REQUIRE(fixture.Push(0, {1, 2}, 4));
  std::vector<RowMiss> misses;
  CHECK(fixture.Read(0, {1, 2, 3}, &misses) ==
        std::vector<float>{-1, -1, -1, -1, -1, -1, -1, -1, -1});
  CHECK(fixture.rows[0] == 3);
}

TEST_CASE("a flush copies dirty rows in key order and knows what changed meanwhile") {
  TierFixture fixture;
  REQUIRE(fixture.Push(0, Ids(100), 1));
  REQUIRE(fixture.Push(1, Ids(50), 2));
  const int64_t unwritten = fixture.tier->unwritten_bytes();
  CHECK(unwritten == 100 * 32 + 50 * 144);
  uint64_t counted = 0;
  for (uint32_t count : fixture.tier->CountDirtyByBucket()) counted += count;
  CHECK(counted == 150);
  std::vector<RowKey> keys = fixture.tier->CollectDirty(0, 30000);
  const std::vector<RowKey> rest = fixture.tier->CollectDirty(30000, kNumBuckets);
  keys.insert(keys.end(), rest.begin(), rest.end());
  REQUIRE(keys.size() == 150);
  REQUIRE(std::is_sorted(keys.begin(), keys.end()));

  std::vector<char> row(256);
  bool on_disk = true;
  for (const RowKey& key : keys) {
    REQUIRE(fixture.tier->CopyForWrite(key, row.data(), &on_disk));
    CHECK_FALSE(on_disk);
    CHECK(HeaderOf(row.data())->sequence == key.table + 1);
    CHECK_FALSE(fixture.tier->CopyForWrite(key, row.data(), &on_disk));
  }
  REQUIRE(fixture.Push(0, Ids(10), 3));  // Changes while the flush writes.
  CHECK(fixture.tier->unwritten_bytes() == unwritten);
  SECTION("written") {
    fixture.tier->FinishWrites(true);
    CHECK(fixture.tier->unwritten_bytes() == 10 * 32);
    CHECK(fixture.tier->CollectDirty(0, kNumBuckets).size() == 10);
    REQUIRE(fixture.tier->CopyForWrite(RowKey::Of(0, 4), row.data(), &on_disk));
    CHECK(on_disk);
  }
  SECTION("failed") {
    fixture.tier->FinishWrites(false);
    CHECK(fixture.tier->unwritten_bytes() == unwritten);
    CHECK(fixture.tier->CollectDirty(0, kNumBuckets).size() == 150);
    REQUIRE(fixture.tier->CopyForWrite(RowKey::Of(0, 4), row.data(), &on_disk));
    CHECK_FALSE(on_disk);
  }
}

TEST_CASE("a copy from disk never replaces a newer row, nor enters after one left") {
  TierFixture fixture;
  std::vector<RowMiss> misses;
  fixture.Read(0, {1, 2}, &misses);
  REQUIRE(misses.size() == 2);
  const RowMiss& one = misses[0].request.id == 1 ? misses[0] : misses[1];
  REQUIRE(fixture.Push(0, {1}, 9));
  std::vector<char> row(64);
  HeaderOf(row.data())->sequence = 3;
  const ReadRow older{&one, row.data(), true};
  fixture.tier->Cache({&older, 1});
  CHECK(HeaderOf(row.data())->sequence == 9);  // The newer one, for the reader too.

  // Rows pushed, written and evicted meanwhile: what was read may be older.
  TierFixture small(MemoryTier::kBytesMin);
  misses.clear();
  small.Read(1, {1}, &misses);
  REQUIRE(misses.size() == 1);
  for (uint64_t s = 1; s <= 60; ++s) {
    REQUIRE(small.Push(1, Ids(2000, s * 10000), s));
    bool on_disk = false;
    std::vector<char> copy(256);
    for (const RowKey& key : small.tier->CollectDirty(0, kNumBuckets)) {
      small.tier->CopyForWrite(key, copy.data(), &on_disk);
    }
    small.tier->FinishWrites(true);
  }
  std::vector<char> stale(256);
  ReadRow read{&misses[0], stale.data(), true};
  small.tier->Cache({&read, 1});
  CHECK_FALSE(small.tier->CopyRow(1, 1, stale.data()));
  misses.clear();
  small.Read(1, {1}, &misses);
  REQUIRE(misses.size() == 1);
  read.miss = &misses[0];
  small.tier->Cache({&read, 1});
  CHECK(small.tier->CopyRow(1, 1, stale.data()));
}

TEST_CASE("the budget holds, and a push larger than it is refused whole") {
  TierFixture fixture(MemoryTier::kBytesMin);
  CHECK(fixture.Push(1, Ids(10000), 1));
  CHECK_FALSE(fixture.Push(1, Ids(50000, 100000), 2));
  CHECK(fixture.tier->used_bytes() <= fixture.tier->budget_bytes());
  CHECK(fixture.rows[1] == 10000);
  CHECK(fixture.tier->RowsMax(1) < 50000);
}

TEST_CASE("readers beside a writer see whole rows") {
  TierFixture fixture;
  const std::vector<FeatureId> ids = Ids(300);
  REQUIRE(fixture.Push(0, ids, 1));
  std::atomic<bool> stop{false};
  std::atomic<int> torn{0};
  std::vector<std::thread> readers;
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&] {
      while (!stop) {
        std::vector<RowMiss> misses;
        const std::vector<float> weights = fixture.Read(0, ids, &misses);
        for (size_t i = 0; i < weights.size(); i += 3) {
          if (weights[i] != weights[i + 1] || weights[i] != weights[i + 2]) ++torn;
        }
      }
    });
  }
  for (uint64_t s = 2; s < 200; ++s) REQUIRE(fixture.Push(0, ids, s));
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(torn == 0);
}

}  // namespace
}  // namespace pagoda
