#include "tests/algorithms/nn/gradient_check.h"

namespace pagoda {
namespace {

using Vars = std::vector<Var>;

TEST_CASE("BatchMatMul has the gradients of finite differences, with every transposition") {
  for (int mode = 0; mode < 4; ++mode) {
    const nn::Transposes t{(mode & 1) != 0, (mode & 2) != 0};
    CAPTURE(t.a, t.b);
    GradientCheck({t.a ? Shape{2, 4, 3} : Shape{2, 3, 4}, t.b ? Shape{2, 5, 4} : Shape{2, 4, 5}},
                  [t](const Vars& x) { return nn::BatchMatMul(x[0], x[1], t); })
        .Run();
  }
  RequireOpRefused(
      {{2, 3, 4}, {4, 5}}, [](const Vars& x) { return nn::BatchMatMul(x[0], x[1]); },
      "BatchMatMul");
}

TEST_CASE("MatMul has the gradients of finite differences for all transposes") {
  struct Sizes {
    int64_t m, k, n;
  };
  for (const Sizes& s : {Sizes{1, 1, 1}, Sizes{3, 5, 2}, Sizes{0, 4, 3}, Sizes{7, 3, 9}}) {
    for (bool ta : {false, true}) {
      for (bool tb : {false, true}) {
        CAPTURE(s.m, s.k, s.n, ta, tb);
        const Shape a = ta ? Shape{s.k, s.m} : Shape{s.m, s.k};
        const Shape b = tb ? Shape{s.n, s.k} : Shape{s.k, s.n};
        GradientCheck({a, b}, [&](const Vars& x) {
          return nn::MatMul(x[0], x[1], {ta, tb});
        }).Run();
      }
    }
  }
}

TEST_CASE("MatMul of a small known case is exact") {
  TestDevice device;
  Tape tape(*device.ctx);
  const Var a = tape.Leaf(device.Upload<float>({1, 2, 3, 4, 5, 6}, {2, 3}), false);
  const Var b = tape.Leaf(device.Upload<float>({1, 0, 0, 1, 1, 1}, {3, 2}), false);
  REQUIRE(ValueOf(device, nn::MatMul(a, b)) == std::vector<float>{4, 5, 10, 11});
  REQUIRE(ValueOf(device, nn::MatMul(a, a, {false, true})) == std::vector<float>{14, 32, 32, 77});
}

TEST_CASE("Linear has the gradients of finite differences, fused or not, with and without bias") {
  for (Activation f : {Activation::kNone, Activation::kSigmoid, Activation::kTanh,
                       Activation::kGelu, Activation::kSilu}) {
    for (int64_t n : {0, 1, 5}) {
      CAPTURE(static_cast<int>(f), n);
      GradientCheck({{n, 3}, {4, 3}, {4}}, [f](const Vars& x) {
        return nn::Linear(x[0], x[1], x[2], f);
      }).Run();
      GradientCheck({{n, 3}, {1, 3}}, [f](const Vars& x) {
        return nn::Linear(x[0], x[1], Var(), f);
      }).Run();
    }
  }
}

TEST_CASE("Linear with relu has the gradient of the units that are on") {
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({1, 2}, {1, 2}), true);
  const Var w = tape.Leaf(device.Upload<float>({1, 1, -1, -1}, {2, 2}), true);
  const Var b = tape.Leaf(device.Upload<float>({0.5f, 0.5f}, {2}), true);
  const Var y = nn::Linear(x, w, b, Activation::kRelu);
  REQUIRE(ValueOf(device, y) == std::vector<float>{3.5f, 0.0f});
  REQUIRE(tape.Backward({{nn::Sum(y), 2.0f}}).ok());
  REQUIRE(device.Download(x.grad()) == std::vector<float>{2, 2});
  REQUIRE(device.Download(w.grad()) == std::vector<float>{2, 4, 0, 0});
  REQUIRE(device.Download(b.grad()) == std::vector<float>{2, 0});
}

TEST_CASE("products refuse shapes that do not fit, by name") {
  RequireOpRefused(
      {{2, 3}, {2, 3}}, [](const Vars& x) { return nn::MatMul(x[0], x[1]); }, "MatMul");
  RequireOpRefused(
      {{2, 3}, {3}}, [](const Vars& x) { return nn::MatMul(x[0], x[1]); }, "rank 2");
  RequireOpRefused(
      {{2, 3}, {4, 2}}, [](const Vars& x) { return nn::Linear(x[0], x[1], Var()); }, "Linear");
  RequireOpRefused(
      {{2, 3}, {4, 3}, {3}}, [](const Vars& x) { return nn::Linear(x[0], x[1], x[2]); }, "bias");
}

}  // namespace
}  // namespace pagoda
