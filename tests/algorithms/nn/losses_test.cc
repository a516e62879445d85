#include "algorithms/nn/losses.h"

#include "algorithms/nn/layers.h"
#include "algorithms/nn/ops.h"
#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

TEST_CASE("WeightSum adds the weights, or counts the samples without any") {
  Batch batch;
  batch.size = 3;
  REQUIRE(nn::WeightSum(batch) == 3.0);
  batch.weights = {0.5f, 0.25f, 2.0f};
  REQUIRE(nn::WeightSum(batch) == 2.75);
  REQUIRE(nn::WeightSum(Batch()) == 0.0);
}

TEST_CASE("the log loss is weighted, absent without labels, and its count is the weight") {
  const ModelHarness harness("lr", {}, SmallSchema(true));
  Batch batch = SmallBatch(harness.schema(), 5, 1);
  TestDevice device;
  const StepResult weighted = harness.Run(device, batch);
  REQUIRE(weighted.losses[0].name == "log_loss");
  REQUIRE(weighted.losses[0].count == nn::WeightSum(batch));
  double sum = 0.0;
  for (size_t i = 0; i < 5; ++i) {
    const double p = double{weighted.predictions[i]};
    sum -= double{batch.weights[i]} * std::log(batch.labels[i] > 0.0f ? p : 1.0 - p);
  }
  REQUIRE(weighted.losses[0].sum == Approx(sum).epsilon(1e-4));

  batch.weights.clear();  // No weights means weight 1.
  const StepResult plain = harness.Run(device, batch);
  batch.weights.assign(5, 1.0f);
  const StepResult ones = harness.Run(device, batch);
  REQUIRE(plain.losses[0].sum == ones.losses[0].sum);
  REQUIRE(plain.losses[0].count == 5.0);

  batch.labels.clear();
  const StepResult unlabelled = harness.Run(device, batch, {.training = false});
  REQUIRE(unlabelled.losses.empty());
  REQUIRE(SameBits(unlabelled.predictions, ones.predictions));
}

TEST_CASE("the l2 loss is there in training alone, and only when asked for") {
  const ModelHarness with("lr", {{"l2", 0.5}}, SmallSchema(true));
  const ModelHarness without("lr", {{"l2", 0.0}}, SmallSchema(true));
  const Batch batch = SmallBatch(with.schema(), 5, 1);
  TestDevice device;
  const StepResult step = with.Run(device, batch);
  REQUIRE(step.losses.size() == 2);
  REQUIRE(step.losses[1].name == "l2");
  REQUIRE(step.losses[1].weight == 0.5f);
  REQUIRE(step.losses[1].count == step.losses[0].count);
  REQUIRE(with.Run(device, batch, {.training = false}).losses.size() == 1);
  REQUIRE(without.Run(device, batch).losses.size() == 1);
}

}  // namespace
}  // namespace pagoda
