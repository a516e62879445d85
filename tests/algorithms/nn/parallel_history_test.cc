#include "algorithms/nn/parallel_history.h"

#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

TEST_CASE("SelectEvents keeps each sample's last accepted events, in order") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    const RandomKey key{seed};
    std::vector<int32_t> offsets = {0};
    const uint64_t samples = RandomBelow(key, 0, 6);
    for (uint64_t i = 1; i <= samples; ++i) {
      offsets.push_back(offsets.back() + static_cast<int32_t>(RandomBelow(key, i, 9)));
    }
    const auto keep = [&](int32_t p) {
      return RandomBits(key, 100 + static_cast<uint64_t>(p)) & 1;
    };
    for (const int64_t last : {1, 3, 100}) {
      const nn::EventStream stream = nn::SelectEvents(offsets, keep, last);
      REQUIRE(stream.offsets.size() == offsets.size());
      for (size_t i = 0; i + 1 < offsets.size(); ++i) {
        std::vector<int32_t> want;
        for (int32_t p = offsets[i]; p < offsets[i + 1]; ++p) {
          if (keep(p)) want.push_back(p);
        }
        if (static_cast<int64_t>(want.size()) > last) want.erase(want.begin(), want.end() - last);
        const std::vector<int32_t> got(stream.rows.begin() + stream.offsets[i],
                                       stream.rows.begin() + stream.offsets[i + 1]);
        REQUIRE(got == want);
      }
    }
  }
}

FeatureSchema HistorySchema() {
  FeatureSchema schema = SmallSchema(false);
  schema.features.push_back(HistoryFeature("items", "item", 5));
  schema.features.push_back(HistoryFeature("kinds", "kind", 5));
  return schema;
}

TEST_CASE("ParallelHistory declares a sequence lookup per feature, in the features' tables") {
  const FeatureSchema schema = HistorySchema();
  Declaration declaration;
  declaration.AddTable({.name = "item", .dim = 3});
  const auto history =
      nn::ParallelHistory::Declare(declaration, schema, {"kinds", "items"}, {3, "history"});
  REQUIRE(history.ok());
  REQUIRE(history->width() == 6);
  REQUIRE(declaration.tables.size() == 2);
  REQUIRE(declaration.lookups.size() == 2);
  REQUIRE(declaration.lookups[1].tables == std::vector<int>{0});
  REQUIRE(declaration.lookups[1].sequence);
  const Batch batch = SmallBatch(schema, 7, 3);
  REQUIRE(&history->Offsets(batch) == &batch.sparse[5].offsets);
  const auto none = nn::ParallelHistory::Declare(declaration, schema, {}, {3, "history"});
  REQUIRE(none.ok());
  REQUIRE(none->empty());
}

TEST_CASE("ParallelHistory refuses features of another kind, and histories of two lengths") {
  FeatureSchema schema = HistorySchema();
  const auto declare = [&](const std::string& name) {
    Declaration declaration;
    return nn::ParallelHistory::Declare(declaration, schema, {"items", name}, {3, "short_history"})
        .status();
  };
  REQUIRE(declare("kinds").ok());
  RequireInvalid(declare("genres"), "'short_history' names 'genres', which is not a sequence");
  RequireInvalid(declare("nothing"), "'nothing', which is not a feature with ids");
  schema.features.back().join = "users";
  RequireInvalid(declare("kinds"), "'kinds', which is of a join");

  schema.features.back().join.clear();
  Declaration declaration;
  const auto history =
      nn::ParallelHistory::Declare(declaration, schema, {"items", "kinds"}, {3, "history"});
  REQUIRE(history.ok());
  Batch batch = SmallBatch(schema, 7, 3);
  REQUIRE(history->CheckParallel(batch, 5, "kinds").ok());
  batch.sparse[5].offsets.back() += 1;
  RequireInvalid(history->CheckParallel(batch, 5, "kinds"), "sample 6 of");
}

}  // namespace
}  // namespace pagoda
