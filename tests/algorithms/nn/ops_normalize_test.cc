#include "tests/algorithms/nn/gradient_check.h"

namespace pagoda {
namespace {

using Vars = std::vector<Var>;

nn::BatchNormState State(TestDevice& device, int64_t d) {
  nn::BatchNormState state;
  state.running_mean = device.Upload(std::vector<float>(static_cast<size_t>(d), 0.0f), {d});
  state.running_var = device.Upload(std::vector<float>(static_cast<size_t>(d), 1.0f), {d});
  return state;
}

TEST_CASE("BatchNorm in training has the gradients of finite differences") {
  for (const Shape& shape : {Shape{6, 3}, Shape{9, 1}, Shape{0, 2}}) {
    GradientCheck({shape, {shape[1]}, {shape[1]}}, [&](const Vars& x) {
      // Fresh state on the operands' device: the check runs on several.
      auto zeros = x[0].tape().ctx().Zeros({shape[1]});
      auto ones = x[0].tape().ctx().Zeros({shape[1]});
      REQUIRE((zeros.ok() && ones.ok()));
      // Scaled up, the spread of the batch stays far from epsilon and steps small.
      return nn::BatchNorm(nn::Scale(x[0], 4.0f), x[1], x[2], {*zeros, *ones, true},
                           BatchNormArgs{}, /*training=*/true);
    }).Run();
  }
}

TEST_CASE("BatchNorm updates its running statistics in training, when it may, and only then") {
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({1, 2, 3, 6}, {4, 1}), true);
  const Var gamma = tape.Leaf(device.Upload<float>({2}, {1}), true);
  const Var beta = tape.Leaf(device.Upload<float>({1}, {1}), true);
  nn::BatchNormState state = State(device, 1);
  const BatchNormArgs args{.epsilon = 0.0f, .momentum = 0.5f};

  state.update = false;
  nn::BatchNorm(x, gamma, beta, state, args, true);
  nn::BatchNorm(x, gamma, beta, state, args, false);
  REQUIRE(device.Download(state.running_mean)[0] == 0.0f);
  REQUIRE(device.Download(state.running_var)[0] == 1.0f);

  state.update = true;
  const Var y = nn::BatchNorm(x, gamma, beta, state, args, true);
  // mean 3, biased variance 3.5, unbiased 14 / 3.
  REQUIRE(device.Download(state.running_mean)[0] == Approx(1.5));
  REQUIRE(device.Download(state.running_var)[0] == Approx(0.5 + 0.5 * 14.0 / 3.0));
  REQUIRE(ValueOf(device, y)[3] == Approx(1.0 + 2.0 * 3.0 / std::sqrt(3.5)).epsilon(1e-6));

  const Var inferred = nn::BatchNorm(x, gamma, beta, state, args, false);
  const double inv_std = 1.0 / std::sqrt(0.5 + 0.5 * 14.0 / 3.0);
  REQUIRE(ValueOf(device, inferred)[0] == Approx(1.0 - 2.0 * 0.5 * inv_std).epsilon(1e-6));
  REQUIRE_FALSE(inferred.needs_grad());
}

TEST_CASE("LayerNorm has the gradients of finite differences") {
  for (const Shape& shape : {Shape{3, 5}, Shape{1, 7}, Shape{0, 2}}) {
    GradientCheck({shape, {shape[1]}, {shape[1]}}, [](const Vars& x) {
      return nn::LayerNorm(nn::Scale(x[0], 4.0f), x[1], x[2]);
    }).Run();
  }
}

TEST_CASE("RmsNorm has the gradients of finite differences") {
  for (const Shape& shape : {Shape{3, 5}, Shape{1, 7}, Shape{0, 2}}) {
    GradientCheck({shape, {shape[1]}}, [](const Vars& x) {
      return nn::RmsNorm(nn::Scale(x[0], 4.0f), x[1]);
    }).Run();
  }
}

TEST_CASE("RotaryEmbedding turns by position, and has the gradients of finite differences") {
  for (const Shape& shape : {Shape{3, 8}, Shape{1, 2}, Shape{0, 4}}) {
    GradientCheck({shape}, [&](const Vars& x) {
      std::vector<int32_t> positions;
      for (int32_t i = 0; i < shape[0]; ++i) positions.push_back(3 * i + 1);
      return nn::RotaryEmbedding(x[0], positions, shape[1] / 2, 100.0f);
    }).Run();
  }
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({1, 0, 1, 0}, {1, 4}), false);
  const std::vector<float> y = ValueOf(device, nn::RotaryEmbedding(x, {3}, 1));
  const double angle = 3.0 / std::sqrt(10000.0);
  REQUIRE(y[0] == Approx(std::cos(3.0)));
  REQUIRE(y[1] == Approx(std::sin(3.0)));
  REQUIRE(y[2] == Approx(std::cos(angle)));
  REQUIRE(y[3] == Approx(std::sin(angle)));
}

