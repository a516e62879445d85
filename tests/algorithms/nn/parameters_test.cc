#include "algorithms/nn/parameters.h"

#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

std::unique_ptr<ParameterSet> Make(TestDevice& device, const std::vector<DenseDecl>& decls,
                                   uint64_t seed = 1) {
  auto set = ParameterSet::Create(*device.ctx, decls, seed);
  INFO(set.status());
  REQUIRE(set.ok());
  return *std::move(set);
}

std::vector<DenseDecl> ThreeDecls() {
  return {{.name = "state", .shape = {2}, .init = InitKind::kOnes, .trainable = false},
          {.name = "w", .shape = {3, 4}},
          {.name = "b", .shape = {3}, .init = InitKind::kZeros, .group = "biases"}};
}

TEST_CASE("trainable parameters come first, state after them, each with its view") {
  TestDevice device;
  const auto set = Make(device, ThreeDecls());
  REQUIRE(set->num_trainable() == 15);
  REQUIRE(set->num_elements() == 17);
  REQUIRE(set->offset({1}) == 0);
  REQUIRE(set->offset({2}) == 12);
  REQUIRE(set->offset({0}) == 15);
  REQUIRE(set->value({1}).shape() == Shape{3, 4});
  REQUIRE(device.Download(set->value({0})) == std::vector<float>{1, 1});
  REQUIRE(set->gradient({1}).shape() == Shape{3, 4});
  REQUIRE(set->gradient({0}).absent());
  REQUIRE(device.Download(set->gradients()) == std::vector<float>(15, 0.0f));
  // Views share the flat memory.
  REQUIRE(device.ctx->CopyFromHost(std::vector<float>{7, 8, 9}.data(), 12, set->value({2})).ok());
  REQUIRE(device.Download(set->values())[13] == 8.0f);
}

TEST_CASE("an initial value depends on seed, name and element alone") {
  TestDevice device;
  const DenseDecl a{.name = "a", .shape = {4, 5}};
  const DenseDecl b{.name = "b", .shape = {4, 5}};
  const auto ab = Make(device, {a, b});
  const auto ba = Make(device, {b, a});
  const std::vector<float> a_values = device.Download(ab->value({0}));
  REQUIRE(device.Download(ba->value({1})) == a_values);
  REQUIRE(device.Download(ab->value({1})) != a_values);
  REQUIRE(device.Download(Make(device, {a}, 2)->value({0})) != a_values);
  // A longer parameter of one name and the same bound starts alike.
  const auto scaled = Make(device, {{.name = "a", .shape = {4, 5}, .init_scale = 2.0f}});
  REQUIRE(device.Download(scaled->value({0}))[3] == 2.0f * a_values[3]);
  TestDevice fake(DeviceKind::kFake);
  REQUIRE(fake.Download(Make(fake, {a, b})->value({0})) == a_values);
}

TEST_CASE("blocks: runs of rows share a column, and columns are orthonormal") {
  TestDevice device;
  for (const Shape& shape : {Shape{12, 4}, Shape{7, 3}, Shape{5, 5}, Shape{3, 1}}) {
    const std::vector<float> w = device.Download(
        Make(device, {{.name = "c", .shape = shape, .init = InitKind::kBlocks}})->value({0}));
    const auto n = static_cast<size_t>(shape[0]), m = static_cast<size_t>(shape[1]);
    for (size_t a = 0; a < m; ++a) {
      for (size_t b = 0; b < m; ++b) {
        double dot = 0.0;
        for (size_t i = 0; i < n; ++i) dot += double{w[i * m + a]} * double{w[i * m + b]};
        CAPTURE(n, m, a, b);
        REQUIRE(dot == Approx(a == b ? 1.0 : 0.0).margin(1e-6));
      }
    }
  }
  REQUIRE(
      device.Download(
          Make(device, {{.name = "c", .shape = {4, 2}, .init = InitKind::kBlocks}})->value({0})) ==
      std::vector<float>{std::sqrt(0.5f), 0, std::sqrt(0.5f), 0, 0, std::sqrt(0.5f), 0,
                         std::sqrt(0.5f)});
}

