// Bulk loads against a map of what was loaded, with pushes, flushes, cuts and crashes
// around them.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <thread>

#include "base/hash.h"
#include "base/thread_pool.h"
#include "embedding_store/shard_store.h"
#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Kind = SparseOptimizerKind;

struct LoadInput {
  std::vector<FeatureId> ids;
  std::vector<float> weights, slots;  // Slots empty: none are given.
};

// Ids 0, step, 2 step, ... shuffled; values a function of `version`, id and column.
float ValueOf(uint64_t version, FeatureId id, size_t column) {
  const uint64_t noise = MixBits(version * 1000003 + id * 64 + column) % (1 << 20);
  return static_cast<float>((version % 16) * (1 << 20) + noise) / 64.0f;  // Exact.
}
LoadInput MakeInput(const TableOptions& table, size_t count, uint64_t version,
                    bool with_slots = false, uint64_t step = 1) {
  LoadInput input;
  input.ids.resize(count);
  for (size_t i = 0; i < count; ++i) input.ids[i] = i * step;
  std::shuffle(input.ids.begin(), input.ids.end(), std::mt19937_64(version));
  const auto dim = static_cast<size_t>(table.dim);
  const auto slot_dim = static_cast<size_t>(SlotDim(table.optimizer.kind, table.dim));
  for (const FeatureId id : input.ids) {
    for (size_t c = 0; c < dim; ++c) input.weights.push_back(ValueOf(version, id, c));
    for (size_t c = 0; c < slot_dim && with_slots; ++c) {
      input.slots.push_back(ValueOf(version, id, dim + c));
    }
  }
  return input;
}

absl::StatusOr<BulkLoadResult> LoadAll(EmbeddingStore& store, uint32_t table,
                                       const LoadInput& input, Step step = 7,
                                       size_t rows_at_once = 1000) {
  const size_t n = input.ids.size();
  const size_t dim = n == 0 ? 0 : input.weights.size() / n;
  const size_t slot_dim = n == 0 ? 0 : input.slots.size() / n;
  size_t at = 0;
  return store.BulkLoad(table, step, [&]() -> absl::StatusOr<RowsToLoad> {
    const size_t count = std::min(rows_at_once, n - at);
    RowsToLoad rows;
    rows.ids = std::span(input.ids).subspan(at, count);
    rows.weights = std::span(input.weights).subspan(at * dim, count * dim);
    rows.slots = std::span(input.slots).subspan(at * slot_dim, count * slot_dim);
    at += count;
    return rows;
  });
}

// The version that every one of ids [0, count) has; 0: they differ.
uint64_t VersionOf(EmbeddingStore& store, uint32_t table, size_t count, uint64_t newest) {
  std::vector<FeatureId> ids(count);
  std::iota(ids.begin(), ids.end(), FeatureId{0});
  const std::vector<float> weights = PullRows(store, table, ids);
  const size_t dim = weights.size() / count;
  for (uint64_t version = 1; version <= newest; ++version) {
    bool all = true;
    for (size_t i = 0; i < weights.size() && all; ++i) {
      all = weights[i] == ValueOf(version, ids[i / dim], i % dim);
    }
    if (all) return version;
  }
  return 0;
}

