// The store as its callers see it: pulls, pushes, reopening, refusals.
#include "embedding_store/shard_store.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>

#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Kind = SparseOptimizerKind;
using Catch::Contains;

std::vector<TableOptions> AllKinds() {
  std::vector<TableOptions> tables = {
      MakeTable("sgd", 5, Kind::kSgd), MakeTable("adagrad", 16, Kind::kAdagrad),
      MakeTable("rowwise", 13, Kind::kRowwiseAdagrad), MakeTable("adam", 8, Kind::kAdam),
      MakeTable("ftrl", 1, Kind::kFtrl)};
  for (TableOptions& table : tables) table.optimizer.l2 = 0.01f;
  tables[1].optimizer.initial_accumulator = 0.1f;
  tables[2].init_zero_columns = 1;
  tables[4].optimizer.ftrl_l1 = 0.2f;
  tables[4].optimizer.ftrl_l2 = 0.3f;
  return tables;
}

TEST_CASE("every optimizer gives the oracle's bits, also after reopening") {
  const auto seed = GENERATE(1u, 2u);
  CAPTURE(seed);
  ScratchDirectory scratch;
  const std::vector<TableOptions> tables = AllKinds();
  StoreOracle oracle(tables);
  uint64_t hash = 0;
  {
    auto store = OpenStore(MakeStore(scratch / "store"));
    for (uint32_t t = 0; t < tables.size(); ++t) CHECK(OpenTableOf(*store, tables[t]) == t);
    for (uint64_t n = 1; n <= 60; ++n) {
      const TestPush push = RandomPush(tables, seed, n, 40, 200);
      oracle.Push(push);
      REQUIRE(Apply(*store, push).ok());
    }
    CHECK(oracle.Compare(*store) == "");
    CHECK(store->sequence() == 60);
    hash = HashOfStore(*store);
  }
  auto store = OpenStore(MakeStore(scratch / "store"));
  CHECK(store->tables().size() == tables.size());
  CHECK(oracle.Compare(*store) == "");
  CHECK(store->sequence() == 60);
  CHECK(HashOfStore(*store) == hash);
  for (uint64_t n = 61; n <= 70; ++n) {
    const TestPush push = RandomPush(tables, seed, n, 40, 200);
    oracle.Push(push);
    REQUIRE(Apply(*store, push).ok());
  }
  CHECK(oracle.Compare(*store) == "");
}

TEST_CASE("a cut can be verified, opened and restored") {
  ScratchDirectory scratch;
  const std::vector<TableOptions> tables = AllKinds();
  StoreOracle oracle(tables);
  auto store = OpenStore(MakeStore(scratch / "store"));
  for (const TableOptions& table : tables) OpenTableOf(*store, table);
  uint64_t n = 1;
  for (; n <= 20; ++n) {
    const TestPush push = RandomPush(tables, 3, n, 40, 200);
    oracle.Push(push);
    REQUIRE(Apply(*store, push).ok());
  }
  const auto cut = store->Cut(scratch / "cut");
  INFO(cut.status());
  REQUIRE(cut.ok());
  CHECK(cut->sequence == 20);
  CHECK(cut->rows == oracle.rows().size());
  const auto verified = EmbeddingStore::VerifyCut(scratch / "cut");
  INFO(verified.status());
  REQUIRE(verified.ok());
  CHECK(verified->checksum == cut->checksum);
  CHECK(verified->rows == cut->rows);
  for (; n <= 40; ++n) REQUIRE(Apply(*store, RandomPush(tables, 3, n, 40, 200)).ok());
  const uint64_t newer = HashOfStore(*store);

  StoreOptions read_options = MakeStore(scratch / "cut");
  read_options.read_only = true;
  {
    auto reader = OpenStore(read_options);
    CHECK(oracle.Compare(*reader) == "");
  }
  const absl::Status restored = store->Restore(scratch / "cut", scratch / "newer");
  INFO(restored);
  REQUIRE(restored.ok());
  CHECK(oracle.Compare(*store) == "");
  CHECK(store->sequence() == 20);
  auto aside = OpenStore(MakeStore(scratch / "newer"));
  CHECK(HashOfStore(*aside) == newer);
}

}  // namespace
}  // namespace pagoda
