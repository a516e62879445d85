#include "algorithms/nn/layers.h"

#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"
#include "base/hash.h"
#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

using Vector = Oracle::Vector;

Options DnnOptions() {
  return {{"embedding_dim", int64_t{2}},
          {"hidden", std::vector<int64_t>{4, 3}},
          {"activation", std::string("tanh")}};
}

// Every sample's row of `x` normalised over the batch, as kernels/batch_norm.h.
std::vector<Vector> BatchNormalized(const Oracle& o, const std::string& name,
                                    std::vector<Vector> x) {
  const double n = static_cast<double>(x.size());
  for (size_t c = 0; c < x[0].size(); ++c) {
    double mean = 0.0, variance = 0.0;
    for (const Vector& row : x) mean += row[c] / n;
    for (const Vector& row : x) variance += (row[c] - mean) * (row[c] - mean) / n;
    for (Vector& row : x) {
      row[c] = o.Get(name + ".gamma")[c] * (row[c] - mean) / std::sqrt(variance + 1e-5) +
               o.Get(name + ".beta")[c];
    }
  }
  return x;
}

TEST_CASE("an Mlp with batch norm follows its formula, statistics and gradients included") {
  Options options = DnnOptions();
  options["batch_norm"] = true;
  const ModelHarness harness("dnn", options, SmallSchema(true));
  const Batch batch = SmallBatch(harness.schema(), 9, 2);
  CheckAgainstOracle(harness, batch, [](const Oracle& o) {
    std::vector<Vector> x;
    for (size_t i = 0; i < 9; ++i) x.push_back(o.FlatInputs(i));
    for (const char* name : {"deep.0", "deep.1"}) {
      for (Vector& row : x) row = o.Linear(name, row);
      x = BatchNormalized(o, name, x);
      for (Vector& row : x) {
        for (double& value : row) value = std::tanh(value);
      }
    }
    return MeanLogLoss(o, [&](size_t i) { return o.Linear("out", x[i])[0]; });
  });
}

TEST_CASE(
    "batch norm moves its running statistics in training, and not when frozen or evaluating") {
  Options options = DnnOptions();
  options["batch_norm"] = true;
  const ModelHarness harness("dnn", options, SmallSchema(true));
  const Batch batch = SmallBatch(harness.schema(), 9, 2);
  TestDevice device;
  const auto state_after = [&](const StepSettings& settings) {
    const StepResult step = harness.Run(device, batch, settings);
    const int64_t trainable = harness.Parameters(device)->num_trainable();
    return std::vector<float>(step.dense_values.begin() + trainable, step.dense_values.end());
  };
  const std::vector<float> initial = state_after({.training = false});
  REQUIRE(initial.size() == 14);  // Mean and variance of 4 + 3 units.
  REQUIRE(state_after({}) != initial);
  REQUIRE(state_after({.frozen_groups = {"default"}}) == initial);
}

TEST_CASE("dropout of an Mlp follows the mask of the global sample index, in training alone") {
  Options options = DnnOptions();
  options["dropout"] = 0.4;
  const ModelHarness harness("dnn", options, SmallSchema(true));
  const Batch batch = SmallBatch(harness.schema(), 6, 2);
  const auto dropped = [&](const std::string& layer, size_t i, Vector x) {
    const RandomKey key = RandomKey{99}.Derive(HashBytes(layer));
    for (size_t j = 0; j < x.size(); ++j) {
      const uint64_t counter = (batch.first_sample + i) * x.size() + j;
      x[j] = RandomUniform(key, counter) >= 0.4f ? x[j] / (1.0 - double{0.4f}) : 0.0;
    }
    return x;
  };
  const auto tanh_layer = [](const Oracle& o, const char* name, const Vector& x) {
    Vector y = o.Linear(name, x);
    for (double& value : y) value = std::tanh(value);
    return y;
  };
  CheckAgainstOracle(harness, batch, [&](const Oracle& o) {
    return MeanLogLoss(o, [&](size_t i) {
      const Vector h = dropped("deep.0", i, tanh_layer(o, "deep.0", o.FlatInputs(i)));
      return o.Linear("out", dropped("deep.1", i, tanh_layer(o, "deep.1", h)))[0];
    });
  });
  TestDevice device;
  const ModelHarness plain("dnn", DnnOptions(), SmallSchema(true));
  REQUIRE(SameBits(harness.Run(device, batch, {.training = false}).predictions,
                   plain.Run(device, batch, {.training = false}).predictions));
}

TEST_CASE("unfused activations work inside an Mlp") {
  for (const char* activation : {"gelu", "silu", "leaky_relu", "sigmoid", "relu", "none"}) {
    Options options = DnnOptions();
    options["activation"] = std::string(activation);
    CAPTURE(activation);
    const ModelHarness harness("dnn", options, SmallSchema(true));
    TestDevice device;
    REQUIRE(std::isfinite(harness.Run(device, SmallBatch(harness.schema(), 5, 1)).TotalLoss()));
  }
}

TEST_CASE("names, shapes and decay of declared layers") {
  Declaration declaration;
  nn::MlpOptions options;
  options.hidden = {5};
  options.batch_norm = true;
  const nn::Mlp mlp = nn::Mlp::Declare(declaration, "deep", 7, options);
  REQUIRE(mlp.output_dim() == 5);
  REQUIRE(nn::Mlp::Declare(declaration, "none", 7, {}).output_dim() == 7);
  REQUIRE(declaration.dense.size() == 6);
  REQUIRE(declaration.dense[0].name == "deep.0.weight");
  REQUIRE(declaration.dense[0].shape == Shape{5, 7});
  REQUIRE(declaration.dense[0].weight_decay);
  REQUIRE(declaration.dense[1].name == "deep.0.bias");
  for (size_t i = 1; i < 6; ++i) REQUIRE_FALSE(declaration.dense[i].weight_decay);
  REQUIRE(declaration.dense[3].trainable);
  REQUIRE_FALSE(declaration.dense[4].trainable);
}

TEST_CASE("embeddings declare one table per table name, and features may share one") {
  Declaration declaration;
  const FeatureSchema schema = SmallSchema(true);
  const nn::EmbeddingOptions options{.dim = 4, .suffix = ".x", .optimizer = "ftrl"};
  nn::DeclareEmbeddings(declaration, schema, nn::AllSparse(schema), options);
  REQUIRE(declaration.tables.size() == 3);
  REQUIRE(declaration.tables[0].name == "user.x");
  REQUIRE(declaration.tables[0].optimizer == "ftrl");
  REQUIRE(declaration.lookups[0].tables == std::vector<int>{0, 0, 1, 2});
}

}  // namespace
}  // namespace pagoda
