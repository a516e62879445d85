// Joined features and drawn negatives in a prepared batch (algorithms/nn/batch.h).
#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <set>

#include "algorithms/nn/batch.h"
#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

// user: one id a sample; history and clicks: of join "user"; item: one id a sample.
FeatureSchema JoinSchema() {
  FeatureSchema schema;
  JoinSpec join;
  join.name = "user";
  schema.joins = {join};
  for (const char* name : {"history", "item", "clicks"}) {
    FeatureSpec spec;
    spec.name = name;
    spec.kind = FeatureKind::kId;
    spec.table = "item";
    if (name != std::string("item")) spec.join = "user";
    schema.features.push_back(spec);
  }
  return schema;
}

// `size` samples that name `rows` join rows of 0 to 4 values.
Batch JoinBatch(int64_t size, int64_t rows, uint64_t seed) {
  const RandomKey key{seed};
  uint64_t draw = 0;
  Batch batch = EmptyBatch(JoinSchema());
  batch.size = size;
  for (int64_t i = 0; i < size; ++i) {
    // Rows are numbered by their first sample.
    const int64_t known = batch.joins[0].num_rows;
    const bool fresh = known < rows && (known == 0 || RandomBelow(key, draw++, 2) == 0);
    const int64_t row =
        fresh ? known
              : static_cast<int64_t>(RandomBelow(key, draw++, static_cast<uint64_t>(known)));
    batch.joins[0].num_rows = std::max(known, row + 1);
    batch.joins[0].sample_row.push_back(static_cast<int32_t>(row));
    batch.sparse[1].ids.push_back(RandomBelow(key, draw++, 6));
    batch.sparse[1].offsets.push_back(static_cast<int32_t>(batch.sparse[1].ids.size()));
  }
  for (int64_t r = 0; r < batch.joins[0].num_rows; ++r) {
    for (const size_t k : {size_t{0}, size_t{2}}) {
      const uint64_t count = RandomBelow(key, draw++, 5);
      for (uint64_t j = 0; j < count; ++j) {
        batch.sparse[k].ids.push_back(RandomBelow(key, draw++, 9));
      }
      batch.sparse[k].offsets.push_back(static_cast<int32_t>(batch.sparse[k].ids.size()));
    }
  }
  return batch;
}

// The same samples without joins: every sample has its row's values.
Batch Expanded(const Batch& batch) {
  Batch flat = batch;
  flat.joins.clear();
  for (size_t k = 0; k < flat.sparse.size(); ++k) {
    flat.sparse[k] = RaggedIds();
    for (int64_t i = 0; i < batch.size; ++i) {
      const auto ids = batch.IdsOf(static_cast<int>(k), i);
      flat.sparse[k].ids.insert(flat.sparse[k].ids.end(), ids.begin(), ids.end());
      flat.sparse[k].offsets.push_back(static_cast<int32_t>(flat.sparse[k].ids.size()));
    }
  }
  return flat;
}

PreparedBatch Prepare(const FeatureSchema& schema, const Declaration& declaration,
                      const Batch& batch, BatchUse use = BatchUse::kTrain) {
  auto prepared = PrepareBatch(schema, declaration, batch, use);
  INFO(prepared.status());
  REQUIRE(prepared.ok());
  return *std::move(prepared);
}

// Ids of a lookup's values, in order.
std::vector<FeatureId> IdsOfLookup(const PreparedBatch& prepared, size_t lookup, size_t table) {
  const LookupIndex& index = prepared.lookups[lookup];
  std::vector<FeatureId> ids;
  const int64_t shift = index.first_row - prepared.table_rows[table].first_row;
  for (const int32_t row : index.inverse) {
    ids.push_back(prepared.unique_ids[table][static_cast<size_t>(row + shift)]);
  }
  return ids;
}

