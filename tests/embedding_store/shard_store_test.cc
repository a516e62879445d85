// The store as its callers see it: pulls, pushes, reopening, refusals.
#include "embedding_store/shard_store.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "embedding_store/table_registry.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Kind = SparseOptimizerKind;
using Catch::Contains;

std::vector<TableOptions> AllKinds() {
  std::vector<TableOptions> tables = {MakeTable("sgd", 5, Kind::kSgd),
                                      MakeTable("adagrad", 16, Kind::kAdagrad),
                                      MakeTable("rowwise", 13, Kind::kRowwiseAdagrad),
                                      MakeTable("adam", 8, Kind::kAdam),
                                      MakeTable("ftrl", 1, Kind::kFtrl),
                                      MakeTable("momentum", 4, Kind::kMomentum),
                                      MakeTable("adagrad_decay", 3, Kind::kAdagradDecay),
                                      MakeTable("adamw", 6, Kind::kAdamW),
                                      MakeTable("rowwise_adam", 12, Kind::kRowwiseAdam),
                                      MakeTable("group_ftrl", 9, Kind::kGroupFtrl)};
  for (TableOptions& table : tables) table.optimizer.l2 = 0.01f;
  tables[5].optimizer.clip_norm = 1.0f;
  tables[6].optimizer.decay_steps = 5;
  tables[7].optimizer.weight_decay = 0.1f;
  tables[8].optimizer.clip_value = 0.6f;
  tables[9].optimizer.ftrl_l21 = 0.1f;
  tables[1].optimizer.initial_accumulator = 0.1f;
  tables[2].init_zero_columns = 1;
  tables[4].optimizer.ftrl_l1 = 0.2f;
  tables[4].optimizer.ftrl_l2 = 0.3f;
  return tables;
}

