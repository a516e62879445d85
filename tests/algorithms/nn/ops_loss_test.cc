#include "kernels/in_batch_logits.h"
#include "tests/algorithms/nn/gradient_check.h"

namespace pagoda {
namespace {

using Vars = std::vector<Var>;

Var Constant(const Var& beside, const std::vector<float>& values) {
  return nn::Constant(beside.tape(), values);
}

TEST_CASE("SigmoidCrossEntropy has its value and the gradients of differences") {
  const std::vector<float> labels = {0, 1, 1, 0, 1};
  const std::vector<float> weights = {1, 2, 0, 0.5f, 1};
  for (bool weighted : {false, true}) {
    GradientCheck({{5}}, [&](const Vars& x) {
      return nn::SigmoidCrossEntropy(x[0], Constant(x[0], labels),
                                     weighted ? Constant(x[0], weights) : Var());
    }).Run();
  }
  GradientCheck({{0}}, [&](const Vars& x) {
    return nn::SigmoidCrossEntropy(x[0], Constant(x[0], {}), Var());
  }).Run();
  TestDevice device;
  Tape tape(*device.ctx);
  const Var z = tape.Leaf(device.Upload<float>({0.5f, 200.0f, -200.0f}, {3}), true);
  const std::vector<float> loss =
      ValueOf(device, nn::SigmoidCrossEntropy(z, Constant(z, {1, 0, 0}), Constant(z, {3, 1, 1})));
  REQUIRE(loss[0] == Approx(3.0 * std::log1p(std::exp(-0.5))).epsilon(1e-6));
  REQUIRE(loss[1] == Approx(200.0));
  REQUIRE(loss[2] == Approx(0.0).margin(1e-30));
}

TEST_CASE("SoftmaxCrossEntropy has its value and the gradients of differences") {
  const std::vector<int32_t> targets = {2, -1, 0};
  const std::vector<float> weights = {1, 5, 0.5f};
  for (bool weighted : {false, true}) {
    GradientCheck({{3, 4}}, [&](const Vars& x) {
      return nn::SoftmaxCrossEntropy(x[0], targets, weighted ? Constant(x[0], weights) : Var());
    }).Run();
  }
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({1, 2, 3, 4}, {2, 2}), true);
  const std::vector<float> loss = ValueOf(device, nn::SoftmaxCrossEntropy(x, {0, -1}, Var()));
  REQUIRE(loss[0] == Approx(std::log(1.0 + std::exp(1.0))).epsilon(1e-6));
  REQUIRE(loss[1] == 0.0f);
}

TEST_CASE("SampledSoftmaxLogits' softmax has the right gradients, hits and corrections") {
  nn::SampledCandidates shared = {{1, 2, 3}, {2, 5, 1, 9}, {-1, -2, -3}, {-1, -2, -3, -4}};
  nn::SampledCandidates own = {{1, 2, 3}, {2, 5, 1, 2, 3, 3}, {}, {}};
  const auto loss = [](const Vars& x, const nn::SampledCandidates& candidates) {
    return nn::SoftmaxCrossEntropy(nn::SampledSoftmaxLogits(x[0], x[1], candidates, 0.5f),
                                   {0, 0, 0}, Var());
  };
  GradientCheck({{3}, {3, 4}}, [&](const Vars& x) { return loss(x, shared); }).Run();
  GradientCheck({{3}, {3, 2}}, [&](const Vars& x) { return loss(x, own); }).Run();
  GradientCheck({{0}, {0, 4}}, [&](const Vars& x) {
    return nn::SampledSoftmaxLogits(x[0], x[1], {{}, {2, 5, 1, 9}, {}, {}}, 0.5f);
  }).Run();
  TestDevice device;
  Tape tape(*device.ctx);
  const Var positives = tape.Leaf(device.Upload<float>({1, 2, 3}, {3}), true);
  const Var negatives = tape.Leaf(device.Upload<float>({4, 5, 6, 7, 8, 9}, {3, 2}), true);
  const Var logits = nn::SampledSoftmaxLogits(positives, negatives, own, 0.5f);
  REQUIRE(ValueOf(device, logits) == std::vector<float>{2, 8, 10, 4, 12, -2e6f, 6, -2e6f, -2e6f});
  const auto refused = [](const nn::SampledCandidates& candidates, const std::string& word) {
    RequireOpRefused(
        {{3}, {3, 4}},
        [&](const Vars& x) { return nn::SampledSoftmaxLogits(x[0], x[1], candidates, 0.5f); },
        word);
  };
  refused({{1, 2}, {2, 5, 1, 9}, {}, {}}, "ids do not fit");
  refused({{1, 2, 3}, {2, 5, 1}, {}, {}}, "ids do not fit");
  refused({{1, 2, 3}, {2, 5, 1, 9}, {-1, -2, -3}, {}}, "log_q");
  refused({{1, 2, 3}, {2, 5, 1, 9}, {-1, -2}, {-1, -2, -3, -4}}, "log_q");
}

TEST_CASE("InBatchLogits corrects, scales and masks, and its softmax has the right gradients") {
  const std::vector<int32_t> items = {0, 1, 0, 2};
  const std::vector<float> log_q = {-1, -2, -1, -3};
  GradientCheck({{4, 4}}, [&](const Vars& x) {
    return nn::Softmax(nn::InBatchLogits(x[0], items, Constant(x[0], log_q), 0.5f));
  }).Run();
  GradientCheck({{0, 0}}, [&](const Vars& x) {
    return nn::InBatchLogits(x[0], {}, Var(), 0.5f);
  }).Run();
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload(std::vector<float>(16, 1.0f), {4, 4}), true);
  const std::vector<float> y =
      ValueOf(device, nn::InBatchLogits(x, items, Constant(x, log_q), 0.5f));
  REQUIRE(std::vector<float>(y.begin(), y.begin() + 4) ==
          std::vector<float>{3.0f, 4.0f, kMaskedLogit, 5.0f});
  const std::vector<float> plain = ValueOf(device, nn::InBatchLogits(x, items, Var(), 2.0f));
  REQUIRE(plain[0] == 0.5f);
  REQUIRE(plain[8] == kMaskedLogit);
}