TEST_CASE("a pooled lookup of joined features is that of samples with their rows' values") {
  const FeatureSchema schema = JoinSchema();
  FeatureSchema flat_schema = schema;
  flat_schema.joins.clear();
  for (FeatureSpec& spec : flat_schema.features) spec.join.clear();
  Declaration d;
  d.AddTable({.name = "item", .dim = 2});
  d.AddLookup({.features = {1, 0, 2}, .tables = {0, 0, 0}});
  for (const auto& [size, rows] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 0}, {1, 1}, {7, 2}, {33, 9}}) {
    CAPTURE(size, rows);
    const Batch batch = JoinBatch(size, rows, 3);
    const PreparedBatch joined = Prepare(schema, d, batch);
    const PreparedBatch flat = Prepare(flat_schema, d, Expanded(batch));
    CHECK(joined.lookups[0].offsets == flat.lookups[0].offsets);
    CHECK(IdsOfLookup(joined, 0, 0) == IdsOfLookup(flat, 0, 0));
    std::set<FeatureId> a(joined.unique_ids[0].begin(), joined.unique_ids[0].end());
    std::set<FeatureId> b(flat.unique_ids[0].begin(), flat.unique_ids[0].end());
    CHECK(a == b);
  }
}

TEST_CASE("a sequence lookup of a joined feature has each row once") {
  const FeatureSchema schema = JoinSchema();
  Declaration d;
  d.AddTable({.name = "item", .dim = 2});
  d.AddLookup({.features = {0}, .tables = {0}, .sequence = true});
  const Batch batch = JoinBatch(33, 5, 8);
  const PreparedBatch prepared = Prepare(schema, d, batch);
  CHECK(prepared.lookups[0].offsets == batch.sparse[0].offsets);
  CHECK(IdsOfLookup(prepared, 0, 0) == batch.sparse[0].ids);
  // Rows come back to samples by sample_row.
  for (int64_t i = 0; i < batch.size; ++i) {
    const auto row = static_cast<size_t>(batch.joins[0].sample_row[static_cast<size_t>(i)]);
    const auto begin = batch.sparse[0].ids.begin() + batch.sparse[0].offsets[row];
    const auto ids = batch.IdsOf(0, i);
    REQUIRE(std::equal(ids.begin(), ids.end(), begin));
  }
}

TEST_CASE("joins that do not fit are refused in words") {
  const FeatureSchema schema = JoinSchema();
  const Declaration d;
  const Batch good = JoinBatch(5, 2, 1);
  REQUIRE(PrepareBatch(schema, d, good).ok());
  const auto refused = [&](const Batch& batch, const std::string& word) {
    RequireInvalid(PrepareBatch(schema, d, batch).status(), word);
  };
  Batch b = good;
  b.joins.clear();
  refused(b, "0 joins where 1");
  b = good;
  b.joins[0].sample_row[3] = 2;
  refused(b, "row 2 of 2 of join 'user'");
  b = good;
  b.joins[0].sample_row.pop_back();
  refused(b, "4 join rows where 5");
  b = good;
  b.sparse[0].join = -1;
  refused(b, "feature 'history'");
  b = good;
  b.sparse[2].offsets.push_back(b.sparse[2].offsets.back());
  refused(b, "rows of its join");
}

Declaration WithNegatives(NegativeScope scope, int64_t count) {
  Declaration d;
  d.AddTable({.name = "other", .dim = 2});
  d.AddTable({.name = "item", .dim = 2});
  d.AddLookup({.features = {1}, .tables = {1}});
  NegativesDecl decl;
  decl.feature = 1;
  decl.table = 1;
  decl.count = count;
  decl.scope = scope;
  const NegativesHandle handle = d.AddNegatives(decl);
  d.negatives[0].catalogue =
      std::make_shared<const ItemCatalogue>(*ItemCatalogue::Create({2, 3, 5, 7, 11, 13}));
  d.negatives[0].key = RandomKey{21};
  REQUIRE(d.LookupOf(handle).index == 1);
  return d;
}

TEST_CASE("negatives are the documented draws and share rows with the other ids") {
  const FeatureSchema schema = JoinSchema();
  for (const NegativeScope scope : {NegativeScope::kBatch, NegativeScope::kSample}) {
    const Declaration d = WithNegatives(scope, 4);
    Batch batch = JoinBatch(5, 3, 2);
    batch.first_sample = 40;
    batch.global_first_sample = 30;
    const PreparedBatch prepared = Prepare(schema, d, batch);
    std::vector<FeatureId> wanted;
    const bool per_sample = scope == NegativeScope::kSample;
    for (uint64_t set = 0; set < (per_sample ? 5 : 1); ++set) {
      const RandomKey key = RandomKey{21}.Derive((per_sample ? 40 : 30) + set);
      for (uint64_t n = 0; n < 4; ++n) {
        wanted.push_back(std::vector<FeatureId>{2, 3, 5, 7, 11, 13}[RandomBelow(key, n, 6)]);
      }
    }
    CHECK(prepared.negatives[0].ids == wanted);
    CHECK(prepared.negatives[0].log_q ==
          std::vector<float>(wanted.size(), static_cast<float>(std::log(1.0 / 6.0))));
    CHECK(IdsOfLookup(prepared, 1, 1) == wanted);
    CHECK(prepared.lookups[1].offsets.back() == static_cast<int32_t>(wanted.size()));
    // Distinct, positives and negatives alike.
    std::vector<FeatureId> all = batch.sparse[1].ids;
    all.insert(all.end(), wanted.begin(), wanted.end());
    std::vector<FeatureId> distinct;
    for (const FeatureId id : all) {
      if (std::find(distinct.begin(), distinct.end(), id) == distinct.end()) distinct.push_back(id);
    }
    CHECK(prepared.unique_ids[1] == distinct);
    CHECK(prepared.unique_ids[0].empty());
  }
}

