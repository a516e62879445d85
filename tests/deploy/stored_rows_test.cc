#include "deploy/stored_rows.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>

#include "base/hash.h"
#include "tests/deploy/scratch_directory.h"

using namespace pagoda;

namespace {

constexpr int64_t kDim = 3;

std::unique_ptr<EmbeddingStore> OpenStore(const std::string& path, int64_t dim = kDim) {
  StoreOptions options;
  options.path = path;
  options.memory_bytes = 16 << 20;
  absl::StatusOr<std::unique_ptr<EmbeddingStore>> store = EmbeddingStore::Open(options);
  INFO(store.status());
  REQUIRE(store.ok());
  TableOptions table;
  table.name = "items";
  table.dim = dim;
  table.seed = 3;
  table.optimizer.kind = SparseOptimizerKind::kSgd;
  table.optimizer.learning_rate = 1.0f;
  REQUIRE((*store)->OpenTable(table).ok());
  return *std::move(store);
}

// One SGD step of rate 1: each of the ids' weights goes down by `gradient`.
void Push(EmbeddingStore& store, const std::vector<FeatureId>& ids, float gradient) {
  const std::vector<float> gradients(ids.size() * kDim, gradient);
  const StorePush push{0, ids, gradients};
  REQUIRE(store.Push({&push, 1}, 1, 1.0f).ok());
}

// A cut of a store with these ids pushed.
std::string CutWith(const ScratchDirectory& scratch, const std::string& name,
                    const std::vector<FeatureId>& ids, float gradient, int64_t dim = kDim) {
  const std::unique_ptr<EmbeddingStore> store = OpenStore(scratch.File(name + "-store"), dim);
  if (dim == kDim && !ids.empty()) Push(*store, ids, gradient);
  const std::string cut = scratch.File(name);
  REQUIRE(store->Cut(cut).ok());
  return cut;
}

std::unique_ptr<StoredRows> OpenRows(const std::string& path) {
  absl::StatusOr<std::unique_ptr<StoredRows>> rows = StoredRows::Open(path);
  INFO(rows.status());
  REQUIRE(rows.ok());
  return *std::move(rows);
}

}  // namespace

TEST_CASE("rows of a cut: tables, one row, initial values, scan, hash") {
  ScratchDirectory scratch;
  const std::string cut = CutWith(scratch, "a", {5, 6, 7}, 0.5f);
  const std::unique_ptr<StoredRows> rows = OpenRows(cut);
  const auto tables = rows->Tables();
  REQUIRE(tables.ok());
  REQUIRE(tables->size() == 1);
  CHECK(tables->at("items").rows == 3);
  CHECK(tables->at("items").options.dim == kDim);
  const absl::StatusOr<StoredRow> row = rows->Get("items", 6);
  REQUIRE(row.ok());
  CHECK(row->id == 6);
  CHECK(row->last_step == 1);
  // An unknown id reads as its initial value; a known one as 0.5 below its own.
  const std::unique_ptr<EmbeddingStore> fresh = OpenStore(scratch.File("fresh"));
  std::vector<float> initial(2 * kDim), weights(2 * kDim);
  const std::vector<FeatureId> ids = {6, 99};
  const StorePull pull{0, ids, initial.data()};
  REQUIRE(fresh->Pull({&pull, 1}).ok());
  REQUIRE(rows->Pull("items", ids, weights.data()).ok());
  for (int64_t i = 0; i < kDim; ++i) {
    CHECK(weights[static_cast<size_t>(i)] == initial[static_cast<size_t>(i)] - 0.5f);
    CHECK(weights[static_cast<size_t>(kDim + i)] == initial[static_cast<size_t>(kDim + i)]);
  }
  int seen = 0;
  REQUIRE(rows->Scan([&](const std::string& table, const StoredRow&) {
                CHECK(table == "items");
                ++seen;
              })
              .ok());
  CHECK(seen == 3);
  CHECK(rows->ContentHash().ok());
}

TEST_CASE("what is not there is named") {
  ScratchDirectory scratch;
  CHECK(absl::IsNotFound(StoredRows::Open(scratch.File("nothing")).status()));
  const std::unique_ptr<StoredRows> rows = OpenRows(CutWith(scratch, "a", {1}, 1.0f));
  const absl::Status table = rows->Get("itens", 1).status();
  CHECK(absl::IsNotFound(table));
  CHECK(std::string(table.message()).find("items") != std::string::npos);
  CHECK(absl::IsNotFound(rows->Get("items", 2).status()));
}

TEST_CASE("two cuts are compared by id, and rows that one lacks by their initial value") {
  ScratchDirectory scratch;
  const std::unique_ptr<StoredRows> a = OpenRows(CutWith(scratch, "a", {1, 2, 3}, 0.5f));
  const std::unique_ptr<StoredRows> b = OpenRows(CutWith(scratch, "b", {1, 2, 4}, 0.5f));
  const auto same = CompareRows(*a, *a);
  REQUIRE(same.ok());
  CHECK(same->at("items").largest == 0);
  CHECK(same->at("items").compared > 0);
  const auto differ = CompareRows(*a, *b);
  REQUIRE(differ.ok());
  CHECK(differ->at("items").largest == Approx(0.5).margin(1e-6));
  CHECK(differ->at("items").magnitude > 0.4);
  // The other way round the largest difference is the same.
  CHECK(CompareRows(*b, *a)->at("items").largest == differ->at("items").largest);
  const std::unique_ptr<StoredRows> wide = OpenRows(CutWith(scratch, "wide", {}, 0, kDim + 1));
  CHECK(absl::IsFailedPrecondition(CompareRows(*a, *wide).status()));
}

TEST_CASE("an empty table compares as equal") {
  ScratchDirectory scratch;
  const std::unique_ptr<StoredRows> a = OpenRows(CutWith(scratch, "a", {}, 0));
  const auto differences = CompareRows(*a, *a);
  REQUIRE(differences.ok());
  REQUIRE(differences->count("items") == 1);
  CHECK(differences->at("items").Ratio() == 0);
}

TEST_CASE("differences") {
  Difference difference;
  CHECK(difference.Ratio() == 0);
  difference.Add(1.0, 2.0);
  difference.Add(-4.0, -4.0);
  CHECK(difference.largest == 1.0);
  CHECK(difference.magnitude == 4.0);
  CHECK(difference.Ratio() == 0.25);
  Difference zero;
  zero.Add(1.0, 0.0);
  CHECK(std::isinf(zero.Ratio()));
  Difference nan;
  nan.Add(std::numeric_limits<double>::quiet_NaN(), 1.0);
  CHECK(std::isinf(nan.Ratio()));
}
