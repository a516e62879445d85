#include "tests/algorithms/nn/gradient_check.h"

namespace pagoda {
namespace {

using Vars = std::vector<Var>;

// Sizes: empty, one, odd, and past one vector.
const std::vector<Shape> kMatrices = {{0, 3}, {1, 1}, {3, 5}, {2, 17}};

TEST_CASE("elementwise operations have the gradients of finite differences") {
  for (const Shape& shape : kMatrices) {
    GradientCheck({shape, shape}, [](const Vars& x) { return nn::Add(x[0], x[1]); }).Run();
    GradientCheck({shape, shape}, [](const Vars& x) { return nn::Subtract(x[0], x[1]); }).Run();
    GradientCheck({shape, shape}, [](const Vars& x) { return nn::Multiply(x[0], x[1]); }).Run();
    GradientCheck({shape}, [](const Vars& x) { return nn::Scale(x[0], -2.5f); }).Run();
    GradientCheck({shape}, [](const Vars& x) { return nn::Square(x[0]); }).Run();
    GradientCheck({shape, {shape[1]}}, [](const Vars& x) {
      return nn::AddRowVector(x[0], x[1]);
    }).Run();
    GradientCheck({shape, {shape[0]}}, [](const Vars& x) {
      return nn::ScaleRows(x[0], x[1]);
    }).Run();
  }
}

TEST_CASE("Divide, Exp, Log, Affine and Clip have the gradients of finite differences") {
  for (const Shape& shape : kMatrices) {
    // Away from 0, where a quotient and a logarithm have no end.
    std::vector<float> above = RandomFloats(5, NumElements(shape));
    for (float& value : above) value = 1.5f + 0.5f * value;
    GradientCheck({shape, shape}, [](const Vars& x) { return nn::Divide(x[0], x[1]); })
        .Set(1, above)
        .Run();
    GradientCheck({shape}, [](const Vars& x) { return nn::Divide(x[0], x[0]); })
        .Set(0, above)
        .Run();
    GradientCheck({shape}, [](const Vars& x) { return nn::Log(x[0]); }).Set(0, above).Run();
    GradientCheck({shape}, [](const Vars& x) { return nn::Exp(x[0]); }).Run();
    GradientCheck({shape}, [](const Vars& x) { return nn::Affine(x[0], -1.5f, 0.25f); }).Run();
    // Values at least 0.2 from the ends, for the differences' steps.
    std::vector<float> around = RandomFloats(6, NumElements(shape));
    for (float& value : around) value = value < 0.0f ? 0.2f + 0.3f * value : 0.8f + 0.3f * value;
    GradientCheck({shape}, [](const Vars& x) { return nn::Clip(x[0], -2.0f, 0.5f); })
        .Set(0, around)
        .Run();
  }
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({-2, 0, 0.5f, 1, 3}, {5}), true);
  const Var y = nn::Clip(x, 0.0f, 1.0f);
  REQUIRE(ValueOf(device, y) == std::vector<float>{0, 0, 0.5f, 1, 1});
  REQUIRE(tape.Backward({{nn::Sum(y), 1.0f}}).ok());
  REQUIRE(device.Download(x.grad()) == std::vector<float>{0, 1, 1, 1, 0});
}

TEST_CASE("sums have the gradients of finite differences") {
  for (const Shape& shape : kMatrices) {
    GradientCheck({shape}, [](const Vars& x) { return nn::Sum(x[0]); }).Run();
    GradientCheck({shape}, [](const Vars& x) { return nn::SumColumns(x[0]); }).Run();
    GradientCheck({shape, shape}, [](const Vars& x) { return nn::DotRows(x[0], x[1]); }).Run();
  }
  // One operand twice: both roles add to one gradient.
  GradientCheck({{3, 5}}, [](const Vars& x) { return nn::DotRows(x[0], x[0]); }).Run();
}

TEST_CASE("smooth activations and softmax have the gradients of finite differences") {
  for (Activation f : {Activation::kNone, Activation::kSigmoid, Activation::kTanh,
                       Activation::kGelu, Activation::kSilu}) {
    CAPTURE(static_cast<int>(f));
    GradientCheck({{3, 5}}, [f](const Vars& x) {
      return nn::Activate(nn::Scale(x[0], 1.5f), f);
    }).Run();
  }
  GradientCheck({{3, 5}}, [](const Vars& x) { return nn::Sigmoid(x[0]); }).Run();
  for (const Shape& shape : kMatrices) {
    GradientCheck({shape}, [](const Vars& x) { return nn::Softmax(x[0]); }).Run();
  }
}

TEST_CASE("piecewise linear activations have the gradients of finite differences off the kink") {
  // Every value is at least 4 h from 0, so that no difference crosses the kink.
  const std::vector<float> x = {-0.9f, -0.5f, -0.2f, 0.2f, 0.5f, 0.9f};
  for (Activation f : {Activation::kRelu, Activation::kLeakyRelu}) {
    GradientCheck({{2, 3}}, [f](const Vars& v) { return nn::Activate(v[0], f); }).Set(0, x).Run();
  }
}

TEST_CASE("StopGradient passes the value and no gradient") {
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({2.0f, 3.0f}, {2}), true);
  // d/dx (x * stop(x)) = stop(x) = x, not 2 x.
  const Var y = nn::Multiply(x, nn::StopGradient(x));
  REQUIRE(ValueOf(device, y) == std::vector<float>{4.0f, 9.0f});
  REQUIRE(tape.Backward({{nn::Sum(y), 1.0f}}).ok());
  REQUIRE(device.Download(x.grad()) == std::vector<float>{2.0f, 3.0f});
  REQUIRE_FALSE(nn::StopGradient(Var()).valid());
}

TEST_CASE("elementwise operations refuse shapes that do not fit, by name") {
  RequireOpRefused(
      {{2, 3}, {3, 2}}, [](const Vars& x) { return nn::Add(x[0], x[1]); }, "Add");
  RequireOpRefused(
      {{2, 3}, {2}}, [](const Vars& x) { return nn::AddRowVector(x[0], x[1]); }, "AddRowVector");
  RequireOpRefused(
      {{2, 3}, {3}}, [](const Vars& x) { return nn::ScaleRows(x[0], x[1]); }, "ScaleRows");
  RequireOpRefused(
      {{2, 3, 4}}, [](const Vars& x) { return nn::SumColumns(x[0]); }, "rank 2");
  RequireOpRefused(
      {{2}, {2}}, [](const Vars& x) { return nn::DotRows(x[0], x[1]); }, "rank 2");
  RequireOpRefused(
      {{2}}, [](const Vars& x) { return nn::Multiply(x[0], Var()); }, "invalid Var");
}

}  // namespace
TEST_CASE("MaskedSoftmax has the gradient of finite differences") {
  GradientCheck({{3, 4}}, [](const Vars& x) { return nn::MaskedSoftmax(x[0], {4, 2, 0}); }).Run();
  RequireOpRefused(
      {{3, 4}},
      [](const Vars& x) {
        return nn::MaskedSoftmax(x[0], {4, 2});
      },
      "MaskedSoftmax");
}

}  // namespace pagoda