TEST_CASE("rows loaded are read, counted, scanned and kept") {
  const bool spills = GENERATE(false, true);
  const bool with_slots = GENERATE(false, true);
  const size_t count = spills ? 20000 : 2001;
  CAPTURE(spills, with_slots);
  ScratchDirectory scratch;
  const std::string path = scratch / "store";
  ThreadPool pool(2);
  StoreOptions options = MakeStore(path);
  options.memory_bytes = int64_t{16} << 20;
  options.pool = &pool;
  TableOptions table = MakeTable("a", 16, Kind::kAdagrad);
  table.optimizer.initial_accumulator = 0.5f;
  const LoadInput input = MakeInput(table, count, 1, with_slots);
  const std::vector<FeatureId> unknown = {count + 1, count + 77};
  std::vector<float> initial;
  uint64_t hash = 0;
  for (const bool reopened : {false, true}) {
    auto store = OpenStore(options);
    const uint32_t t = OpenTableOf(*store, table);
    if (!reopened) {
      initial = PullRows(*store, t, unknown);
      PullRows(*store, t, input.ids);  // Initial rows in memory, to be replaced.
      const auto result = LoadAll(*store, t, input);
      INFO(result.status());
      REQUIRE(result.ok());
      CHECK(result->rows == count);
      CHECK(result->replaced == 0);
      hash = HashOfStore(*store);
    }
    CHECK(HashOfStore(*store) == hash);
    CHECK(PullStatistics(*store, t, {input.ids[0], count + 1}) ==
          std::vector<uint32_t>{1, 7, 0, 0});  // As one push in the load's step.
    CHECK(PullRows(*store, t, input.ids) == input.weights);
    CHECK(PullRows(*store, t, unknown) == initial);
    CHECK((*store->Stat())[t].rows == count);
    for (const size_t i : {size_t{0}, count / 2, count - 1}) {
      const auto row = store->Get(t, input.ids[i]);
      REQUIRE(row.ok());
      CHECK(row->last_step == 7);
      for (size_t c = 0; c < 16; ++c) {
        REQUIRE(row->slots[c] == (with_slots ? input.slots[i * 16 + c] : 0.5f));
      }
    }
    size_t scanned = 0;
    REQUIRE(store
                ->Scan([&](uint32_t, const StoredRow& row) {
                  scanned += row.weights[0] == ValueOf(1, row.id, 0) ? 1 : 0;
                  return true;
                })
                .ok());
    CHECK(scanned == count);
  }
}

TEST_CASE("pushes before, between and after loads end as in a map") {
  const Kind kind = GENERATE(Kind::kSgd, Kind::kAdagrad, Kind::kAdam, Kind::kFtrl);
  const auto precision = GENERATE(RowPrecision::kF32, RowPrecision::kBF16);
  CAPTURE(SparseOptimizerName(kind), RowPrecisionName(precision));
  ScratchDirectory scratch;
  const std::string path = scratch / "store";
  TableOptions table = MakeTable("a", 5, kind);
  table.precision = precision;
  TableOptions other = MakeTable("b", 3, Kind::kSgd);
  StoreOptions options = MakeStore(path);
  auto store = OpenStore(options);
  OpenTableOf(*store, table);
  OpenTableOf(*store, other);
  const std::vector<TableOptions> tables = {table, other};
  for (uint64_t n = 1; n <= 30; ++n)
    REQUIRE(Apply(*store, RandomPush(tables, 5, n, 200, 900)).ok());
  const auto stored = [&] {
    std::map<FeatureId, StoredRow> rows;
    REQUIRE(store
                ->Scan([&](uint32_t t, const StoredRow& row) {
                  if (t == 0) rows[row.id] = row;
                  return true;
                })
                .ok());
    return rows;
  };
  const auto before = stored();
  const LoadInput input = MakeInput(table, 500, 3, true, 3);
  size_t expected_replaced = 0;
  for (const FeatureId id : input.ids) expected_replaced += before.contains(id) ? 1 : 0;
  const uint64_t sequence = store->sequence();
  const auto result = LoadAll(*store, 0, input, 40);
  REQUIRE(result.ok());
  CHECK(result->replaced == expected_replaced);
  CHECK(store->sequence() == sequence + 1);
  const auto after = stored();
  CHECK(after.size() == before.size() + 500 - expected_replaced);
  CHECK((*store->Stat())[0].rows == after.size());
  for (const auto& [id, row] : after) {
    if (id % 3 == 0 && id < 1500) {
      CHECK(row.weights[1] == OracleRound(precision, ValueOf(3, id, 1), 0.5));
      CHECK(row.slots.size() == static_cast<size_t>(SlotDim(kind, 5)));
      if (!row.slots.empty()) CHECK(row.slots.back() == ValueOf(3, id, 5 + row.slots.size() - 1));
    } else {
      CHECK(row.weights == before.at(id).weights);
      CHECK(row.slots == before.at(id).slots);
    }
  }
  // The same pushes on what was loaded, whether rows are in memory, on disk, or replayed.
  const std::string copy = scratch / "copy";
  std::vector<uint64_t> hashes;
  for (uint64_t n = 31; n <= 50; ++n)
    REQUIRE(Apply(*store, RandomPush(tables, 5, n, 200, 900)).ok());
  hashes.push_back(HashOfStore(*store));
  std::filesystem::copy(path, copy, std::filesystem::copy_options::recursive);
  store.reset();
  store = OpenStore(options);
  hashes.push_back(HashOfStore(*store));
  options.path = copy;  // As a kill would have left it.
  store = OpenStore(options);
  hashes.push_back(HashOfStore(*store));
  CHECK(hashes == std::vector<uint64_t>(3, hashes[0]));
  CHECK(store->sequence() == 51);
}

