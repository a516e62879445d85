#include "tests/algorithms/nn/gradient_check.h"

namespace pagoda {
namespace {

using Vars = std::vector<Var>;

TEST_CASE("Reshape and Flatten keep the values and pass the gradient") {
  GradientCheck({{2, 3, 5}}, [](const Vars& x) { return nn::Reshape(x[0], {5, 6}); }).Run();
  GradientCheck({{0, 3}}, [](const Vars& x) { return nn::Reshape(x[0], {3, 0, 2}); }).Run();
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({1, 2, 3, 4, 5, 6, 7, 8}, {2, 2, 2}), true);
  REQUIRE(nn::Flatten(x).shape() == Shape{2, 4});
  const Var empty = tape.Leaf(device.Upload<float>({}, {0, 3, 2}), true);
  REQUIRE(nn::Flatten(empty).shape() == Shape{0, 6});
  const Var vector = tape.Leaf(device.Upload<float>({1, 2}, {2}), true);
  REQUIRE(nn::Flatten(vector).shape() == Shape{2, 1});
}

TEST_CASE("Concat joins columns and splits the gradient") {
  for (int64_t n : {0, 1, 3}) {
    GradientCheck({{n, 1}, {n, 4}, {n, 2}}, [](const Vars& x) { return nn::Concat(x); }).Run();
  }
  // One part twice.
  GradientCheck({{2, 3}}, [](const Vars& x) { return nn::Concat({x[0], x[0]}); }).Run();
  TestDevice device;
  Tape tape(*device.ctx);
  const Var a = tape.Leaf(device.Upload<float>({1, 2}, {2, 1}), false);
  const Var b = tape.Leaf(device.Upload<float>({3, 4, 5, 6}, {2, 2}), false);
  REQUIRE(ValueOf(device, nn::Concat({a, b})) == std::vector<float>{1, 3, 4, 2, 5, 6});
  REQUIRE(ValueOf(device, nn::Concat({b})) == std::vector<float>{3, 4, 5, 6});
  REQUIRE_FALSE(nn::Concat({}).valid());
}

TEST_CASE("slices have the gradients of finite differences, overlapping ones too") {
  GradientCheck({{3, 7}}, [](const Vars& x) { return nn::SliceColumns(x[0], 2, 5); }).Run();
  GradientCheck({{3, 7}}, [](const Vars& x) { return nn::SliceColumns(x[0], 4, 4); }).Run();
  GradientCheck({{5, 3}}, [](const Vars& x) { return nn::SliceRows(x[0], 1, 4); }).Run();
  GradientCheck({{5, 2, 2}}, [](const Vars& x) { return nn::SliceRows(x[0], 5, 5); }).Run();
  GradientCheck({{4, 3}}, [](const Vars& x) {
    return nn::Add(nn::SliceRows(x[0], 0, 3), nn::SliceRows(x[0], 1, 4));
  }).Run();
  GradientCheck({{4, 3}}, [](const Vars& x) {
    return nn::Multiply(nn::SliceColumns(x[0], 0, 2), nn::SliceColumns(x[0], 1, 3));
  }).Run();
}

TEST_CASE("SelectRows copies rows, zeros where there is none, and sums the gradient in order") {
  const std::vector<int32_t> rows = {2, -1, 0, 2, 2, -1, 3};
  GradientCheck({{5, 3}}, [&](const Vars& x) { return nn::SelectRows(x[0], rows); }).Run();
  GradientCheck({{4, 2, 3}}, [&](const Vars& x) { return nn::SelectRows(x[0], rows); }).Run();
  GradientCheck({{4}}, [&](const Vars& x) { return nn::SelectRows(x[0], rows); }).Run();
  GradientCheck({{3, 2}}, [](const Vars& x) { return nn::SelectRows(x[0], {}); }).Run();
  GradientCheck({{0, 2}}, [](const Vars& x) { return nn::SelectRows(x[0], {-1, -1}); }).Run();
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({1, 2, 3, 4, 5, 6}, {3, 2}), true);
  const Var y = nn::SelectRows(x, {2, -1, 0});
  REQUIRE(y.shape() == Shape{3, 2});
  REQUIRE(ValueOf(device, y) == std::vector<float>{5, 6, 0, 0, 1, 2});
  REQUIRE(
      nn::SelectRows(tape.Leaf(device.Upload<float>({1, 2}, {1, 2, 1}), false), {0, 0}).shape() ==
      Shape{2, 2, 1});
  for (const int32_t row : {-2, 3}) {
    RequireOpRefused(
        {{3, 2}},
        [row](const Vars& v) {
          return nn::SelectRows(v[0], {0, row});
        },
        "SelectRows: row");
  }
}

TEST_CASE("BroadcastRow repeats a row and sums its gradients") {
  for (int64_t n : {0, 1, 5}) {
    GradientCheck({{3}}, [n](const Vars& x) { return nn::BroadcastRow(x[0], n); }).Run();
  }
}

TEST_CASE("SwapAxes, PadSequences and UnpadSequences pass the gradient") {
  GradientCheck({{2, 3, 4, 2}}, [](const Vars& x) { return nn::SwapAxes(x[0]); }).Run();
  GradientCheck({{0, 3, 4, 2}}, [](const Vars& x) { return nn::SwapAxes(x[0]); }).Run();
  // One sequence is longer than the block, one is empty.
  const std::vector<int32_t> offsets = {0, 2, 2, 7};
  GradientCheck({{7, 3}}, [&](const Vars& x) { return nn::PadSequences(x[0], offsets, 4); }).Run();
  GradientCheck({{3, 4, 3}}, [&](const Vars& x) {
    return nn::UnpadSequences(x[0], offsets);
  }).Run();
}

TEST_CASE("shape operations refuse what does not fit, by name") {
  RequireOpRefused(
      {{2, 3}},
      [](const Vars& x) {
        return nn::Reshape(x[0], {4, 2});
      },
      "Reshape");
  RequireOpRefused(
      {{2, 3}, {3, 2}}, [](const Vars& x) { return nn::Concat(x); }, "Concat");
  RequireOpRefused(
      {{2, 3}, {2}}, [](const Vars& x) { return nn::Concat(x); }, "Concat");
  RequireOpRefused(
      {{2, 3}},
      [](const Vars& x) {
        return nn::Concat({x[0], Var()});
      },
      "invalid Var");
  RequireOpRefused(
      {{2, 3}}, [](const Vars& x) { return nn::SliceColumns(x[0], 2, 4); }, "SliceColumns");
  RequireOpRefused(
      {{2, 3}}, [](const Vars& x) { return nn::SliceColumns(x[0], -1, 2); }, "SliceColumns");
  RequireOpRefused(
      {{2, 3}}, [](const Vars& x) { return nn::SliceRows(x[0], 2, 1); }, "SliceRows");
  RequireOpRefused(
      {{2, 3}}, [](const Vars& x) { return nn::SwapAxes(x[0]); }, "SwapAxes");
  RequireOpRefused(
      {{2, 3}},
      [](const Vars& x) {
        return nn::PadSequences(x[0], {0, 3}, 4);
      },
      "PadSequences");
  RequireOpRefused(
      {{2, 3, 1}},
      [](const Vars& x) {
        return nn::UnpadSequences(x[0], {0, 2, 1});
      },
      "UnpadSequences");
}

}  // namespace
}  // namespace pagoda
