// two_tower with drawn negatives: the loss and its gradients against the formula of
// algorithms/two_tower/README.md, in double.
#include <cmath>
#include <map>
#include <memory>

#include "algorithms/models.h"
#include "algorithms/nn/step.h"
#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

constexpr double kTemperature = 0.4;
constexpr int64_t kNegatives = 5;
using Rows = std::map<std::pair<int, FeatureId>, std::vector<double>>;  // (table, id)

FeatureSchema Schema() {
  FeatureSchema schema;
  for (const char* name : {"user", "item"}) {
    FeatureSpec spec;
    spec.name = name;
    spec.kind = FeatureKind::kId;
    schema.features.push_back(spec);
  }
  return schema;
}

std::unique_ptr<Model> MakeModel(bool in_batch) {
  const ModelInfo info = TwoTowerModelInfo();
  ModelOptions options(info.options);
  const Options values = {{"user_features", std::vector<std::string>{"user"}},
                          {"item_features", std::vector<std::string>{"item"}},
                          {"embedding_dim", int64_t{3}},
                          {"hidden", std::vector<int64_t>{}},
                          {"output_dim", int64_t{0}},
                          {"temperature", kTemperature},
                          {"log_q", std::string(in_batch ? "none" : "batch")},
                          {"in_batch", in_batch},
                          {"negatives", kNegatives},
                          {"negative_sampler", std::string("popularity")}};
  for (const auto& [key, value] : values) REQUIRE(options.Set(key, value).ok());
  return info.create(options);
}

// Items repeat; item 1000 is not in the catalogue.
Batch SomeBatch(int64_t size) {
  Batch batch = EmptyBatch(Schema());
  batch.size = size;
  batch.global_first_sample = 11;
  for (int64_t i = 0; i < size; ++i) {
    batch.sparse[0].ids.push_back(static_cast<FeatureId>(i % 3));
    batch.sparse[1].ids.push_back(i == 4 ? 1000 : static_cast<FeatureId>(7 + i % 4));
    for (RaggedIds& values : batch.sparse) {
      values.offsets.push_back(static_cast<int32_t>(values.ids.size()));
    }
    batch.weights.push_back(0.5f + static_cast<float>(i % 2));
  }
  return batch;
}

std::vector<double> Normalized(std::vector<double> x) {
  const double norm = std::sqrt(Dot(x, x) + 1e-12);
  for (double& value : x) value /= norm;
  return x;
}

double Loss(const PreparedBatch& prepared, const ItemCatalogue& catalogue, bool in_batch,
            const Rows& rows) {
  const Batch& batch = prepared.batch;
  double sum = 0.0;
  const auto correction = [&](FeatureId id) {
    return in_batch || !catalogue.Contains(id)
               ? 0.0
               : -(double{catalogue.LogQ(id)} + std::log(double{kNegatives}));
  };
  for (size_t i = 0; i < static_cast<size_t>(batch.size); ++i) {
    const FeatureId own = batch.sparse[1].ids[i];
    const std::vector<double> user = Normalized(rows.at({0, batch.sparse[0].ids[i]}));
    const auto score = [&](FeatureId id) {
      return Dot(user, Normalized(rows.at({1, id}))) / kTemperature;
    };
    const double positive = score(own) + correction(own);
    double total = std::exp(positive);
    for (const FeatureId id : prepared.negatives[0].ids) {
      if (id != own) total += std::exp(score(id) + correction(id));
    }
    for (size_t j = 0; in_batch && j < static_cast<size_t>(batch.size); ++j) {
      if (batch.sparse[1].ids[j] != own) total += std::exp(score(batch.sparse[1].ids[j]));
    }
    sum += double{batch.weights[i]} * (std::log(total) - positive);
  }
  return sum;
}

