// The store as its callers see it: pulls, pushes, reopening, refusals.
#include "embedding_store/shard_store.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <map>

#include "base/hash.h"
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

// The ids that RandomPush draws from.
std::vector<FeatureId> IdsOfRandomPush(uint64_t id_range) {
  std::vector<FeatureId> ids;
  for (uint64_t n = 0; n < id_range; ++n) ids.push_back(MixBits(n));
  return ids;
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

TEST_CASE("int8 rows read the same before and after they leave memory, near the f32 rows") {
  ScratchDirectory scratch;
  std::vector<TableOptions> tables = {MakeTable("a", 16, SparseOptimizerKind::kSgd),
                                      MakeTable("b", 3, SparseOptimizerKind::kAdagrad),
                                      MakeTable("a8", 16, SparseOptimizerKind::kSgd),
                                      MakeTable("b8", 3, SparseOptimizerKind::kAdagrad)};
  tables[2].precision = tables[3].precision = RowPrecision::kInt8;
  for (TableOptions& table : tables) table.init_stddev = 0.0f;  // Those go by the name.
  auto store = OpenStore(MakeStore(scratch / "store"));
  for (const TableOptions& table : tables) OpenTableOf(*store, table);
  const auto push_to = [&](EmbeddingStore& to, uint64_t n) {
    TestPush push = RandomPush({tables[0], tables[1]}, 7, n, 40, 200);
    for (size_t t : {0, 1}) {
      push.parts.push_back(push.parts[t]);
      push.parts.back().table += 2;
    }
    REQUIRE(Apply(to, push).ok());
  };
  const std::vector<FeatureId> ids = IdsOfRandomPush(200);
  for (uint64_t n = 1; n <= 30; ++n) {
    push_to(*store, n);
    if (n == 10) REQUIRE(store->Cut(scratch / "early").ok());
  }
  // After a cut what is in memory is what is on disk, so a restored store goes on with
  // the same bits. Both change all rows again before the next comparison.
  REQUIRE(store->Cut(scratch / "cut").ok());
  auto other = OpenStore(MakeStore(scratch / "other"));
  REQUIRE(other->Restore(scratch / "cut", "").ok());
  for (uint32_t t = 0; t < 4; ++t) {
    CAPTURE(t);
    CHECK(PullRows(*store, t, ids) == PullRows(*other, t, ids));
  }
  CHECK(HashOfStore(*store) == HashOfStore(*other));
  for (uint64_t n = 31; n <= 40; ++n) {
    push_to(*store, n);
    push_to(*other, n);
  }
  CHECK(HashOfStore(*store) == HashOfStore(*other));
  store.reset();  // Flushes.
  other.reset();
  store = OpenStore(MakeStore(scratch / "store"));
  other = OpenStore(MakeStore(scratch / "other"));
  CHECK(HashOfStore(*store) == HashOfStore(*other));
  for (const uint32_t t : {0u, 1u}) {
    const auto exact = PullRows(*store, t, ids);
    const auto rounded = PullRows(*store, t + 2, ids);
    const auto dim = static_cast<size_t>(tables[t].dim);
    size_t moved = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
      const auto row = exact.begin() + static_cast<ptrdiff_t>(i / dim * dim);
      float largest = 0.0f;
      for (size_t c = 0; c < dim; ++c) largest = std::max(largest, std::fabs(row[c]));
      CAPTURE(t, i, exact[i], rounded[i]);
      // Four flushes moved a weight by less than two units each.
      CHECK(std::fabs(exact[i] - rounded[i]) <= 0.1f * largest);
      moved += exact[i] != rounded[i];
    }
    CHECK(moved > exact.size() / 2);
  }
  const auto stats = store->Stat();
  REQUIRE(stats.ok());
  CHECK((*stats)[0].row_bytes_disk - (*stats)[2].row_bytes_disk == 64 - 18);
}

