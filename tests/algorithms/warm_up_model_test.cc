// What models read of rows' statistics. (ForwardInput::RowCount and RowAge, algorithms/nn/step.h)
#include "tests/algorithms/warm_up_model.h"

#include <cmath>

#include "algorithms/nn/ops.h"
#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

ModelInfo WarmUpInfo(const WarmUpModel::Observe& observe = nullptr) {
  ModelInfo info;
  info.name = "warm_up";
  info.create = [=](const ModelOptions&) { return std::make_unique<WarmUpModel>(3, observe); };
  return info;
}

struct Pooled {
  double count = 0.0, age = 0.0;
};

// A feature's statistics in a sample, pooled as its rows.
Pooled PooledStatistics(const ModelHarness& harness, const Batch& batch, size_t sample,
                        size_t feature) {
  const FeatureSchema& schema = harness.schema();
  const FeatureSpec& spec = schema.features[static_cast<size_t>(schema.SparseFeatures()[feature])];
  int table = 0;
  while (harness.declaration().tables[static_cast<size_t>(table)].name != spec.table_name()) {
    ++table;
  }
  Pooled sum;
  const auto ids = batch.IdsOf(static_cast<int>(feature), static_cast<int64_t>(sample));
  for (const FeatureId id : ids) {
    const auto [updates, last] = ModelHarness::Statistics(table, id);
    sum.count += updates;
    sum.age += updates == 0 ? -1.0 : static_cast<double>(ModelHarness::kApplied - last);
  }
  double scale = 1.0;
  if (spec.pooling == Pooling::kMean && !ids.empty()) scale = 1.0 / static_cast<double>(ids.size());
  if (spec.pooling == Pooling::kSqrtN && !ids.empty()) {
    scale = 1.0 / std::sqrt(static_cast<double>(ids.size()));
  }
  return {sum.count * scale, sum.age * scale};
}

TEST_CASE("a model that weighs rows by their counts follows its formula") {
  for (const bool numeric : {true, false}) {
    const ModelHarness harness(WarmUpInfo(), {}, SmallSchema(numeric));
    for (const int64_t size : {0, 1, 5}) {
      CAPTURE(numeric, size);
      const Batch batch = SmallBatch(harness.schema(), size, 3);
      CheckAgainstOracle(harness, batch, [&](const Oracle& o) {
        return MeanLogLoss(o, [&](size_t i) {
          Oracle::Vector x;
          for (size_t f = 0; f < o.num_sparse(); ++f) {
            const double count = PooledStatistics(harness, batch, i, f).count;
            const double trust = count / (count + 5.0);
            const Oracle::Vector row = o.Pooled(i, f);
            for (size_t c = 0; c < 3; ++c) {
              x.push_back(trust * row[c] + (1.0 - trust) * o.Get("shared")[3 * f + c]);
            }
          }
          return o.Linear("out", x)[0];
        });
      });
    }
  }
}

TEST_CASE("counts and ages are pooled as rows are, and read the same again") {
  const ModelHarness harness(WarmUpInfo([](ForwardInput& input, const Var& count, const Var& age) {
                               CHECK(input.RowCount(LookupHandle{0}) == count);
                               CHECK(input.RowAge(LookupHandle{0}) == age);
                             }),
                             {}, SmallSchema(true));
  const Batch batch = SmallBatch(harness.schema(), 7, 4);
  for (const bool training : {true, false}) {
    for (const bool copied_ahead : {false, true}) {
      TestDevice device;
      StepSettings settings;
      settings.training = training;
      settings.copied_ahead = copied_ahead;
      const StepResult step = harness.Run(device, batch, settings);
      bool absent = false;
      size_t f = 0;
      for (const char* feature : {"user", "friends", "item", "genres"}) {
        for (size_t i = 0; i < 7; ++i) {
          CAPTURE(feature, i, training, copied_ahead);
          const Pooled want = PooledStatistics(harness, batch, i, f);
          CHECK(step.outputs.at(absl::StrCat("count.", feature))[i] == Approx(want.count));
          CHECK(step.outputs.at(absl::StrCat("age.", feature))[i] == Approx(want.age));
          absent = absent || want.age == -1.0;
        }
        ++f;
      }
      CHECK(absent);  // Or the test shows less than it should.
    }
  }
}

