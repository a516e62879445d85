// Admission in a store, held against exact counts: what is pushed, reopened, killed, cut,
// restored and moved.
#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <thread>

#include "base/hash.h"
#include "tests/embedding_store/admission_oracle.h"
#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;
using Kind = SparseOptimizerKind;
namespace stdfs = std::filesystem;

TableOptions Frequent(TableOptions table, int64_t count, int64_t window_steps) {
  table.admission = {.kind = AdmissionKind::kFrequency,
                     .count = count,
                     .window_steps = window_steps,
                     .sketch_mib = 2};
  return table;
}

// So few ids that hardly two share a bucket: counts are exact.
constexpr uint64_t kIdRange = 150;

const std::vector<TableOptions>& Tables() {
  static const std::vector<TableOptions> tables = [] {
    std::vector<TableOptions> made = {Frequent(MakeTable("a", 3, Kind::kAdagrad), 3, 25),
                                      MakeTable("b", 5, Kind::kAdam), MakeTable("c", 1, Kind::kSgd),
                                      Frequent(MakeTable("d", 2, Kind::kSgd), 5, 40)};
    made[2].admission = {.kind = AdmissionKind::kProbability, .probability = 0.3};
    made[3].precision = RowPrecision::kF16;
    return made;
  }();
  return tables;
}

TestPush PushNumber(uint64_t n) {
  return RandomPush(Tables(), 23, n, 12, kIdRange);
}

std::unique_ptr<EmbeddingStore> OpenAll(const StoreOptions& options) {
  auto store = OpenStore(options);
  for (const TableOptions& table : Tables()) OpenTableOf(*store, table);
  return store;
}

// A stream of pushes into a store and into oracles.
struct Run {
  StoreOracle rows{Tables()};
  AdmissionOracle admission{Tables()};
  uint64_t number = 0;

  void Push(EmbeddingStore& store, uint64_t count) {
    for (const uint64_t end = number + count; number < end;) {
      const TestPush push = PushNumber(++number);
      const absl::Status status = Apply(store, push);
      INFO(status);
      REQUIRE(status.ok());
      rows.Push(admission.Filter(push));
    }
  }
  void Check(EmbeddingStore& store) const {
    CHECK(rows.Compare(store) == "");
    const auto stats = store.Stat();
    REQUIRE(stats.ok());
    for (uint32_t t = 0; t < Tables().size(); ++t) {
      CAPTURE(t);
      CHECK((*stats)[t].refused == admission.refused(t));
    }
  }
};

// Opens a copy of a store's directory as a kill would leave it. RocksDB may remove a merged
// file under the copying: then once more.
std::unique_ptr<EmbeddingStore> OpenKilled(const std::string& from, const StoreOptions& options) {
  for (int attempt = 0; attempt < 50; ++attempt) {
    std::error_code error;
    stdfs::remove_all(options.path);
    stdfs::copy(from, options.path, stdfs::copy_options::recursive, error);
    if (error) continue;
    auto store = EmbeddingStore::Open(options);
    if (store.ok()) return *std::move(store);
  }
  FAIL("no copy opens");
  return nullptr;
}

TEST_CASE("rows are admitted as exact counts say; others read as new and are counted") {
  ScratchDirectory scratch;
  auto store = OpenAll(MakeStore(scratch / "store"));
  Run run;
  run.Push(*store, 200);
  run.Check(*store);
  CHECK(run.admission.refused(0) > 100);
  CHECK(run.admission.refused(1) == 0);
  CHECK(run.admission.refused(2) > 100);
  // Reading, also of ids that nobody pushed, changes nothing.
  const uint64_t hash = HashOfStore(*store);
  std::vector<FeatureId> ids;
  for (uint64_t i = 0; i < 2 * kIdRange; ++i) ids.push_back(MixBits(i));
  for (int i = 0; i < 5; ++i) PullRows(*store, 0, ids);
  CHECK(HashOfStore(*store) == hash);
  run.Push(*store, 50);
  run.Check(*store);
}