TEST_CASE("negatives do not depend on how a batch is parted among workers") {
  const FeatureSchema schema = JoinSchema();
  const Batch whole = JoinBatch(6, 3, 5);
  const auto part = [&](int64_t begin, int64_t end) {
    Batch batch = EmptyBatch(schema);
    for (int64_t i = begin; i < end; ++i) {
      batch.joins[0].sample_row.push_back(static_cast<int32_t>(batch.joins[0].num_rows++));
      for (int k = 0; k < 3; ++k) {
        RaggedIds& to = batch.sparse[static_cast<size_t>(k)];
        const auto ids = whole.IdsOf(k, i);
        to.ids.insert(to.ids.end(), ids.begin(), ids.end());
        to.offsets.push_back(static_cast<int32_t>(to.ids.size()));
      }
    }
    batch.size = end - begin;
    batch.first_sample = 100 + static_cast<uint64_t>(begin);
    batch.global_first_sample = 100;
    return batch;
  };
  const auto drawn = [&](NegativeScope scope, int64_t begin, int64_t end) {
    return Prepare(schema, WithNegatives(scope, 3), part(begin, end)).negatives[0].ids;
  };
  const auto all = drawn(NegativeScope::kBatch, 0, 6);
  CHECK(drawn(NegativeScope::kBatch, 0, 2) == all);
  CHECK(drawn(NegativeScope::kBatch, 2, 6) == all);
  CHECK(drawn(NegativeScope::kBatch, 2, 2).empty());
  auto pieces = drawn(NegativeScope::kSample, 0, 2);
  const auto rest = drawn(NegativeScope::kSample, 2, 6);
  pieces.insert(pieces.end(), rest.begin(), rest.end());
  CHECK(pieces == drawn(NegativeScope::kSample, 0, 6));
}

TEST_CASE("nothing is drawn for scoring, for no samples, or from no catalogue") {
  const FeatureSchema schema = JoinSchema();
  Declaration d = WithNegatives(NegativeScope::kSample, 4);
  const PreparedBatch scored = Prepare(schema, d, JoinBatch(5, 3, 2), BatchUse::kScore);
  CHECK(scored.negatives[0].ids.empty());
  CHECK(scored.lookups[1].inverse.empty());
  CHECK(Prepare(schema, d, EmptyBatch(schema)).negatives[0].ids.empty());
  d.negatives[0].catalogue = nullptr;
  CHECK(Prepare(schema, d, EmptyBatch(schema)).negatives[0].ids.empty());
  CHECK(absl::IsFailedPrecondition(PrepareBatch(schema, d, JoinBatch(5, 3, 2)).status()));
}

TEST_CASE("negatives that make no sense are refused") {
  const FeatureSchema schema = JoinSchema();
  const auto refused = [&](const std::function<void(NegativesDecl&)>& change,
                           const std::string& word) {
    Declaration d = WithNegatives(NegativeScope::kBatch, 4);
    change(d.negatives[0]);
    RequireInvalid(CheckDeclaration(schema, d), word);
  };
  REQUIRE(CheckDeclaration(schema, WithNegatives(NegativeScope::kBatch, 4)).ok());
  refused([](NegativesDecl& n) { n.feature = 3; }, "sparse feature 3 of 3");
  refused([](NegativesDecl& n) { n.table = 2; }, "table 2 of 2");
  refused([](NegativesDecl& n) { n.count = 0; }, "count of 0");
  refused([](NegativesDecl& n) { n.popularity_power = -1.0; }, "power of -1");
}

