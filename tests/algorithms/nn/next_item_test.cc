#include "algorithms/nn/next_item.h"

#include "tests/algorithms/sequence_formula.h"

namespace pagoda {
namespace {

constexpr int kItem = 1, kHistory = 2;  // In SequenceSchema.

Batch TinyBatch(std::vector<std::vector<FeatureId>> histories,
                std::vector<std::vector<FeatureId>> items) {
  Batch batch;
  batch.size = static_cast<int64_t>(histories.size());
  batch.sparse.resize(5);
  const auto fill = [&](size_t feature, const std::vector<std::vector<FeatureId>>& cells) {
    for (const std::vector<FeatureId>& cell : cells) {
      RaggedIds& values = batch.sparse[feature];
      values.ids.insert(values.ids.end(), cell.begin(), cell.end());
      values.offsets.push_back(static_cast<int32_t>(values.ids.size()));
    }
  };
  fill(kHistory, histories);
  fill(kItem, items);
  return batch;
}

TEST_CASE("what follows an event is the next one, and after the last the item") {
  FeatureSchema schema = SequenceSchema();
  Batch batch = TinyBatch({{7, 8, 9}, {}, {5}, {6, 7}}, {{1}, {2}, {}, {4}});
  batch.labels = {1.0f, 1.0f, 1.0f, 0.0f};
  batch.weights = {0.5f, 1.0f, 2.0f, 4.0f};
  const auto next = nn::FindNextItems(schema, batch, kHistory, kItem);
  REQUIRE(next.ok());
  // Events 0 to 5; the samples' items are rows 6 to 9.
  REQUIRE(next->rows == std::vector<int32_t>{1, 2, 6, -1, 5, -1});
  REQUIRE(next->ids == std::vector<FeatureId>{8, 9, 1, 0, 7, 0});
  REQUIRE(next->weights == std::vector<float>{0.5f, 0.5f, 0.5f, 0.0f, 4.0f, 0.0f});
  REQUIRE(next->sample == std::vector<int32_t>{0, 0, 0, 2, 3, 3});
  REQUIRE(next->count == 5.5);

  schema.label.clear();  // Every item was taken; the labels are a reader's filling.
  batch.weights.clear();
  const auto unlabelled = nn::FindNextItems(schema, batch, kHistory, kItem);
  REQUIRE(unlabelled.ok());
  REQUIRE(unlabelled->rows == std::vector<int32_t>{1, 2, 6, -1, 5, 9});
  REQUIRE(unlabelled->count == 5.0);
  REQUIRE(nn::FindNextItems(schema, TinyBatch({}, {}), kHistory, kItem)->ids.empty());
}

TEST_CASE("a history that is kept once per join row reads as one of each sample") {
  const Options options = {{"targets", std::vector<std::string>{"item"}},
                           {"sequences", std::vector<std::string>{"history"}},
                           {"embedding_dim", int64_t{3}},
                           {"activation", std::string("tanh")},
                           {"hidden", std::vector<int64_t>{4}}};
  FeatureSchema schema = SequenceSchema();
  Batch batch = SmallBatch(schema, 5, 3);
  const std::vector<int32_t> sample_row = {1, 0, 1, 2, 0};
  const std::vector<std::vector<FeatureId>> rows = {{3, 1}, {4, 4, 2}, {}};
  RaggedIds& plain = batch.sparse[kHistory];
  plain = RaggedIds();
  for (int32_t row : sample_row) {
    const std::vector<FeatureId>& ids = rows[static_cast<size_t>(row)];
    plain.ids.insert(plain.ids.end(), ids.begin(), ids.end());
    plain.offsets.push_back(static_cast<int32_t>(plain.ids.size()));
  }
  TestDevice device;
  const StepResult want = ModelHarness("din", options, schema).Run(device, batch);

  JoinSpec join;
  join.name = "user";
  schema.joins.push_back(join);
  schema.features[kHistory].join = "user";
  RaggedIds& joined = batch.sparse[kHistory];
  joined = RaggedIds();
  joined.join = 0;
  for (const std::vector<FeatureId>& ids : rows) {
    joined.ids.insert(joined.ids.end(), ids.begin(), ids.end());
    joined.offsets.push_back(static_cast<int32_t>(joined.ids.size()));
  }
  batch.joins.push_back({.num_rows = 3, .sample_row = sample_row});
  const StepResult got = ModelHarness("din", options, schema).Run(device, batch);
  REQUIRE(got.predictions == want.predictions);
  REQUIRE(got.dense_gradients.size() == want.dense_gradients.size());
  for (size_t i = 0; i < want.dense_gradients.size(); ++i) {
    REQUIRE(got.dense_gradients[i] == Approx(want.dense_gradients[i]).margin(1e-6));
  }
}

}  // namespace
}  // namespace pagoda