TEST_CASE("DropoutRows has the gradients of finite differences and Dropout's mask") {
  const RandomKey key{42};
  const auto counters = [](const Var& x) {
    auto uploaded = x.tape().ctx().Upload<int64_t>(std::vector<int64_t>{21, 28, 35}, {3});
    REQUIRE(uploaded.ok());
    return *uploaded;
  };
  GradientCheck({{3, 7}}, [&](const Vars& x) {
    return nn::DropoutRows(x[0], {0.4f, key, counters(x[0])});
  }).Run();
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload(std::vector<float>(21, 1.0f), {3, 7}), false);
  REQUIRE(ValueOf(device, nn::DropoutRows(x, {0.4f, key, counters(x)})) ==
          ValueOf(device, nn::Dropout(x, 0.4f, key, 3)));
  REQUIRE(nn::DropoutRows(x, {}) == x);
}

TEST_CASE("L2Normalize gives rows of length 1 and the gradients of finite differences") {
  for (const Shape& shape : {Shape{4, 5}, Shape{0, 3}}) {
    GradientCheck({shape}, [](const Vars& x) {
      return nn::L2Normalize(nn::Scale(x[0], 4.0f));
    }).Run();
  }
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({3, 4, 0, 0}, {2, 2}), false);
  const std::vector<float> y = ValueOf(device, nn::L2Normalize(x));
  REQUIRE(y[0] == Approx(0.6));
  REQUIRE(y[1] == Approx(0.8));
  REQUIRE(y[2] == 0.0f);  // A zero row stays zero instead of becoming NaN.
}

TEST_CASE("Dropout has the gradients of finite differences and depends on the sample alone") {
  const RandomKey key{42};
  GradientCheck({{5, 7}}, [&](const Vars& x) { return nn::Dropout(x[0], 0.4f, key, 3); }).Run();
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload(std::vector<float>(6 * 50, 1.0f), {6, 50}), true);
  const std::vector<float> whole = ValueOf(device, nn::Dropout(x, 0.25f, key, 100));
  const Var half = nn::Dropout(nn::SliceRows(x, 2, 4), 0.25f, key, 102);
  REQUIRE(ValueOf(device, half) == std::vector<float>(whole.begin() + 100, whole.begin() + 200));
  int kept = 0;
  for (float value : whole) {
    REQUIRE((value == 0.0f || value == Approx(1.0 / 0.75)));
    kept += value != 0.0f ? 1 : 0;
  }
  // 300 draws of probability 0.75: mean 225, deviation 7.5; six deviations.
  REQUIRE((kept > 180 && kept < 270));
  REQUIRE(ValueOf(device, nn::Dropout(x, 0.25f, RandomKey{43}, 100)) != whole);
  REQUIRE(ValueOf(device, nn::Dropout(x, 0.0f, key, 0)) == std::vector<float>(300, 1.0f));
}

TEST_CASE("normalisation refuses what does not fit, by name") {
  RequireOpRefused(
      {{2, 3}, {2}, {3}}, [](const Vars& x) { return nn::LayerNorm(x[0], x[1], x[2]); },
      "LayerNorm");
  RequireOpRefused(
      {{4}}, [](const Vars& x) { return nn::L2Normalize(x[0]); }, "rank 2");
  RequireOpRefused(
      {{2, 3}}, [](const Vars& x) { return nn::Dropout(x[0], 1.0f, RandomKey{}, 0); }, "Dropout");
  RequireOpRefused(
      {{2, 3}, {2}}, [](const Vars& x) { return nn::RmsNorm(x[0], x[1]); }, "RmsNorm");
  RequireOpRefused(
      {{2, 3}}, [](const Vars& x) { return nn::DropoutRows(x[0], {.rate = 0.5f}); }, "DropoutRows");
  RequireOpRefused(
      {{2, 6}},
      [](const Vars& x) {
        return nn::RotaryEmbedding(x[0], {0, 1}, 2);
      },
      "2 heads do not divide a width of 6 into even parts");
  RequireOpRefused(
      {{2, 6}},
      [](const Vars& x) {
        return nn::RotaryEmbedding(x[0], {0, -1}, 1);
      },
      "a position is -1");
  RequireOpRefused(
      {{2, 6}}, [](const Vars& x) { return nn::RotaryEmbedding(x[0], {0}, 1); },
      "positions has shape [1]");
}

}  // namespace
}  // namespace pagoda