TEST_CASE("a table of sgd grows the slots of another optimizer and keeps its weights") {
  const auto kind = GENERATE(Kind::kAdagrad, Kind::kRowwiseAdagrad, Kind::kAdam, Kind::kMomentum,
                             Kind::kAdagradDecay);
  CAPTURE(SparseOptimizerName(kind));
  ScratchDirectory scratch;
  const TableOptions sgd = MakeTable("a", 5, Kind::kSgd), other = MakeTable("b", 3, Kind::kAdam);
  TableOptions grown = MakeTable("a", 5, kind);
  grown.optimizer.initial_accumulator = 0.25f;
  auto store = OpenStore(MakeStore(scratch / "store"));
  OpenTableOf(*store, sgd);
  OpenTableOf(*store, other);
  for (uint64_t n = 1; n <= 20; ++n) {
    REQUIRE(Apply(*store, RandomPush({sgd, other}, 5, n, 40, 100)).ok());
  }
  const std::vector<FeatureId> ids = IdsOfRandomPush(100);
  const std::vector<float> weights = PullRows(*store, 0, ids);
  const std::vector<float> other_weights = PullRows(*store, 1, ids);
  // Unflushed pushes are in the log when the table grows.
  REQUIRE(store->OpenTable(grown).status() == absl::OkStatus());
  CHECK(PullRows(*store, 0, ids) == weights);
  CHECK(PullRows(*store, 1, ids) == other_weights);
  std::map<FeatureId, StoreOracle::Row> rows;
  const StoreOracle fresh({grown});
  for (const FeatureId id : ids) {
    StoreOracle::Row row = fresh.RowOf(0, id);  // Slots of a new row.
    const auto stored = store->Get(0, id);
    if (stored.ok()) {
      row.weights = stored->weights;
      CHECK(stored->slots == row.slots);
    }
    rows[id] = row;
  }
  const auto check = [&] {
    for (const FeatureId id : ids) {
      const auto stored = store->Get(0, id);
      if (!stored.ok()) continue;
      CAPTURE(id);
      CHECK(stored->weights == rows[id].weights);
      CHECK(stored->slots == rows[id].slots);
    }
  };
  for (uint64_t n = 21; n <= 40; ++n) {
    const TestPush push = RandomPush({grown, other}, 5, n, 40, 100);
    REQUIRE(Apply(*store, push).ok());
    const TestPush::Part& part = push.parts[0];
    for (size_t i = 0; i < part.ids.size(); ++i) {
      OracleUpdate(grown.optimizer, grown.optimizer.learning_rate * push.learning_rate_factor,
                   part.gradients.data() + i * 5, &rows[part.ids[i]], push.step);
    }
    if (n == 30) {  // As kill -9 leaves it: grown, with pushes in the log.
      std::filesystem::copy(scratch / "store", scratch / "killed",
                            std::filesystem::copy_options::recursive);
      store.reset();
      store = OpenStore(MakeStore(scratch / "killed"));
      CHECK(OpenTableOf(*store, grown) == 0);
      check();
    }
  }
  check();
  // Through a cut, and to another number of shards.
  REQUIRE(store->Cut(scratch / "cut").ok());
  auto moved = OpenStore(MakeStore(scratch / "moved"));
  REQUIRE(moved->RestoreShard({{scratch / "cut"}, 0, 1}, "").ok());
  CHECK(HashOfStore(*moved) == HashOfStore(*store));
  CHECK(moved->tables()[0].slots_grown);
}

TEST_CASE("what a table cannot grow into is refused in words") {
  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  const TableOptions sgd = MakeTable("a", 5, Kind::kSgd);
  OpenTableOf(*store, sgd);
  TableOptions asked = MakeTable("a", 5, Kind::kFtrl);
  asked.init_stddev = sgd.init_stddev;  // Zero for ftrl else.
  const auto refused = [&](const char* member) {
    const absl::Status status = store->OpenTable(asked).status();
    CHECK(absl::IsFailedPrecondition(status));
    CHECK_THAT(std::string(status.message()), Contains(member));
    CHECK(store->tables()[0].optimizer.kind == Kind::kSgd);
  };
  refused("optimizer");
  asked = MakeTable("a", 6, Kind::kAdagrad);
  refused("dim");
  asked = MakeTable("a", 5, Kind::kAdam);
  asked.optimizer.exact = true;
  refused("optimizer");
  asked = MakeTable("a", 5, Kind::kAdagrad);
  REQUIRE(store->OpenTable(asked).ok());
  const absl::Status back = store->OpenTable(sgd).status();
  CHECK(absl::IsFailedPrecondition(back));
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