TEST_CASE("initializers have the moments they promise") {
  TestDevice device;
  struct Moments {
    double mean = 0, variance = 0, largest = 0;
  };
  const auto moments = [&](const DenseDecl& decl) {
    const std::vector<float> values = device.Download(Make(device, {decl})->value({0}));
    Moments m;
    for (float v : values) {
      m.mean += double{v} / static_cast<double>(values.size());
      m.variance += double{v} * double{v} / static_cast<double>(values.size());
      m.largest = std::max(m.largest, std::fabs(double{v}));
    }
    return m;
  };
  // 20,000 draws: the variance is within 5 % and the mean within 4 deviations.
  const Shape shape = {100, 200};
  const Moments xavier = moments({.name = "x", .shape = shape});
  const double bound = std::sqrt(6.0 / 300.0);
  REQUIRE(xavier.largest <= bound);
  REQUIRE(xavier.largest > 0.99 * bound);
  REQUIRE(xavier.variance == Approx(bound * bound / 3.0).epsilon(0.05));
  REQUIRE(std::fabs(xavier.mean) < 4.0 * bound / std::sqrt(3.0 * 20000.0));
  const Moments he = moments({.name = "h", .shape = shape, .init = InitKind::kHeNormal});
  REQUIRE(he.variance == Approx(2.0 / 200.0).epsilon(0.05));
  const Moments normal =
      moments({.name = "n", .shape = shape, .init = InitKind::kNormal, .init_scale = 0.3f});
  REQUIRE(normal.variance == Approx(0.09).epsilon(0.05));
  REQUIRE(moments({.name = "o", .shape = {3}, .init = InitKind::kOnes}).mean == Approx(1.0));
  // A vector [n] counts as one output of n inputs.
  REQUIRE(moments({.name = "v", .shape = {3000}}).variance == Approx(2.0 / 3001.0).epsilon(0.1));
}

TEST_CASE("ZeroGradients clears, also when there is nothing to clear") {
  TestDevice device;
  const auto set = Make(device, ThreeDecls());
  REQUIRE(device.ctx->CopyFromHost(RandomFloats(1, 15).data(), 60, set->gradients()).ok());
  REQUIRE(set->ZeroGradients(*device.ctx).ok());
  REQUIRE(device.Download(set->gradients()) == std::vector<float>(15, 0.0f));
  REQUIRE(Make(device, {})->ZeroGradients(*device.ctx).ok());
}

TEST_CASE("Freeze freezes exactly the named groups") {
  TestDevice device;
  const auto set = Make(device, ThreeDecls());
  REQUIRE(set->learns({1}));
  REQUIRE(set->Freeze({"biases"}).ok());
  REQUIRE(set->learns({1}));
  REQUIRE_FALSE(set->learns({2}));
  REQUIRE_FALSE(set->learns({0}));  // State never learns,
  REQUIRE_FALSE(set->frozen({0}));  // but is updated while its group is not frozen.
  REQUIRE(set->Freeze({"default"}).ok());
  REQUIRE_FALSE(set->learns({1}));
  REQUIRE(set->learns({2}));
  REQUIRE(set->frozen({0}));
  const absl::Status status = set->Freeze({"towers"});
  REQUIRE(status.code() == absl::StatusCode::kNotFound);
  REQUIRE(status.message().find("'towers'") != std::string::npos);
  REQUIRE_FALSE(set->learns({1}));  // The refusal changed nothing.
  REQUIRE(set->Freeze({}).ok());
  REQUIRE((set->learns({1}) && set->learns({2})));
}

TEST_CASE("ParameterSet refuses equal names and empty shapes") {
  TestDevice device;
  const DenseDecl w{.name = "w", .shape = {1}};
  RequireInvalid(ParameterSet::Create(*device.ctx, {w, w}, 1).status(), "'w'");
  RequireInvalid(
      ParameterSet::Create(*device.ctx, {{.name = "empty", .shape = {3, 0}}}, 1).status(),
      "'empty'");
}

}  // namespace
}  // namespace pagoda
