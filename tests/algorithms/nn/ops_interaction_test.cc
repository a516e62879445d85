#include "tests/algorithms/nn/gradient_check.h"

namespace pagoda {
namespace {

using Vars = std::vector<Var>;

TEST_CASE("AveragePool and CombineFields have the gradients of finite differences") {
  using Operands = std::vector<Var>;
  for (int64_t n : {0, 1, 3}) {
    GradientCheck({{n, 7}}, [](const Operands& x) { return nn::AveragePool(x[0], 3, 2); }).Run();
    for (int order : {2, 3, 4}) {
      GradientCheck({{n, 4, 5}}, [order](const Operands& x) {
        return nn::CombineFields(x[0], order);
      }).Run();
    }
  }
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({1, 2, 3, 4, 5, 6}, {1, 3, 2}), true);
  // (0, 1), (0, 2), (1, 2): sums, differences, products.
  REQUIRE(ValueOf(device, nn::CombineFields(x, 2)) ==
          std::vector<float>{4, 6, 6, 8, 8, 10, -2, -2, -4, -4, -2, -2, 3, 8, 5, 12, 15, 24});
  REQUIRE(ValueOf(device, nn::AveragePool(nn::Reshape(x, {1, 6}), 3, 2)) ==
          std::vector<float>{2, 4});
  for (int order : {1, 4, 5}) {
    RequireOpRefused(
        {{2, 3, 2}}, [order](const Operands& v) { return nn::CombineFields(v[0], order); },
        "order");
  }
  RequireOpRefused(
      {{2, 3}}, [](const Operands& v) { return nn::AveragePool(v[0], 4, 1); }, "window");
  RequireOpRefused(
      {{2, 3}}, [](const Operands& v) { return nn::AveragePool(v[0], 2, 0); }, "stride");
}

TEST_CASE("DotInteraction and Fm have the gradients of finite differences") {
  for (const Shape& shape : {Shape{1, 2, 1}, Shape{3, 4, 5}, Shape{0, 3, 2}, Shape{2, 1, 3}}) {
    GradientCheck({shape}, [](const Vars& x) { return nn::DotInteraction(x[0]); }).Run();
    GradientCheck({shape}, [](const Vars& x) { return nn::Fm(x[0]); }).Run();
  }
}

TEST_CASE("DotInteraction lists pairs row by row, and Fm is their sum") {
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({1, 2, 3, 4, 5, 6}, {1, 3, 2}), false);
  REQUIRE(ValueOf(device, nn::DotInteraction(x)) == std::vector<float>{11, 17, 39});
  REQUIRE(ValueOf(device, nn::Fm(x)) == std::vector<float>{67});
}

TEST_CASE("cross layers have the gradients of finite differences") {
  for (const Shape& shape : {Shape{1, 1}, Shape{3, 5}, Shape{0, 4}}) {
    GradientCheck({shape, shape, {shape[1]}, {shape[1]}}, [](const Vars& x) {
      return nn::CrossV1(x[0], x[1], x[2], x[3]);
    }).Run();
    GradientCheck({shape, shape, shape}, [](const Vars& x) {
      return nn::CrossV2(x[0], x[1], x[2]);
    }).Run();
    // The first layer: x is x0.
    GradientCheck({shape, {shape[1]}, {shape[1]}}, [](const Vars& x) {
      return nn::CrossV1(x[0], x[0], x[1], x[2]);
    }).Run();
    GradientCheck({shape, shape}, [](const Vars& x) {
      return nn::CrossV2(x[0], x[1], x[0]);
    }).Run();
  }
}

TEST_CASE("interactions refuse what does not fit, by name") {
  RequireOpRefused(
      {{2, 3}}, [](const Vars& x) { return nn::DotInteraction(x[0]); }, "rank 3");
  RequireOpRefused(
      {{2, 3}}, [](const Vars& x) { return nn::Fm(x[0]); }, "rank 3");
  RequireOpRefused(
      {{2, 3}, {2, 3}, {2}, {3}}, [](const Vars& x) { return nn::CrossV1(x[0], x[1], x[2], x[3]); },
      "CrossV1");
  RequireOpRefused(
      {{2, 3}, {2, 4}, {2, 3}}, [](const Vars& x) { return nn::CrossV2(x[0], x[1], x[2]); },
      "CrossV2");
}

}  // namespace
}  // namespace pagoda