// A history of pairs (item, brand). Chosen is the last pair of each sample of the global batch,
// from sample key.value on.
struct ChosenWorld {
  ChosenWorld() {
    for (const char* name : {"item", "brand"}) {
      FeatureSpec spec;
      spec.name = name;
      spec.kind = FeatureKind::kId;
      spec.separator = "|";
      spec.last = 9;
      schema.features.push_back(spec);
      declaration.AddTable({.name = name, .dim = 2});
    }
    NegativesDecl items;
    items.feature = items.table = 0;
    items.count = 1;
    items.choose = [](const Batch& of, RandomKey key) {
      std::vector<int32_t> places;
      const std::vector<int32_t>& offsets = of.Whole().sparse[0].offsets;
      for (size_t i = key.value; i + 1 < offsets.size(); ++i) {
        if (offsets[i] < offsets[i + 1]) places.push_back(offsets[i + 1] - 1);
      }
      return places;
    };
    NegativesDecl brands = items;
    brands.feature = brands.table = 1;
    brands.choose = nullptr;
    brands.same_as = declaration.AddNegatives(items).index;
    declaration.AddNegatives(brands);
    declaration.negatives[0].key = RandomKey{1};
    batch.size = 3;
    batch.sparse.resize(2);
    batch.sparse[0] = {{1, 2, 3, 4, 5}, {0, 2, 4, 5}};
    batch.sparse[1] = {{11, 12, 13, 14, 15}, {0, 2, 4, 5}};
  }

  FeatureSchema schema;
  Declaration declaration;
  Batch batch;
};

TEST_CASE("chosen negatives are values of the whole global batch, column by column") {
  ChosenWorld world;
  REQUIRE(CheckDeclaration(world.schema, world.declaration).ok());
  REQUIRE(world.declaration.NeedsWholeBatches());
  const auto ids = [&](const Batch& batch, size_t k) {
    return Prepare(world.schema, world.declaration, batch).negatives[k].ids;
  };
  CHECK(ids(world.batch, 0) == std::vector<FeatureId>{4, 5});
  CHECK(ids(world.batch, 1) == std::vector<FeatureId>{14, 15});
  // A worker with the first sample alone sees the others' values, and has rows for them.
  Batch own = world.batch;
  own.size = 1;
  own.sparse[0] = {{1, 2}, {0, 2}};
  own.sparse[1] = {{11, 12}, {0, 2}};
  own.whole = std::make_shared<const Batch>(world.batch);
  CHECK(ids(own, 0) == std::vector<FeatureId>{4, 5});
  const PreparedBatch prepared = Prepare(world.schema, world.declaration, own);
  CHECK(prepared.unique_ids[1] == std::vector<FeatureId>{14, 15});
  CHECK(IdsOfLookup(prepared, 1, 1) == std::vector<FeatureId>{14, 15});
  CHECK(prepared.lookups[0].offsets == std::vector<int32_t>{0, 1, 2});
  CHECK(Prepare(world.schema, world.declaration, own, BatchUse::kScore).negatives[0].ids.empty());
  CHECK(ids(EmptyBatch(world.schema), 0).empty());
  CHECK_FALSE(WithNegatives(NegativeScope::kBatch, 4).NeedsWholeBatches());
}

TEST_CASE("chosen negatives that make no sense are refused") {
  const auto refused = [](const std::function<void(ChosenWorld&)>& change,
                          const std::string& word) {
    ChosenWorld world;
    change(world);
    RequireInvalid(CheckDeclaration(world.schema, world.declaration), word);
  };
  refused([](ChosenWorld& w) { w.schema.features[0].last = 0; }, "feature 'item', which is no seq");
  refused([](ChosenWorld& w) { w.declaration.negatives[0].count = 2; }, "must have count 1");
  refused([](ChosenWorld& w) { w.declaration.negatives[1].same_as = 1; },
          "the places of negatives 1");
  refused(
      [](ChosenWorld& w) {
        w.declaration.negatives[0].choose = nullptr;
        w.declaration.negatives[0].same_as = 0;
      },
      "the places of negatives 0");
  ChosenWorld world;
  world.declaration.negatives[0].choose = [](const Batch&, RandomKey) {
    return std::vector<int32_t>{5};
  };
  RequireInvalid(PrepareBatch(world.schema, world.declaration, world.batch).status(),
                 "chose place 5 among 5 values");
}

}  // namespace
}  // namespace pagoda
