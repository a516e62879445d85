#include "algorithms/nn/batch.h"

#include <algorithm>
#include <set>

#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

// Numeric features lie between the sparse ones, so that positions differ.
FeatureSchema Schema(int num_sparse, int num_dense) {
  FeatureSchema schema;
  for (int i = 0; i < num_sparse + num_dense; ++i) {
    FeatureSpec spec;
    spec.kind = i % 2 == 1 && i / 2 < num_dense ? FeatureKind::kNumeric : FeatureKind::kId;
    spec.name = absl::StrCat("f", i);
    spec.pooling = static_cast<Pooling>(i % 3);
    schema.features.push_back(spec);
  }
  return schema;
}

// Up to `values_max` values per cell, drawn from `num_ids` ids.
Batch RandomBatch(const FeatureSchema& schema, int64_t size, int values_max, uint64_t num_ids,
                  uint64_t seed) {
  const RandomKey key{seed};
  uint64_t draw = 0;
  Batch batch;
  batch.size = size;
  for (size_t k = 0; k < schema.SparseFeatures().size(); ++k) {
    RaggedIds values;
    for (int64_t i = 0; i < size; ++i) {
      const uint64_t count =
          values_max == 1 ? 1 : RandomBelow(key, draw++, static_cast<uint64_t>(values_max) + 1);
      for (uint64_t j = 0; j < count; ++j) {
        values.ids.push_back(RandomBelow(key, draw++, num_ids) * 0x9e3779b97f4a7c15ULL);
      }
      values.offsets.push_back(static_cast<int32_t>(values.ids.size()));
    }
    batch.sparse.push_back(values);
  }
  batch.dense.resize(static_cast<size_t>(size) * schema.DenseFeatures().size());
  batch.labels.assign(static_cast<size_t>(size), 1.0f);
  batch.weights.assign(static_cast<size_t>(size), 1.0f);
  return batch;
}

PreparedBatch Prepare(const FeatureSchema& schema, const Declaration& declaration, Batch batch) {
  auto prepared = PrepareBatch(schema, declaration, std::move(batch));
  INFO(prepared.status());
  REQUIRE(prepared.ok());
  return *std::move(prepared);
}

// The ids of a table in the documented order, found the slow way.
std::vector<FeatureId> SlowUnique(const Declaration& declaration, const Batch& batch, int table) {
  std::vector<FeatureId> unique;
  for (const LookupDecl& lookup : declaration.lookups) {
    for (size_t k = 0; k < lookup.features.size(); ++k) {
      if (lookup.tables[k] != table) continue;
      for (FeatureId id : batch.sparse[static_cast<size_t>(lookup.features[k])].ids) {
        if (std::find(unique.begin(), unique.end(), id) == unique.end()) unique.push_back(id);
      }
    }
  }
  return unique;
}