// Rows of a history, and of drawn items, in table "item".
class SequenceCounts : public Model {
 public:
  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    const int item = declaration.AddTable({.name = "item", .dim = 2}).index;
    history_ = declaration.AddLookup(
        {.features = {0}, .tables = {item}, .sequence = true, .statistics = asks});
    NegativesDecl drawn;
    drawn.feature = 0;
    drawn.table = item;
    drawn.count = 4;
    drawn.num_items = 12;
    drawn.statistics = asks;
    negatives_ = declaration.AddNegatives(drawn);
    drawn_rows_ = declaration.LookupOf(negatives_);
    return absl::OkStatus();
  }
  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    const auto read = [&](const Var& x, std::vector<float>* values) {
      if (!x.valid()) return;
      values->resize(static_cast<size_t>(x.value().size()));
      REQUIRE(x.shape() == Shape{x.value().size()});
      REQUIRE(input.tape().ctx().CopyToHost(x.value(), values->data(), x.value().size() * 4).ok());
    };
    ids = *input.Negatives(negatives_).ids;
    read(input.RowCount(history_), &counts);
    read(input.RowAge(history_), &ages);
    read(input.RowCount(drawn_rows_), &drawn_counts);
    return ForwardOutput();
  }

  bool asks = true;
  mutable std::vector<FeatureId> ids;
  mutable std::vector<float> counts, ages, drawn_counts;

 private:
  LookupHandle history_, drawn_rows_;
  NegativesHandle negatives_;
};

struct SequenceFixture {
  explicit SequenceFixture(bool asks) {
    FeatureSchema schema;
    schema.features = {HistoryFeature("history", "item", 9)};
    model.asks = asks;
    REQUIRE(model.Declare(schema, declaration).ok());
    REQUIRE(CheckDeclaration(schema, declaration).ok());
    declaration.negatives[0].catalogue = std::make_shared<const ItemCatalogue>(
        *ItemCatalogue::Create({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
    declaration.negatives[0].key = RandomKey{3};
    Batch batch = EmptyBatch(schema);
    batch.size = 3;
    batch.sparse[0].ids = history;
    batch.sparse[0].offsets = {0, 4, 4, 5};
    prepared = *PrepareBatch(schema, declaration, std::move(batch));
    for (const FeatureId id : prepared.unique_ids[0]) {
      statistics.push_back(static_cast<uint32_t>(id == 9 ? 0 : 10 * id));
      statistics.push_back(static_cast<uint32_t>(id == 9 ? 0 : id));
    }
    rows.resize(2 * prepared.unique_ids[0].size());
    input.batch = &prepared;
    input.rows = {rows.data()};
    input.statistics = {statistics.data()};
    input.applied = 6;
  }
  absl::Status Run() {
    auto parameters = ParameterSet::Create(*device.ctx, declaration.dense, 5);
    REQUIRE(parameters.ok());
    return ModelStep::Forward(*device.ctx, model, declaration, **parameters, input).status();
  }

  const std::vector<FeatureId> history = {9, 7, 9, 4, 7};
  TestDevice device;
  SequenceCounts model;
  Declaration declaration;
  PreparedBatch prepared;
  std::vector<uint32_t> statistics;
  std::vector<float> rows;
  StepInput input;
};

TEST_CASE("sequences and negatives have a count and an age for each of their rows") {
  SequenceFixture f(true);
  REQUIRE(f.Run().ok());
  CHECK(f.model.counts == std::vector<float>{0, 70, 0, 40, 70});
  // 7 was pushed later than this worker's step: another async worker did it.
  CHECK(f.model.ages == std::vector<float>{-1, 0, -1, 2, 0});
  REQUIRE(f.model.ids.size() == 4);
  for (size_t i = 0; i < 4; ++i) {
    CHECK(f.model.drawn_counts[i] == (f.model.ids[i] == 9 ? 0.0f : 10.0f * f.model.ids[i]));
  }
}

TEST_CASE("statistics that were not declared, or not given, are refused") {
  SequenceFixture undeclared(false);
  const absl::Status asked = undeclared.Run();
  CHECK(absl::IsFailedPrecondition(asked));
  CHECK_THAT(std::string(asked.message()),
             Catch::Contains("lookup 0") && Catch::Contains("without `statistics`"));
  SequenceFixture f(true);
  f.input.statistics = {nullptr};
  RequireInvalid(f.Run(), "no statistics were given for table 'item'");
  f.input.statistics.clear();
  RequireInvalid(f.Run(), "no statistics were given for table 'item'");
}

}  // namespace
}  // namespace pagoda