TEST_CASE("every optimizer gives the oracle's bits, also after reopening") {
  const auto seed = GENERATE(1u, 2u);
  const auto precision = GENERATE(RowPrecision::kF32, RowPrecision::kF16, RowPrecision::kBF16);
  CAPTURE(seed, RowPrecisionName(precision));
  ScratchDirectory scratch;
  std::vector<TableOptions> tables = AllKinds();
  for (TableOptions& table : tables) table.precision = precision;
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

TEST_CASE("options out of range are refused by name") {
  ScratchDirectory scratch;
  StoreOptions options = MakeStore("");
  CHECK(absl::IsInvalidArgument(EmbeddingStore::Open(options).status()));
  options = MakeStore(scratch / "store");
  options.memory_bytes = (16 << 20) - 1;
  const absl::Status memory = EmbeddingStore::Open(options).status();
  CHECK(absl::IsInvalidArgument(memory));
  CHECK_THAT(std::string(memory.message()), Contains("memory_bytes"));
  options = MakeStore(scratch / "store");
  options.log_bytes_max = 1000;
  CHECK_THAT(std::string(EmbeddingStore::Open(options).status().message()),
             Contains("log_bytes_max"));
  CHECK_FALSE(std::filesystem::exists(scratch / "store"));
}

TEST_CASE("a table opened with other settings is refused in words, also after reopening") {
  ScratchDirectory scratch;
  const TableOptions table = MakeTable("t", 4, Kind::kAdagrad);
  for (int round = 0; round < 2; ++round) {
    auto store = OpenStore(MakeStore(scratch / "store"));
    CHECK(OpenTableOf(*store, table) == 0);
    TableOptions other = table;
    other.dim = 8;
    const absl::Status dim = store->OpenTable(other).status();
    CHECK(absl::IsFailedPrecondition(dim));
    CHECK_THAT(std::string(dim.message()), Contains("dim = 4") && Contains("8"));
    other = table;
    other.optimizer.kind = Kind::kAdam;
    const absl::Status kind = store->OpenTable(other).status();
    CHECK(absl::IsFailedPrecondition(kind));
    CHECK_THAT(std::string(kind.message()), Contains("adagrad") && Contains("adam"));
    other = table;
    other.name = "";
    CHECK(absl::IsInvalidArgument(store->OpenTable(other).status()));
    other = table;
    other.optimizer.learning_rate = 0.5f;
    CHECK(OpenTableOf(*store, other) == 0);
    CHECK(store->tables().at(0).optimizer.learning_rate == 0.5f);
  }
}

TEST_CASE("one process, one store: a second opening is refused") {
  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  const absl::Status second = EmbeddingStore::Open(MakeStore(scratch / "store")).status();
  CHECK(absl::IsFailedPrecondition(second));
  CHECK_THAT(std::string(second.message()), Contains("in use"));
  StoreOptions reader = MakeStore(scratch / "store");
  reader.read_only = true;
  CHECK(absl::IsFailedPrecondition(EmbeddingStore::Open(reader).status()));
  CHECK(absl::IsNotFound(EmbeddingStore::Open([&] {
                           StoreOptions nothing = MakeStore(scratch / "nothing");
                           nothing.read_only = true;
                           return nothing;
                         }())
                             .status()));
}

TEST_CASE("a scan stops when told, merges memory over disk, and agrees with Get and Stat") {
  ScratchDirectory scratch;
  const std::vector<TableOptions> tables = {MakeTable("a", 2, Kind::kAdagrad),
                                            MakeTable("b", 1, Kind::kSgd)};
  StoreOracle oracle(tables);
  auto store = OpenStore(MakeStore(scratch / "store"));
  for (const TableOptions& table : tables) OpenTableOf(*store, table);
  for (uint64_t n = 1; n <= 6; ++n) {
    const TestPush push = RandomPush(tables, 4, n, 100, 200);
    oracle.Push(push);
    REQUIRE(Apply(*store, push).ok());
    if (n == 3) REQUIRE(store->Cut(scratch / "cut").ok());  // Puts rows on disk.
  }
  int seen = 0;
  REQUIRE(store->Scan([&](uint32_t, const StoredRow&) { return ++seen < 10; }).ok());
  CHECK(seen == 10);
  CHECK(oracle.Compare(*store) == "");
  for (const auto& [key, row] : oracle.rows()) {
    const auto found = store->Get(key.first, key.second);
    REQUIRE(found.ok());
    REQUIRE(found->weights == row.weights);
    REQUIRE(found->slots == row.slots);
  }
  const auto stat = store->Stat();
  REQUIRE(stat.ok());
  CHECK((*stat)[0].rows + (*stat)[1].rows == oracle.rows().size());
  CHECK((*stat)[0].bytes_memory > 0);
  CHECK((*stat)[0].bytes_disk > 0);
}

TEST_CASE("a lost registry or database is DATA_LOSS, not an empty store") {
  ScratchDirectory scratch;
  {
    auto store = OpenStore(MakeStore(scratch / "store"));
    OpenTableOf(*store, MakeTable("t", 1, Kind::kSgd));
    REQUIRE(Apply(*store, {{{0, {1}, {1.0f}}}, 1, 1.0f}).ok());
  }
  const std::string state = scratch / "store/state-000001";
  SECTION("registry") {
    std::filesystem::remove(state + "/REGISTRY");
    CHECK(absl::IsNotFound(EmbeddingStore::Open(MakeStore(scratch / "store")).status()));
  }
  SECTION("older registry") {
    REQUIRE(WriteTableRegistry(FileSystem::Real(), state + "/REGISTRY", {}).ok());
    CHECK(absl::IsDataLoss(EmbeddingStore::Open(MakeStore(scratch / "store")).status()));
  }
  SECTION("database") {
    std::filesystem::remove_all(state + "/rocksdb");
    CHECK(absl::IsDataLoss(EmbeddingStore::Open(MakeStore(scratch / "store")).status()));
  }
}

TEST_CASE("a store whose creation was cut short is none to read, and is made anew to write") {
  ScratchDirectory scratch;
  StoreOptions options = MakeStore(scratch / "store");
  OpenStore(options).reset();
  std::filesystem::remove_all(scratch / "store/state-000001/rocksdb");
  options.read_only = true;
  CHECK(absl::IsNotFound(EmbeddingStore::Open(options).status()));
  options.read_only = false;
  CHECK(OpenStore(options)->sequence() == 0);
}

}  // namespace
}  // namespace pagoda