TEST_CASE("zero ids, all refused, and one table listed twice in a push") {
  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  const uint32_t table = OpenTableOf(*store, Frequent(MakeTable("a", 1, Kind::kSgd), 2, 1000));
  const std::vector<float> gradients(3, 1.0f);
  const auto push = [&](const std::vector<FeatureId>& first, const std::vector<FeatureId>& second) {
    const StorePush parts[] = {{table, first, {gradients.data(), first.size()}},
                               {table, second, {gradients.data(), second.size()}}};
    return store->Push(parts, 1, 1.0f);
  };
  REQUIRE(push({}, {}).ok());
  REQUIRE(push({1, 2, 3}, {4}).ok());
  CHECK(store->Stat()->at(0).rows == 0);
  CHECK(store->Stat()->at(0).refused == 4);
  REQUIRE(push({5}, {1, 4}).ok());
  CHECK(store->Stat()->at(0).rows == 2);
  CHECK(store->Stat()->at(0).refused == 5);
  CHECK(absl::IsInvalidArgument(push({7}, {7})));
  CHECK(store->Stat()->at(0).refused == 5);
  const uint64_t hash = HashOfStore(*store);
  auto copy = OpenKilled(scratch / "store", MakeStore(scratch / "copy"));
  CHECK(HashOfStore(*copy) == hash);
  CHECK(copy->Stat()->at(0).refused == 5);
  // The counts are as they were: 2, 3 and 5 were seen once, 6 never.
  const std::vector<FeatureId> ids = {2, 5, 6};
  const StorePush again{0, ids, gradients};
  REQUIRE(copy->Push({&again, 1}, 1, 1.0f).ok());
  CHECK(copy->Stat()->at(0).rows == 4);
}

TEST_CASE("admission goes on exactly after reopening and after kills") {
  ScratchDirectory scratch;
  const Durability durability = GENERATE(Durability::kProcess, Durability::kMachine);
  const auto options = [&](int number) {
    StoreOptions made = MakeStore(scratch / ("store" + std::to_string(number)));
    made.durability = durability;
    return made;
  };
  auto store = OpenAll(options(0));
  Run run;
  for (int i = 0; i < 4; ++i) {
    run.Push(*store, 30);
    if (i % 2 == 0) {  // With rows and counts on disk, and a log of later pushes.
      REQUIRE(store->Cut(scratch / ("cut" + std::to_string(i))).ok());
      run.Push(*store, 17);
    }
    store = OpenKilled(options(i).path, options(i + 1));
    run.Check(*store);
    store.reset();
    store = OpenAll(options(i + 1));
    run.Check(*store);
  }
  run.Push(*store, 60);
  run.Check(*store);
}

TEST_CASE("a cut holds the counts, and a store goes on from it as if nothing had been") {
  ScratchDirectory scratch;
  auto store = OpenAll(MakeStore(scratch / "store"));
  Run run;
  run.Push(*store, 70);
  REQUIRE(store->Cut(scratch / "cut").ok());
  const Run at_cut = run;
  run.Push(*store, 60);
  run.Check(*store);
  const uint64_t hash = HashOfStore(*store);
  REQUIRE(store->Restore(scratch / "cut", "").ok());
  for (const TableOptions& table : Tables()) OpenTableOf(*store, table);
  Run again = at_cut;
  again.Check(*store);
  again.Push(*store, 60);
  again.Check(*store);
  CHECK(HashOfStore(*store) == hash);
  StoreOptions read_only = MakeStore(scratch / "cut");
  read_only.read_only = true;
  at_cut.Check(*OpenStore(read_only));
}

