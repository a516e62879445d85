// What a model reads beside pooled rows, labels and numbers: targets, negatives, sequences
// of joins; and its named outputs. (algorithms/nn/step.h)
#include <array>
#include <map>
#include <memory>

#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"
#include "algorithms/nn/step.h"
#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

// history: of join "user"; item: one id a sample; both in table "item". Two targets.
FeatureSchema Schema() {
  FeatureSchema schema;
  JoinSpec join;
  join.name = "user";
  schema.joins = {join};
  for (const char* name : {"history", "item"}) {
    FeatureSpec spec;
    spec.name = name;
    spec.kind = FeatureKind::kId;
    spec.table = "item";
    if (name == std::string("history")) spec.join = "user";
    schema.features.push_back(spec);
  }
  schema.targets = {"bought", "portal"};
  return schema;
}

// Three samples; the first and the last are of one user. Ids 9 and 4 occur in histories
// alone.
Batch ThreeSamples() {
  Batch batch = EmptyBatch(Schema());
  batch.size = 3;
  batch.joins[0] = {2, {0, 1, 0}};
  batch.sparse[0].ids = {9, 7, 9, 4};
  batch.sparse[0].offsets = {0, 3, 4};
  batch.sparse[1].ids = {7, 5, 6};
  batch.sparse[1].offsets = {0, 1, 2, 3};
  batch.labels = {1, 0, 1};
  batch.targets = {1, 10, 2, 20, 3, 30};
  return batch;
}

// loss = sum over samples of portal_i * <item_i, sum of its user's history>
//        + sum over negatives k and samples i of bought_i * <item_i, negative_k>
class InputsModel : public Model {
 public:
  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    bought_ = schema.TargetIndex("bought");
    portal_ = schema.TargetIndex("portal");
    const TableHandle table = declaration.AddTable({.name = "item", .dim = 2});
    history_ = declaration.AddLookup({.features = {0}, .tables = {table.index}, .sequence = true});
    item_ = declaration.AddLookup({.features = {1}, .tables = {table.index}});
    NegativesDecl decl;
    decl.feature = 1;
    decl.table = table.index;
    decl.count = 3;
    negatives_ = declaration.AddNegatives(decl);
    return absl::OkStatus();
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    const int64_t n = input.batch_size();
    const ForwardInput::Sequence history = input.LookupSequence(history_);
    const Var per_row = nn::SegmentPool(history.values, *history.offsets, SegmentPooling::kSum);
    // Rows to samples: sample i reads row sample_row[i] of the join.
    std::vector<Var> rows;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t row = (*history.sample_row)[static_cast<size_t>(i)];
      rows.push_back(nn::SliceRows(per_row, row, row + 1));
    }
    const Var item = nn::Reshape(input.Lookup(item_), {n, 2});
    ForwardOutput output;
    const ForwardInput::NegativeRows negatives = input.Negatives(negatives_);
    drawn = *negatives.ids;
    Var total;
    for (int64_t i = 0; i < n; ++i) {
      const Var mine = nn::SliceRows(item, i, i + 1);
      const Var dot = nn::MatMul(rows[static_cast<size_t>(i)], mine, {.a = false, .b = true});
      const Var weight = nn::Reshape(input.Target(portal_), {n, 1});
      const Var term = nn::Multiply(dot, nn::SliceRows(weight, i, i + 1));
      const Var against = nn::MatMul(mine, negatives.rows, {.a = false, .b = true});  // [1, 3]
      const Var bought = nn::Reshape(input.Target(bought_), {n, 1});
      const Var ones = nn::Reshape(nn::Constant(input.tape(), {1, 1, 1}), {3, 1});
      const Var scaled = nn::Multiply(nn::MatMul(against, ones), nn::SliceRows(bought, i, i + 1));
      const Var sum = nn::Add(term, scaled);
      total = total.valid() ? nn::Add(total, sum) : sum;
    }
    output.losses.push_back({"loss", nn::Sum(total), 1.0});
    output.prediction = nn::Reshape(input.Target(portal_), {n});
    output.outputs = {{"p.bought", nn::Reshape(input.Target(bought_), {n})}};
    if (name_twice) output.outputs.push_back(output.outputs[0]);
    return output;
  }

  bool name_twice = false;
  mutable std::vector<FeatureId> drawn;
  mutable LookupHandle history_, item_;
  mutable NegativesHandle negatives_;
  int bought_ = -1, portal_ = -1;
};