TEST_CASE("a load that is refused changes nothing") {
  ScratchDirectory scratch;
  const std::string path = scratch / "store";
  auto store = OpenStore(MakeStore(path));
  const TableOptions table = MakeTable("a", 4, Kind::kAdagrad);
  OpenTableOf(*store, table);
  REQUIRE(LoadAll(*store, 0, MakeInput(table, 300, 1)).ok());
  const uint64_t hash = HashOfStore(*store);
  const uint64_t sequence = store->sequence();
  const auto refused = [&](const LoadInput& input, absl::StatusCode code, const std::string& says,
                           Step step = 1) {
    const absl::Status status = LoadAll(*store, 0, input, step).status();
    INFO(status);
    CHECK(status.code() == code);
    CHECK(std::string(status.message()).find(says) != std::string::npos);
    CHECK(HashOfStore(*store) == hash);
    CHECK(store->sequence() == sequence);
    CHECK((*store->Stat())[0].rows == 300);
  };
  using Code = absl::StatusCode;
  LoadInput twice = MakeInput(table, 1500, 2);
  twice.ids[1400] = twice.ids[3];
  refused(twice, Code::kInvalidArgument,
          "table \"a\": id " + std::to_string(twice.ids[3]) + " comes twice in one load");
  LoadInput bad = MakeInput(table, 1500, 2);
  bad.weights[1200 * 4 + 3] = std::numeric_limits<float>::infinity();
  refused(bad, Code::kInvalidArgument,
          "id " + std::to_string(bad.ids[1200]) + ": weight column 3 is inf");
  LoadInput bad_slot = MakeInput(table, 10, 2, true);
  bad_slot.slots[5] = std::nanf("");
  refused(bad_slot, Code::kInvalidArgument, ": slot column 1 is nan");
  LoadInput narrow = MakeInput(table, 10, 2);
  narrow.weights.resize(30);
  refused(narrow, Code::kInvalidArgument, "10 ids with 4 weights each need 40 values");
  LoadInput wide = MakeInput(table, 10, 2, true);
  wide.slots.resize(50);
  refused(wide, Code::kInvalidArgument, "10 ids with 4 slots each need 40 values");
  refused(MakeInput(table, 10, 2), Code::kInvalidArgument, "step -1", -1);
  CHECK(LoadAll(*store, 3, twice).status().code() == Code::kNotFound);
  const auto broken = store->BulkLoad(
      0, 1, []() -> absl::StatusOr<RowsToLoad> { return absl::UnavailableError("no more"); });
  CHECK(broken.status().message() == "no more");
  CHECK(LoadAll(*store, 0, LoadInput{})->rows == 0);
  CHECK(store->sequence() == sequence);
  store.reset();
  StoreOptions read_only = MakeStore(path);
  read_only.read_only = true;
  store = OpenStore(read_only);
  CHECK(LoadAll(*store, 0, twice).status().code() == Code::kFailedPrecondition);
}

