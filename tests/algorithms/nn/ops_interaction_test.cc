#include "tests/algorithms/nn/gradient_check.h"

namespace pagoda {
namespace {

using Vars = std::vector<Var>;

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