// Every value of the lookup must lead to its id, and the transpose must list
// exactly its segments (or positions), ascending.
void CheckLookup(const FeatureSchema& schema, const Declaration& declaration,
                 const PreparedBatch& prepared, size_t l) {
  const LookupDecl& lookup = declaration.lookups[l];
  const LookupIndex& index = prepared.lookups[l];
  const size_t num_features = lookup.features.size();
  REQUIRE(index.num_features == static_cast<int64_t>(num_features));
  REQUIRE(index.offsets.size() == static_cast<size_t>(prepared.batch.size) * num_features + 1);
  REQUIRE(index.offsets[0] == 0);
  REQUIRE(index.first_row + index.num_rows <=
          prepared.row_groups[static_cast<size_t>(index.group)].num_rows);
  std::vector<std::vector<int32_t>> occurrences(static_cast<size_t>(index.num_rows));
  int32_t p = 0;
  for (size_t i = 0; i < static_cast<size_t>(prepared.batch.size); ++i) {
    for (size_t k = 0; k < num_features; ++k) {
      const size_t segment = i * num_features + k;
      const size_t t = static_cast<size_t>(lookup.tables[k]);
      const RaggedIds& values = prepared.batch.sparse[static_cast<size_t>(lookup.features[k])];
      REQUIRE(index.offsets[segment] == p);
      for (int32_t v = values.offsets[i]; v < values.offsets[i + 1]; ++v, ++p) {
        const int32_t row = index.inverse[static_cast<size_t>(p)];
        REQUIRE((row >= 0 && row < index.num_rows));
        const int64_t in_table = index.first_row + row - prepared.table_rows[t].first_row;
        REQUIRE(in_table >= 0);
        REQUIRE(prepared.unique_ids[t].at(static_cast<size_t>(in_table)) ==
                values.ids[static_cast<size_t>(v)]);
        occurrences[static_cast<size_t>(row)].push_back(
            lookup.sequence ? p : static_cast<int32_t>(segment));
      }
    }
  }
  REQUIRE(index.offsets.back() == p);
  REQUIRE(index.inverse.size() == static_cast<size_t>(p));
  REQUIRE(index.occurrence_offsets.size() == static_cast<size_t>(index.num_rows) + 1);
  std::vector<int32_t> flat;
  for (size_t r = 0; r < occurrences.size(); ++r) {
    REQUIRE(index.occurrence_offsets[r] == static_cast<int32_t>(flat.size()));
    flat.insert(flat.end(), occurrences[r].begin(), occurrences[r].end());
  }
  REQUIRE(index.occurrence_segments == flat);
  for (size_t k = 0; k < num_features; ++k) {
    const int position = schema.SparseFeatures()[static_cast<size_t>(lookup.features[k])];
    REQUIRE(index.columns[k] == static_cast<int32_t>(k));
    REQUIRE(index.pooling[k] ==
            static_cast<int32_t>(schema.features[static_cast<size_t>(position)].pooling));
  }
}

void CheckAll(const FeatureSchema& schema, const Declaration& declaration, const Batch& batch) {
  REQUIRE(CheckDeclaration(schema, declaration).ok());
  const PreparedBatch prepared = Prepare(schema, declaration, batch);
  REQUIRE(prepared.num_dense == static_cast<int64_t>(schema.DenseFeatures().size()));
  std::vector<int64_t> next(prepared.row_groups.size());
  for (size_t t = 0; t < declaration.tables.size(); ++t) {
    REQUIRE(prepared.unique_ids[t] == SlowUnique(declaration, batch, static_cast<int>(t)));
    const RowRange& range = prepared.table_rows[t];
    const size_t g = static_cast<size_t>(range.group);
    REQUIRE(prepared.row_groups[g].dim == declaration.tables[t].dim);
    REQUIRE(range.first_row == next[g]);  // Behind one another, in declaration order.
    next[g] += static_cast<int64_t>(prepared.unique_ids[t].size());
  }
  for (size_t g = 0; g < next.size(); ++g) REQUIRE(prepared.row_groups[g].num_rows == next[g]);
  for (size_t l = 0; l < declaration.lookups.size(); ++l) {
    CAPTURE(l);
    CheckLookup(schema, declaration, prepared, l);
  }
}

// Four sparse features: f0 and f2 share table 0; two dimensions; a wide copy of
// some tables; a lookup of a subset; a sequence.
Declaration Mixed() {
  Declaration d;
  d.AddTable({.name = "shared", .dim = 4});
  d.AddTable({.name = "one", .dim = 1});
  d.AddTable({.name = "own", .dim = 4});
  d.AddTable({.name = "unused", .dim = 4});
  d.AddTable({.name = "last", .dim = 4});
  d.AddTable({.name = "shared.wide", .dim = 1});
  d.AddLookup({.features = {0, 1, 2}, .tables = {0, 2, 0}});
  d.AddLookup({.features = {3, 0}, .tables = {1, 5}});
  d.AddLookup({.features = {1}, .tables = {2}, .sequence = true});
  d.AddLookup({.features = {3, 1}, .tables = {4, 2}});
  d.AddLookup({.features = {2}, .tables = {5}});
  return d;
}

TEST_CASE("PrepareBatch agrees with the slow way on random ragged batches") {
  const FeatureSchema schema = Schema(4, 3);
  REQUIRE(schema.SparseFeatures().size() == 4);
  for (int64_t size : {0, 1, 2, 17, 64}) {
    for (int values_max : {1, 3}) {
      for (uint64_t num_ids : {uint64_t{1}, uint64_t{5}, uint64_t{1000}}) {
        const uint64_t seed = static_cast<uint64_t>(size) * 100 + num_ids;
        CAPTURE(size, values_max, num_ids, seed);
        CheckAll(schema, Mixed(), RandomBatch(schema, size, values_max, num_ids, seed));
      }
    }
  }
}

