#include "worker/row_cache.h"

#include <catch2/catch.hpp>
#include <limits>
#include <map>

#include "base/random.h"
#include "base/thread_pool.h"

namespace pagoda {
namespace {

// Tables of dimensions 4, 2 and 4, and one that is not cached; row group 0 has the first
// and the third.
struct Fixture {
  explicit Fixture(DeviceKind kind, int64_t bytes_max, Step age_max = 1000) : pool(1) {
    ctx = *Context::Create({kind, 0}, &pool);
    queue = *CopyQueue::Create(*ctx);
    for (const int64_t dim : {4, 2, 4, 2}) {
      TableDecl& table = declaration.tables.emplace_back();
      table.name = "t" + std::to_string(declaration.tables.size());
      table.dim = dim;
    }
    auto made =
        RowCache::Create(*ctx, declaration, {true, true, true, false}, {bytes_max, age_max});
    INFO(made.status());
    REQUIRE(made.ok());
    cache = *std::move(made);
  }

  // A batch of these ids per table, laid out as PrepareBatch does.
  PreparedBatch Batch(std::vector<std::vector<FeatureId>> ids) const {
    PreparedBatch batch;
    ids.resize(4);
    batch.unique_ids = std::move(ids);
    batch.row_groups = {{4, 0, {0, 2}}, {2, 0, {1, 3}}};
    batch.table_rows.resize(4);
    for (int g = 0; g < 2; ++g) {
      RowGroup& group = batch.row_groups[static_cast<size_t>(g)];
      for (const int t : group.tables) {
        batch.table_rows[static_cast<size_t>(t)] = {g, group.num_rows};
        group.num_rows += static_cast<int64_t>(batch.unique_ids[static_cast<size_t>(t)].size());
      }
    }
    return batch;
  }
  // Rows of a batch whose value says table, id, column and version.
  std::vector<std::vector<float>> Rows(const PreparedBatch& batch, int version) const {
    std::vector<std::vector<float>> rows(4);
    for (size_t t = 0; t < 4; ++t) {
      for (const FeatureId id : batch.unique_ids[t]) {
        for (int64_t c = 0; c < declaration.tables[t].dim; ++c) {
          rows[t].push_back(Value(t, id, c, version));
        }
      }
    }
    return rows;
  }
  static float Value(size_t table, FeatureId id, int64_t c, int version) {
    return static_cast<float>(table * 100000 + id * 100 + static_cast<uint64_t>(c) * 10) +
           static_cast<float>(version);
  }
  void Admit(const PreparedBatch& batch, const CachedRows& cached, int version) {
    const auto rows = Rows(batch, version);
    std::vector<const float*> hosts;
    for (const auto& table : rows) hosts.push_back(table.data());
    REQUIRE(cache->Admit(*queue, batch, cached, hosts, version).ok());
  }
  // What Fill leaves of group 0's columns [begin, end); -1: nothing was written there.
  std::vector<float> Filled(const PreparedBatch& batch, const CachedRows& cached, int64_t begin,
                            int64_t end) {
    const int64_t n = batch.row_groups[0].num_rows;
    std::vector<float> host(static_cast<size_t>(n * (end - begin)), -1.0f);
    const Tensor to = *ctx->Upload<float>(host, {n, end - begin});
    REQUIRE(cache->Fill(*queue, batch, cached, {0, begin, end}, to).ok());
    REQUIRE(ctx->CopyToHost(to, host.data(), to.size() * 4).ok());
    return host;
  }