TEST_CASE("two_tower with negatives: loss and every gradient follow the formula") {
  const bool in_batch = GENERATE(true, false);
  const int64_t size = GENERATE(1, 7);
  CAPTURE(in_batch, size);
  const std::unique_ptr<Model> model = MakeModel(in_batch);
  Declaration declaration;
  REQUIRE(model->Declare(Schema(), declaration).ok());
  REQUIRE(CheckDeclaration(Schema(), declaration).ok());
  declaration.negatives[0].catalogue = std::make_shared<const ItemCatalogue>(
      *ItemCatalogue::Create({7, 8, 9, 10, 20, 21}, {1, 2, 3, 4, 5, 6}));
  declaration.negatives[0].key = RandomKey{2};
  const auto prepared = PrepareBatch(Schema(), declaration, SomeBatch(size));
  REQUIRE(prepared.ok());
  Rows rows;
  std::vector<std::vector<float>> host(2);
  for (int t = 0; t < 2; ++t) {
    for (const FeatureId id : prepared->unique_ids[static_cast<size_t>(t)]) {
      for (uint64_t c = 0; c < 3; ++c) {
        const float value = RandomNormal(RandomKey{id + 100 * static_cast<uint64_t>(t)}, c);
        host[static_cast<size_t>(t)].push_back(value);
        rows[{t, id}].push_back(double{value});
      }
    }
  }
  TestDevice device;
  auto parameters = ParameterSet::Create(*device.ctx, declaration.dense, 5);
  REQUIRE(parameters.ok());
  StepInput input;
  input.batch = &*prepared;
  input.rows = {host[0].data(), host[1].data()};
  input.training = true;
  auto step = ModelStep::Forward(*device.ctx, *model, declaration, **parameters, input);
  INFO(step.status());
  REQUIRE(step.ok());
  const ItemCatalogue& catalogue = *declaration.negatives[0].catalogue;
  const double wanted = Loss(*prepared, catalogue, in_batch, rows);
  CHECK((*step)->Losses()->at(0).sum == Approx(wanted).epsilon(1e-5));
  REQUIRE((*step)->Backward({1.0}).ok());
  std::vector<std::vector<float>> gradients = {host[0], host[1]};
  REQUIRE((*step)->RowGradients({gradients[0].data(), gradients[1].data()}).ok());
  for (int t = 0; t < 2; ++t) {
    const auto& ids = prepared->unique_ids[static_cast<size_t>(t)];
    for (size_t i = 0; i < 3 * ids.size(); ++i) {
      constexpr double kStep = 1e-5;
      double& value = rows[{t, ids[i / 3]}][i % 3];
      value += kStep;
      const double above = Loss(*prepared, catalogue, in_batch, rows);
      value -= 2 * kStep;
      const double below = Loss(*prepared, catalogue, in_batch, rows);
      value += kStep;
      CAPTURE(t, ids[i / 3], i % 3);
      CHECK(double{gradients[static_cast<size_t>(t)][i]} ==
            Approx((above - below) / (2 * kStep)).epsilon(1e-4).margin(1e-4));
    }
  }
}

TEST_CASE("two_tower refuses options of negatives that make no sense") {
  const ModelInfo info = TwoTowerModelInfo();
  const auto refused = [&](const Options& change, const std::string& word) {
    ModelOptions options(info.options);
    Options values = {{"user_features", std::vector<std::string>{"user"}},
                      {"item_features", std::vector<std::string>{"item"}}};
    for (const auto& [key, value] : change) values[key] = value;
    for (const auto& [key, value] : values) REQUIRE(options.Set(key, value).ok());
    Declaration declaration;
    RequireInvalid(info.create(options)->Declare(Schema(), declaration), word);
  };
  refused({{"in_batch", false}}, "needs 'negatives'");
  refused({{"negatives", int64_t{-1}}}, "'negatives' is -1");
  refused({{"negatives", int64_t{5}}, {"negative_sampler", std::string("best")}}, "'best'");
  refused({{"negatives", int64_t{5}}, {"item_features", std::vector<std::string>{"item", "user"}}},
          "one feature");
}

}  // namespace
}  // namespace pagoda