TEST_CASE("ItemLogFrequency updates its state, gives a constant, and refuses by name") {
  TestDevice device;
  Tape tape(*device.ctx);
  const ItemFrequencyState state{device.Upload<float>({0}, {1}), device.Upload<float>({0, 0}, {2}),
                                 device.Upload<float>({0, 0}, {2})};
  const Var first = nn::ItemLogFrequency(tape, {1, 1}, state, {.rate = 0.5f});
  REQUIRE(ValueOf(device, first) == std::vector<float>{0.0f, 0.0f});
  REQUIRE_FALSE(first.needs_grad());
  nn::ItemLogFrequency(tape, {0}, state, {.rate = 0.5f, .update = false});
  REQUIRE(device.Download(state.step) == std::vector<float>{1.0f});
  REQUIRE(device.Download(state.last_step) == std::vector<float>{0.0f, 1.0f});
  REQUIRE_FALSE(nn::ItemLogFrequency(tape, {2}, state, {}).valid());
  RequireInvalid(tape.status(), "ItemLogFrequency");
  REQUIRE_FALSE(nn::Constant(tape, {1.0f}).valid());  // The error sticks.
}

TEST_CASE("losses refuse what does not fit, by name") {
  RequireOpRefused(
      {{3}, {4}}, [](const Vars& x) { return nn::SigmoidCrossEntropy(x[0], x[1], Var()); },
      "SigmoidCrossEntropy");
  RequireOpRefused(
      {{2, 3}},
      [](const Vars& x) {
        return nn::SoftmaxCrossEntropy(x[0], {0, 3}, Var());
      },
      "target 3");
  RequireOpRefused(
      {{2, 3}}, [](const Vars& x) { return nn::SoftmaxCrossEntropy(x[0], {0}, Var()); },
      "SoftmaxCrossEntropy");
  RequireOpRefused(
      {{2, 2}},
      [](const Vars& x) {
        return nn::InBatchLogits(x[0], {0, 1, 2}, Var(), 1.0f);
      },
      "InBatchLogits");
  RequireOpRefused(
      {{2, 2}},
      [](const Vars& x) {
        return nn::InBatchLogits(x[0], {0, 1}, Var(), 0.0f);
      },
      "temperature");
}

}  // namespace
}  // namespace pagoda