// Each shard's part of a push.
void PushTo(std::vector<std::unique_ptr<EmbeddingStore>>& shards, const TestPush& whole) {
  const auto count = static_cast<uint32_t>(shards.size());
  for (uint32_t s = 0; s < count; ++s) {
    TestPush mine;
    mine.step = whole.step;
    mine.learning_rate_factor = whole.learning_rate_factor;
    for (const TestPush::Part& part : whole.parts) {
      const auto dim = static_cast<size_t>(Tables()[part.table].dim);
      TestPush::Part& to = mine.parts.emplace_back();
      to.table = part.table;
      for (size_t i = 0; i < part.ids.size(); ++i) {
        if (ShardOf(part.ids[i], count) != s) continue;
        to.ids.push_back(part.ids[i]);
        const float* gradient = part.gradients.data() + i * dim;
        to.gradients.insert(to.gradients.end(), gradient, gradient + dim);
      }
    }
    REQUIRE(Apply(*shards[s], mine).ok());
  }
}

TEST_CASE("any number of shards, moved between or not, admits the same rows") {
  ScratchDirectory scratch;
  auto whole = OpenAll(MakeStore(scratch / "whole"));
  Run run;
  std::vector<std::unique_ptr<EmbeddingStore>> shards;
  std::vector<std::string> cuts;
  for (const uint32_t count : {2u, 1u, 3u, 7u, 1u}) {
    CAPTURE(count);
    std::vector<std::unique_ptr<EmbeddingStore>> next;
    for (uint32_t s = 0; s < count; ++s) {
      const std::string name =
          std::to_string(count) + "-" + std::to_string(run.number) + "-" + std::to_string(s);
      StoreOptions options = MakeStore(scratch / name);
      options.memory_bytes = int64_t{16} << 20;
      next.push_back(OpenStore(options));
      if (!cuts.empty()) {
        const absl::Status restored = next[s]->RestoreShard({cuts, s, count}, "");
        INFO(restored);
        REQUIRE(restored.ok());
      }
      for (const TableOptions& table : Tables()) OpenTableOf(*next[s], table);
    }
    shards = std::move(next);
    for (int i = 0; i < 40; ++i) {
      PushTo(shards, PushNumber(run.number + 1));
      run.Push(*whole, 1);
    }
    cuts.clear();
    uint64_t hash = 0;
    std::vector<uint64_t> refused(Tables().size());
    for (uint32_t s = 0; s < count; ++s) {
      hash += HashOfStore(*shards[s]);
      for (size_t t = 0; t < refused.size(); ++t) refused[t] += shards[s]->Stat()->at(t).refused;
      cuts.push_back(scratch / ("cut-" + std::to_string(run.number) + "-" + std::to_string(s)));
      REQUIRE(shards[s]->Cut(cuts.back()).ok());
    }
    CHECK(hash == HashOfStore(*whole));
    for (uint32_t t = 0; t < refused.size(); ++t) CHECK(refused[t] == run.admission.refused(t));
  }
  run.Check(*whole);
}

TEST_CASE("an evicted row has to be admitted anew") {
  ScratchDirectory scratch;
  auto store = OpenAll(MakeStore(scratch / "store"));
  Run run;
  run.Push(*store, 100);
  uint64_t evicted = 0;
  for (uint32_t t = 0; t < Tables().size(); ++t) {
    const auto result = store->Evict(t, {.norm_min = 1e9f});
    REQUIRE(result.ok());
    CHECK(result->evicted > 0);
    CHECK(store->Stat()->at(t).evicted == result->evicted);
    CHECK(store->Stat()->at(t).rows == 0);
    run.admission.Evict(t);
    evicted += result->evicted;
  }
  CHECK(HashOfStore(*store) == 0);
  run.rows = StoreOracle(Tables());
  run.Push(*store, 100);
  run.Check(*store);
  store.reset();
  store = OpenAll(MakeStore(scratch / "store"));
  run.Check(*store);
  uint64_t counted = 0;
  for (uint32_t t = 0; t < Tables().size(); ++t) counted += store->Stat()->at(t).evicted;
  CHECK(counted == evicted);
}