struct Fixture {
  Fixture() {
    REQUIRE(model.Declare(Schema(), declaration).ok());
    REQUIRE(CheckDeclaration(Schema(), declaration).ok());
    declaration.negatives[0].catalogue =
        std::make_shared<const ItemCatalogue>(*ItemCatalogue::Create({5, 11, 12}));
    declaration.negatives[0].key = RandomKey{3};
    auto made = PrepareBatch(Schema(), declaration, ThreeSamples());
    INFO(made.status());
    REQUIRE(made.ok());
    prepared = *std::move(made);
    for (const FeatureId id : prepared.unique_ids[0]) {
      for (int c = 0; c < 2; ++c) rows.push_back(RandomNormal(RandomKey{id}, uint64_t(c)));
    }
  }

  absl::StatusOr<std::unique_ptr<ModelStep>> Run(TestDevice& device, ParameterSet& parameters) {
    StepInput input;
    input.batch = &prepared;
    input.rows = {rows.data()};
    input.training = true;
    return ModelStep::Forward(*device.ctx, model, declaration, parameters, input);
  }

  double Row(FeatureId id, int c) const { return RandomNormal(RandomKey{id}, uint64_t(c)); }

  InputsModel model;
  Declaration declaration;
  PreparedBatch prepared;
  std::vector<float> rows;
};

TEST_CASE("joined histories, targets and negatives: loss and gradients follow the formula") {
  Fixture f;
  TestDevice device;
  auto parameters = ParameterSet::Create(*device.ctx, f.declaration.dense, 5);
  REQUIRE(parameters.ok());
  auto step = f.Run(device, **parameters);
  INFO(step.status());
  REQUIRE(step.ok());
  const std::vector<std::vector<FeatureId>> histories = {{9, 7, 9}, {4}, {9, 7, 9}};
  const std::vector<FeatureId> items = {7, 5, 6};
  const std::vector<double> bought = {1, 2, 3}, portal = {10, 20, 30};
  REQUIRE(f.model.drawn.size() == 3);
  double loss = 0.0;
  std::map<FeatureId, std::array<double, 2>> gradient;
  for (size_t i = 0; i < 3; ++i) {
    for (int c = 0; c < 2; ++c) {
      const auto col = static_cast<size_t>(c);
      for (const FeatureId id : histories[i]) {
        loss += portal[i] * f.Row(items[i], c) * f.Row(id, c);
        gradient[id][col] += portal[i] * f.Row(items[i], c);
        gradient[items[i]][col] += portal[i] * f.Row(id, c);
      }
      for (const FeatureId id : f.model.drawn) {
        loss += bought[i] * f.Row(items[i], c) * f.Row(id, c);
        gradient[id][col] += bought[i] * f.Row(items[i], c);
        gradient[items[i]][col] += bought[i] * f.Row(id, c);
      }
    }
  }
  CHECK((*step)->Losses()->at(0).sum == Approx(loss).epsilon(1e-5));
  REQUIRE((*step)->Backward({1.0}).ok());
  std::vector<float> got(f.rows.size());
  REQUIRE((*step)->RowGradients({got.data()}).ok());
  for (size_t r = 0; r < f.prepared.unique_ids[0].size(); ++r) {
    for (size_t c = 0; c < 2; ++c) {
      const FeatureId id = f.prepared.unique_ids[0][r];
      CAPTURE(id, c);
      CHECK(got[2 * r + c] == Approx(gradient[id][c]).epsilon(1e-5).margin(1e-5));
    }
  }
  const auto outputs = (*step)->Outputs();
  REQUIRE(outputs.ok());
  REQUIRE(outputs->size() == 1);
  CHECK(outputs->at(0).name == "p.bought");
  CHECK(outputs->at(0).values == std::vector<float>{1, 2, 3});
  CHECK(*(*step)->Predictions() == std::vector<float>{10, 20, 30});
}

TEST_CASE("outputs of one name are refused") {
  Fixture f;
  f.model.name_twice = true;
  TestDevice device;
  auto parameters = ParameterSet::Create(*device.ctx, f.declaration.dense, 5);
  REQUIRE(parameters.ok());
  RequireInvalid(f.Run(device, **parameters).status(), "'p.bought'");
}

}  // namespace
}  // namespace pagoda