TEST_CASE("a frozen table can be loaded, and an exact one goes on from there") {
  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  TableOptions frozen = MakeTable("frozen", 4, Kind::kSgd);
  frozen.frozen = true;
  TableOptions exact = MakeTable("exact", 4, Kind::kSgd);
  exact.optimizer.exact = true;
  exact.optimizer.weight_decay = 0.5f;
  exact.optimizer.learning_rate = 0.5f;
  const uint32_t f = OpenTableOf(*store, frozen);
  const uint32_t e = OpenTableOf(*store, exact);
  const LoadInput input = MakeInput(frozen, 50, 1);
  REQUIRE(LoadAll(*store, f, input).ok());
  CHECK(PullRows(*store, f, input.ids) == input.weights);
  const StorePush nothing{e, {}, {}};
  REQUIRE(store->Push({&nothing, 1}, 1, 1.0f).ok());
  REQUIRE(LoadAll(*store, e, input).ok());
  CHECK(PullRows(*store, e, input.ids) == input.weights);  // As of now: no decay yet.
  REQUIRE(store->Push({&nothing, 1}, 2, 1.0f).ok());
  std::vector<float> decayed = input.weights;
  for (float& weight : decayed) weight *= 0.75f;
  CHECK(PullRows(*store, e, input.ids) == decayed);
}

TEST_CASE("rows loaded into int8 and exact tables that nobody pushed to open again") {
  ScratchDirectory scratch;
  TableOptions int8 = MakeTable("int8", 5, Kind::kAdagrad), exact = MakeTable("e", 3, Kind::kAdam);
  int8.precision = RowPrecision::kInt8;
  exact.optimizer.exact = true;
  const std::vector<FeatureId> ids = {0, 1, 2, 3};
  std::vector<float> rounded;
  for (int opening = 0; opening < 2; ++opening) {
    auto store = OpenStore(MakeStore(scratch / "store"));
    OpenTableOf(*store, int8);
    OpenTableOf(*store, exact);
    if (opening == 0) {
      REQUIRE(LoadAll(*store, 0, MakeInput(int8, 100, 1)).ok());
      REQUIRE(LoadAll(*store, 1, MakeInput(exact, 100, 1)).ok());
      rounded = PullRows(*store, 0, ids);
    }
    CHECK(VersionOf(*store, 1, 100, 1) == 1);
    CHECK(PullRows(*store, 0, ids) == rounded);
    for (size_t i = 0; i < rounded.size(); ++i) {
      const float loaded = ValueOf(1, ids[i / 5], i % 5);
      // Two units of a row whose largest weight is below 2^15.
      CHECK(std::fabs(rounded[i] - loaded) <= 2.0f * 32768.0f / 127.0f);
    }
  }
}

TEST_CASE("what slots mean to an optimizer holds for loaded rows") {
  ScratchDirectory scratch;
  TableOptions exact = MakeTable("exact", 3, Kind::kAdam);
  exact.optimizer.exact = true;
  const TableOptions ftrl = MakeTable("ftrl", 2, Kind::kFtrl);
  auto store = OpenStore(MakeStore(scratch / "store"));
  OpenTableOf(*store, exact);
  OpenTableOf(*store, ftrl);
  const std::vector<FeatureId> other = {77777};
  const std::vector<float> gradient = {0.5f, 0.5f, 0.5f};
  for (Step step = 1; step <= 20; ++step) {
    const StorePush push{0, other, gradient};
    REQUIRE(store->Push({&push, 1}, step, 1.0f).ok());
  }
  REQUIRE(LoadAll(*store, 0, MakeInput(exact, 10, 1)).ok());
  // The row counts the table's steps, also when the very next one touches it.
  const std::vector<FeatureId> loaded = {4};
  const StorePush push{0, loaded, gradient};
  REQUIRE(store->Push({&push, 1}, 21, 1.0f).ok());
  const auto row = store->Get(0, 4);
  REQUIRE(row.ok());
  CHECK(row->slots.back() == 21.0f);
  const double m = 0.1 * 0.5 / (1 - std::pow(0.9, 21));
  const double v = 0.001 * 0.25 / (1 - std::pow(0.999, 21));
  const double moved = exact.optimizer.learning_rate * m / std::sqrt(v);
  // Weights below 2^15 are multiples of 2^-9 at the coarsest.
  CHECK(std::fabs(ValueOf(1, 4, 0) - row->weights[0] - moved) <= 0.01);

  const absl::Status refused = LoadAll(*store, 1, MakeInput(ftrl, 10, 1)).status();
  CHECK(absl::IsInvalidArgument(refused));
  CHECK(refused.message().find("loaded with their slots") != absl::string_view::npos);
  CHECK(LoadAll(*store, 1, MakeInput(ftrl, 10, 1, true)).ok());
}