TEST_CASE("counts that a failed flush could not write are written by the next") {
  ScratchDirectory scratch;
  FaultyFileSystem files;
  StoreOptions options = MakeStore(scratch / "store");
  options.file_system = &files;
  Run run;
  {
    auto store = OpenAll(options);
    run.Push(*store, 60);
    files.SetSpace(0);
    CHECK(!store->Cut(scratch / "cut").ok());
    files.SetSpace(-1);
    REQUIRE(store->Cut(scratch / "cut2").ok());
    run.Push(*store, 30);
  }
  auto store = OpenAll(options);
  run.Push(*store, 40);
  run.Check(*store);
}

TEST_CASE("what admission cannot do is refused in words") {
  ScratchDirectory scratch;
  StoreOptions options = MakeStore(scratch / "store");
  options.memory_bytes = int64_t{16} << 20;
  auto store = OpenStore(options);
  TableOptions table = Frequent(MakeTable("a", 3, Kind::kMomentum), 2, 10);
  table.optimizer.exact = true;
  CHECK_THAT(std::string(store->OpenTable(table).status().message()),
             Contains("admission") && Contains("exact"));
  table.optimizer.exact = false;
  table.admission.sketch_mib = 7;
  const absl::Status too_large = store->OpenTable(table).status();
  CHECK(absl::IsResourceExhausted(too_large));
  CHECK_THAT(std::string(too_large.message()), Contains("sketch_mib") && Contains("7340032"));
  CHECK(store->tables().empty());
  table.admission.sketch_mib = 4;
  OpenTableOf(*store, table);
  CHECK(store->Stat()->at(0).bytes_admission == 4 << 20);
  table.name = "b";
  CHECK(absl::IsResourceExhausted(store->OpenTable(table).status()));
  table.name = "a";
  for (const auto& change : std::vector<std::pair<const char*, AdmissionOptions>>{
           {"admission.kind", {}},
           {"admission.count",
            {.kind = AdmissionKind::kFrequency, .count = 3, .window_steps = 10, .sketch_mib = 4}},
           {"admission.window_steps",
            {.kind = AdmissionKind::kFrequency, .count = 2, .window_steps = 11, .sketch_mib = 4}},
           {"admission.sketch_mib",
            {.kind = AdmissionKind::kFrequency,
            .count = 2,
            .window_steps = 10,
            .sketch_mib = 3}}}) {
    TableOptions other = table;
    other.admission = change.second;
    const absl::Status status = store->OpenTable(other).status();
    CHECK(absl::IsFailedPrecondition(status));
    CHECK_THAT(std::string(status.message()), Contains(change.first));
  }
  store.reset();
  store = OpenStore(options);
  CHECK(store->tables().at(0).admission == table.admission);
  OpenTableOf(*store, table);
}

TEST_CASE("pushes that refuse, pulls, cuts and evictions at once") {
  ScratchDirectory scratch;
  auto store = OpenAll(MakeStore(scratch / "store"));
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int w = 0; w < 2; ++w) {
    threads.emplace_back([&, w] {
      for (uint64_t n = 1; !stop; ++n) {
        if (!Apply(*store, RandomPush(Tables(), 100 + w, n, 40, 5000)).ok()) ++failures;
      }
    });
  }
  threads.emplace_back([&] {
    std::vector<FeatureId> ids;
    for (uint64_t i = 0; i < 500; ++i) ids.push_back(MixBits(i));
    std::vector<float> weights(ids.size() * 3);
    const StorePull pull{0, ids, weights.data()};
    while (!stop) {
      if (!store->Pull({&pull, 1}).ok() || !store->Stat().ok()) ++failures;
    }
  });
  for (int i = 0; i < 6; ++i) {
    CHECK(store->Cut(scratch / ("cut" + std::to_string(i))).ok());
    CHECK(store->Evict(0, {.unused_steps = 5}).ok());
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(failures == 0);
  const uint64_t hash = HashOfStore(*store);
  const uint64_t refused = store->Stat()->at(0).refused;
  CHECK(refused > 0);
  auto copy = OpenKilled(scratch / "store", MakeStore(scratch / "copy"));
  CHECK(HashOfStore(*copy) == hash);
  CHECK(copy->Stat()->at(0).refused == refused);
}

}  // namespace
}  // namespace pagoda