  ThreadPool pool;
  std::unique_ptr<Context> ctx;
  std::unique_ptr<CopyQueue> queue;
  Declaration declaration;
  std::unique_ptr<RowCache> cache;
};

std::vector<DeviceKind> Kinds() {
#if defined(PAGODA_GPU_EMULATED)
  return {DeviceKind::kCpu, DeviceKind::kFake, DeviceKind::kEmulated};
#else
  return {DeviceKind::kCpu, DeviceKind::kFake};
#endif
}

TEST_CASE("a row asked for twice is taken in, found, filled in by columns, and updated") {
  for (const DeviceKind kind : Kinds()) {
    CAPTURE(static_cast<int>(kind));
    Fixture f(kind, 1 << 16);
    const PreparedBatch batch = f.Batch({{5, 6}, {5}, {5}, {5}});
    for (int step = 1; step <= 2; ++step) {
      const CachedRows none = f.cache->Pin(batch, step);
      for (const auto& positions : none.positions) REQUIRE(positions.empty());
      f.Admit(batch, none, step - 1);
    }
    REQUIRE(f.cache->stats().admitted == 4);
    // 6 first, 7 is new; the table that may not be cached has nothing.
    const PreparedBatch next = f.Batch({{6, 7, 5}, {5}, {7, 5}, {5}});
    const CachedRows cached = f.cache->Pin(next, 3);
    REQUIRE(cached.positions == RowPositions{{0, 2}, {0}, {1}, {}});
    REQUIRE(cached.IsHit(0, 2));
    REQUIRE_FALSE(cached.IsHit(0, 1));
    REQUIRE_FALSE(cached.IsHit(7, 0));
    const auto value = Fixture::Value;
    REQUIRE(f.Filled(next, cached, 1, 3) ==
            std::vector<float>{value(0, 6, 1, 1), value(0, 6, 2, 1), -1, -1, value(0, 5, 1, 1),
                               value(0, 5, 2, 1), -1, -1, value(2, 5, 1, 1), value(2, 5, 2, 1)});
    // A push of 7 and 5 comes back with 5's new row.
    const std::vector<FeatureId> pushed = {7, 5};
    REQUIRE(f.cache->Find(0, pushed) == std::vector<uint32_t>{1});
    REQUIRE(f.cache->Find(3, pushed).empty());
    const std::vector<float> row = {1, 2, 3, 4};
    REQUIRE(f.cache->Update(*f.queue, 0, pushed, std::vector<uint32_t>{1}, row.data(), 3).ok());
    // An older answer, and what was read before the push, change it no more.
    const std::vector<float> old = {9, 9, 9, 9};
    REQUIRE(f.cache->Update(*f.queue, 0, pushed, std::vector<uint32_t>{1}, old.data(), 2).ok());
    f.Admit(f.Batch({{5}}), CachedRows(), 2);
    const PreparedBatch five = f.Batch({{5}});
    const CachedRows again = f.cache->Pin(five, 4);
    REQUIRE(f.Filled(five, again, 0, 4) == row);
    std::vector<float> host(4);
    REQUIRE(f.cache->ReadBack(again, {host.data(), nullptr, nullptr, nullptr}).ok());
    REQUIRE(host == row);
    f.cache->Unpin(cached);
    f.cache->Unpin(again);
    REQUIRE(f.cache->stats().hits == 5);
    REQUIRE(f.cache->stats().lookups == 4 + 4 + 6 + 1);
  }
}

TEST_CASE("pinned rows stay, others make room when they have not been asked for lately") {
  // Four slots of dimension 4, and one and a bit of dimension 2.
  Fixture f(DeviceKind::kCpu, 4 * 16 + 16);
  REQUIRE(f.cache->num_slots() >= 4);
  const PreparedBatch first = f.Batch({{1, 2, 3, 4}});
  f.Admit(first, CachedRows(), 1);
  f.Admit(first, CachedRows(), 1);
  const auto admitted = f.cache->stats().admitted;
  REQUIRE(admitted >= 4);
  const CachedRows pinned = f.cache->Pin(f.Batch({{1, 2}}), 2);
  REQUIRE(pinned.positions[0].size() == 2);
  // Much later others come, again and again.
  for (Step step = 100; step < 110; ++step) {
    f.Admit(f.Batch({{11, 12, 13, 14, 15, 16}}), CachedRows(), static_cast<int>(step));
  }
  REQUIRE(f.cache->stats().evicted >= 2);
  const PreparedBatch both = f.Batch({{1, 2, 3, 4}});
  const CachedRows left = f.cache->Pin(both, 110);
  REQUIRE(left.positions[0] == std::vector<int32_t>{0, 1});
  REQUIRE(f.Filled(f.Batch({{1, 2}}), pinned, 0, 1) ==
          std::vector<float>{Fixture::Value(0, 1, 0, 1), Fixture::Value(0, 2, 0, 1)});
  f.cache->Unpin(pinned);
  f.cache->Unpin(left);
}

TEST_CASE("a row that was read too long ago is no hit, and is read again") {
  Fixture f(DeviceKind::kCpu, 1 << 12, 10);
  const PreparedBatch batch = f.Batch({{1}});
  f.Admit(batch, CachedRows(), 1);
  f.Admit(batch, CachedRows(), 1);
  const CachedRows hit = f.cache->Pin(batch, 11);
  REQUIRE(hit.positions[0].size() == 1);
  f.cache->Unpin(hit);
  const CachedRows aged = f.cache->Pin(batch, 12);
  REQUIRE(aged.positions[0].empty());
  REQUIRE(f.cache->stats().aged == 1);
  f.Admit(batch, aged, 11);
  const CachedRows fresh = f.cache->Pin(batch, 12);
  REQUIRE(f.Filled(batch, fresh, 0, 1) == std::vector<float>{Fixture::Value(0, 1, 0, 11)});
  f.cache->Unpin(fresh);
}

TEST_CASE("random batches read what a plain map holds") {
  for (const DeviceKind kind : Kinds()) {
    Fixture f(kind, 16 * 16 + 8 * 8);                        // Far fewer slots than ids.
    std::map<std::pair<size_t, FeatureId>, int> version_of;  // After the last push.
    for (int step = 1; step <= 60; ++step) {
      CAPTURE(static_cast<int>(kind), step);
      std::vector<std::vector<FeatureId>> ids(4);
      for (size_t t = 0; t < 4; ++t) {
        const RandomKey key = RandomKey{3}.Derive(t).Derive(static_cast<uint64_t>(step));
        for (FeatureId id = 0; id < 40; ++id) {
          if (RandomUniform(key, id) < 3.0f / static_cast<float>(id + 3)) ids[t].push_back(id);
        }
      }
      const PreparedBatch batch = f.Batch(ids);
      const CachedRows cached = f.cache->Pin(batch, step);
      const std::vector<float> filled = f.Filled(batch, cached, 0, 4);
      for (const size_t t : {0u, 2u}) {
        const auto first = static_cast<size_t>(batch.table_rows[t].first_row);
        for (size_t i = 0; i < ids[t].size(); ++i) {
          const bool hit = cached.IsHit(t, static_cast<int32_t>(i));
          const float want = hit ? Fixture::Value(t, ids[t][i], 3, version_of[{t, ids[t][i]}]) : -1;
          REQUIRE(filled[(first + i) * 4 + 3] == want);
        }
      }
      // What was pulled is as it was after the last push.
      std::vector<std::vector<float>> rows(4);
      std::vector<const float*> hosts;
      for (size_t t = 0; t < 4; ++t) {
        for (const FeatureId id : ids[t]) {
          for (int64_t c = 0; c < f.declaration.tables[t].dim; ++c) {
            rows[t].push_back(Fixture::Value(t, id, c, version_of[{t, id}]));
          }
        }
        hosts.push_back(rows[t].data());
      }
      REQUIRE(f.cache->Admit(*f.queue, batch, cached, hosts, step - 1).ok());
      f.cache->Unpin(cached);
      // The push of all of them.
      for (size_t t = 0; t < 4; ++t) {
        const std::vector<uint32_t> back = f.cache->Find(t, ids[t]);
        std::vector<float> returned;
        for (const FeatureId id : ids[t]) version_of[{t, id}] = step;
        for (const uint32_t position : back) {
          for (int64_t c = 0; c < f.declaration.tables[t].dim; ++c) {
            returned.push_back(Fixture::Value(t, ids[t][position], c, step));
          }
        }
        REQUIRE(f.cache->Update(*f.queue, t, ids[t], back, returned.data(), step).ok());
      }
    }
    REQUIRE(f.cache->stats().hits > 100);
    REQUIRE(f.cache->stats().evicted > 10);
  }
}

TEST_CASE("which tables may be cached, and budgets too small") {
  proto::TableSpec plain, exact, evicting;
  exact.mutable_optimizer()->set_exact(true);
  evicting.mutable_eviction()->set_rows_max(10);
  CHECK(CanCache(plain, "sync", 1));
  CHECK_FALSE(CanCache(plain, "sync", 2));
  CHECK(CanCache(plain, "async", 2));
  CHECK_FALSE(CanCache(exact, "sync", 1));
  CHECK_FALSE(CanCache(evicting, "async", 1));
  exact.set_frozen(true);
  CHECK(CanCache(exact, "sync", 1));
  ThreadPool pool(1);
  const auto ctx = *Context::Create({}, &pool);
  Declaration declaration;
  declaration.tables.emplace_back().dim = 100;
  const auto refused = RowCache::Create(*ctx, declaration, {true}, {399, 10});
  REQUIRE(refused.status().code() == absl::StatusCode::kInvalidArgument);
  REQUIRE_THAT(std::string(refused.status().message()), Catch::Contains("399 bytes"));
#if defined(PAGODA_GPU_EMULATED)
  // The device refuses what it has no room for, before the host takes any.
  const auto gpu = *Context::Create({DeviceKind::kEmulated, 0}, &pool, 1 << 20);
  const auto larger = RowCache::Create(*gpu, declaration, {true}, {int64_t{1} << 45, 10});
  REQUIRE(absl::IsResourceExhausted(larger.status()));
#endif
}

}  // namespace
}  // namespace pagoda