TEST_CASE("any 64-bit id is legal, 0 and the largest among them") {
  const FeatureSchema schema = Schema(1, 0);
  Declaration d;
  d.AddTable({.name = "t", .dim = 2});
  d.AddLookup({.features = {0}, .tables = {0}});
  Batch batch = RandomBatch(schema, 4, 1, 1, 1);
  batch.sparse[0].ids = {0, ~uint64_t{0}, 0, uint64_t{1} << 63};
  CheckAll(schema, d, batch);
  REQUIRE(Prepare(schema, d, batch).unique_ids[0].size() == 3);
}

TEST_CASE("a worker without data prepares an empty batch") {
  const FeatureSchema schema = Schema(4, 2);
  Batch batch;
  batch.sparse.resize(4);
  CheckAll(schema, Mixed(), batch);
  const PreparedBatch prepared = Prepare(schema, Mixed(), batch);
  REQUIRE(prepared.num_dense == 2);
  REQUIRE(prepared.lookups[0].offsets == std::vector<int32_t>{0});
  REQUIRE(prepared.lookups[0].occurrence_offsets == std::vector<int32_t>{0});
}

TEST_CASE("labels, weights, groups and origins may be empty") {
  const FeatureSchema schema = Schema(1, 0);
  Batch batch = RandomBatch(schema, 3, 1, 5, 1);
  batch.labels.clear();
  batch.weights.clear();
  REQUIRE(PrepareBatch(schema, Declaration(), batch).ok());
}

TEST_CASE("PrepareBatch refuses batches that do not fit, in words") {
  const FeatureSchema schema = Schema(2, 1);
  Declaration d;
  d.AddTable({.name = "t", .dim = 2});
  d.AddLookup({.features = {0, 1}, .tables = {0, 0}});
  const Batch good = RandomBatch(schema, 3, 2, 5, 1);
  REQUIRE(PrepareBatch(schema, d, good).ok());
  const auto refused = [&](const Batch& batch, const std::string& word) {
    RequireInvalid(PrepareBatch(schema, d, batch).status(), word);
  };
  Batch b = good;
  b.sparse.pop_back();
  refused(b, "1 sparse features where 2");
  b = good;
  b.dense.push_back(0.0f);
  refused(b, "4 numeric values where 3");
  b = good;
  b.labels.pop_back();
  refused(b, "labels");
  b = good;
  b.weights.push_back(1.0f);
  refused(b, "weights");
  b = good;
  b.groups = {1};
  refused(b, "groups");
  b = good;
  b.sparse[1].offsets.pop_back();
  refused(b, "feature 'f2'");
  b = good;
  b.sparse[0].ids.push_back(1);
  refused(b, "feature 'f0'");
  b = good;
  std::swap(b.sparse[0].offsets[1], b.sparse[0].offsets[3]);
  b.sparse[0].offsets[1] += 1;
  refused(b, "feature 'f0'");
  b = good;
  b.size = -1;
  refused(b, "negative");
  d.AddLookup({.features = {7}, .tables = {0}});
  refused(good, "sparse feature 7 of 2");
}

TEST_CASE("OriginRange names files and lines") {
  Batch batch;
  batch.size = 3;
  REQUIRE(batch.OriginRange() == "a batch of 3 samples of unknown origin");
  batch.files = std::make_shared<const std::vector<std::string>>(
      std::vector<std::string>{"a.csv", "b.csv", "c", "d", "e", "f"});
  batch.origins = {{0, 17}, {0, 9}, {0, 12}};
  REQUIRE(batch.OriginRange() == "a.csv:9-17");
  batch.origins = {{1, 5}};
  REQUIRE(batch.OriginRange() == "b.csv:5");
  batch.origins = {{1, 5}, {0, 3}, {1, 7}};
  REQUIRE(batch.OriginRange() == "a.csv:3, b.csv:5-7");
  batch.origins = {{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}};
  REQUIRE(batch.OriginRange() == "a.csv:1, b.csv:1, c:1, d:1 and 2 more files");
}

}  // namespace
}  // namespace pagoda