TEST_CASE("a process that dies in a load leaves all of it or nothing") {
  const auto durability = GENERATE(Durability::kProcess, Durability::kMachine);
  const bool power = GENERATE(false, true);
  if (power && durability != Durability::kMachine) return;
  const TableOptions table = MakeTable("a", 16, Kind::kAdagrad);
  constexpr size_t kRows = 9000;  // More than the sorter's buffer.
  const LoadInput input = MakeInput(table, kRows, 2);
  std::map<uint64_t, int> seen;
  bool done = false;
  for (int64_t calls = 0; !done; calls = calls < 6 ? calls + 1 : calls + 113) {
    CAPTURE(calls, power);
    ScratchDirectory scratch;
    FaultyFileSystem files;
    StoreOptions options = MakeStore(scratch / "store");
    options.memory_bytes = int64_t{16} << 20;
    options.durability = durability;
    options.file_system = &files;
    auto store = OpenStore(options);
    OpenTableOf(*store, table);
    REQUIRE(LoadAll(*store, 0, MakeInput(table, kRows, 1)).ok());
    files.StopAfter(calls);
    done = LoadAll(*store, 0, input).ok();
    files.StopAfter(0);
    store.reset();
    if (power) files.LosePower(static_cast<uint64_t>(calls) + 1);
    options.file_system = nullptr;
    store = OpenStore(options);
    const uint64_t version = VersionOf(*store, 0, kRows, 2);
    REQUIRE(version != 0);
    if (done) CHECK(version == 2);
    CHECK((*store->Stat())[0].rows == kRows);
    ++seen[version];
    // It goes on.
    REQUIRE(LoadAll(*store, 0, MakeInput(table, kRows, 3)).ok());
    CHECK(VersionOf(*store, 0, kRows, 3) == 3);
  }
  CHECK(seen[1] > 3);
  CHECK(seen[2] > 0);
}

TEST_CASE("pulls beside loads see one load or the other, and the last one stays") {
  ScratchDirectory scratch;
  ThreadPool pool(2);
  StoreOptions options = MakeStore(scratch / "store");
  options.memory_bytes = int64_t{16} << 20;
  options.pool = &pool;
  auto store = OpenStore(options);
  const TableOptions table = MakeTable("a", 8, Kind::kSgd);
  OpenTableOf(*store, table);
  constexpr size_t kRows = 3000;
  constexpr uint64_t kLoads = 12;
  REQUIRE(LoadAll(*store, 0, MakeInput(table, kRows, 1)).ok());
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::thread reader([&] {
    std::vector<float> weights(64 * 8);
    std::vector<FeatureId> ids(64);
    uint64_t version_min = 1;
    for (uint64_t i = 0; !stop; ++i) {
      for (size_t k = 0; k < ids.size(); ++k) ids[k] = MixBits(i * 64 + k) % kRows;
      const StorePull pull{0, ids, weights.data()};
      if (!store->Pull({&pull, 1}).ok()) ++wrong;
      uint64_t lowest = kLoads;
      for (size_t k = 0; k < ids.size(); ++k) {
        uint64_t version = version_min;
        while (version <= kLoads && weights[k * 8] != ValueOf(version, ids[k], 0)) ++version;
        if (version > kLoads || weights[k * 8 + 7] != ValueOf(version, ids[k], 7)) ++wrong;
        lowest = std::min(lowest, version);
      }
      version_min = lowest;  // A row never goes back.
    }
  });
  for (uint64_t version = 2; version <= kLoads; ++version) {
    REQUIRE(LoadAll(*store, 0, MakeInput(table, kRows, version)).ok());
  }
  stop = true;
  reader.join();
  CHECK(wrong == 0);
  CHECK(VersionOf(*store, 0, kRows, kLoads) == kLoads);
  REQUIRE(store->Cut(scratch / "cut").ok());
  CHECK(EmbeddingStore::VerifyCut(scratch / "cut")->rows == kRows);
}

}  // namespace
}  // namespace pagoda
