// What becomes of counters when shards are joined and parted; that the counts of admission
// move with their buckets is in shard_store_admission_test.cc.
#include "embedding_store/table_state_restore.h"

#include <catch2/catch.hpp>

#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Kind = SparseOptimizerKind;

TableOptions Table(const std::string& name) {
  TableOptions table = MakeTable(name, 1, Kind::kSgd);
  table.admission.kind = AdmissionKind::kFrequency;
  table.admission.sketch_mib = 1;
  return table;
}

void PushId(EmbeddingStore& store, uint32_t table, FeatureId id, Step step) {
  const std::vector<FeatureId> ids = {id};
  const std::vector<float> gradients = {1.0f};
  const StorePush push{table, ids, gradients};
  REQUIRE(store.Push({&push, 1}, step, 1.0f).ok());
}

StoreTableStat StatOf(EmbeddingStore& store, const std::string& table) {
  const auto stats = store.Stat();
  REQUIRE(stats.ok());
  for (const StoreTableStat& stat : *stats) {
    if (stat.options.name == table) return stat;
  }
  FAIL("no table " << table);
  return {};
}

TEST_CASE("counters of joined shards are summed once, and the newest step is the highest") {
  ScratchDirectory scratch;
  std::vector<std::string> cuts;
  for (int s = 0; s < 2; ++s) {
    auto store = OpenStore(MakeStore(scratch / ("from" + std::to_string(s))));
    // Numbered differently in each.
    for (const char* name : {s == 0 ? "a" : "b", s == 0 ? "b" : "a"}) {
      OpenTableOf(*store, Table(name));
    }
    const uint32_t a = s == 0 ? 0 : 1;
    // Ids that belong to shard s: only there they are pushed to.
    FeatureId id = 0;
    while (ShardOf(id, 2) != static_cast<uint32_t>(s)) ++id;
    PushId(*store, a, id, 5 + 10 * s);
    PushId(*store, a, id, 6 + 10 * s);
    PushId(*store, a, id + 1000000, 7 + 10 * s);
    REQUIRE(store->Evict(a, {.now = 1000, .unused_steps = 1}).ok());
    cuts.push_back(scratch / ("cut" + std::to_string(s)));
    REQUIRE(store->Cut(cuts.back()).ok());
  }
  uint64_t refused = 0, evicted = 0;
  for (uint32_t s = 0; s < 3; ++s) {
    auto store = OpenStore(MakeStore(scratch / ("to" + std::to_string(s))));
    const absl::Status restored = store->RestoreShard({cuts, s, 3}, "");
    INFO(restored);
    REQUIRE(restored.ok());
    refused += StatOf(*store, "a").refused;
    evicted += StatOf(*store, "a").evicted;
    CHECK(StatOf(*store, "a").rows == 0);
    CHECK(StatOf(*store, "b").refused == 0);
    // Ages are counted from step 17, the newest of both: a row of step 16 is kept by a
    // rule that 18 would let it fall to.
    const uint32_t a = OpenTableOf(*store, Table("a"));
    FeatureId id = 500;
    while (ShardOf(id, 3) != s) ++id;
    PushId(*store, a, id, 16);
    PushId(*store, a, id, 16);
    CHECK(StatOf(*store, "a").rows == 1);
    const auto kept = store->Evict(a, {.unused_steps = 1});
    REQUIRE(kept.ok());
    CHECK(kept->evicted == 0);
    const auto gone = store->Evict(a, {.now = 18, .unused_steps = 1});
    REQUIRE(gone.ok());
    CHECK(gone->evicted == 1);
  }
  CHECK(refused == 4);
  CHECK(evicted == 2);
}

}  // namespace
}  // namespace pagoda
