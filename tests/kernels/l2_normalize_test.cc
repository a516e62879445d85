#include "kernels/l2_normalize.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

struct Matrix {
  int64_t n, d;
};
constexpr float kEpsilon = 1e-3f;

Doubles NormalizeOracle(const Doubles& x, int64_t n, int64_t d, Doubles* norms) {
  Doubles y = x;
  for (int64_t i = 0; i < n; ++i) {
    double squares = kEpsilon;
    for (int64_t j = 0; j < d; ++j) squares += std::pow(x[static_cast<size_t>(i * d + j)], 2);
    norms->push_back(std::sqrt(squares));
    for (int64_t j = 0; j < d; ++j) y[static_cast<size_t>(i * d + j)] /= norms->back();
  }
  return y;
}

}  // namespace

TEST_CASE("L2Normalize and its slope match the oracle") {
  for (const auto [n, d] : {Matrix{0, 5}, {5, 0}, {1, 1}, {17, 3}, {257, 17}, {7, 1023}}) {
    CAPTURE(n, d);
    const std::vector<float> x = RandomFloats(1, n * d), dy = RandomFloats(2, n * d);
    const std::vector<float> old = RandomFloats(3, n * d);
    const std::vector<float> got = RunEverywhere([&, n = n, d = d](TestDevice& device) {
      const Tensor y = *device.ctx->Empty({n, d}), norms = *device.ctx->Empty({n});
      REQUIRE(L2NormalizeForward(*device.ctx, device.Upload(x, {n, d}), kEpsilon, y, norms).ok());
      const Tensor dx = device.Upload(old, {n, d});
      REQUIRE(L2NormalizeBackward(*device.ctx, y, norms, device.Upload(dy, {n, d}), dx).ok());
      std::vector<float> all = device.Download(y);
      Append(&all, device.Download(norms));
      Append(&all, device.Download(dx));
      return all;
    });
    Doubles norms;
    const Doubles y = NormalizeOracle(ToDouble(x), n, d, &norms);
    // d roundings in the sum, halved by the root.
    const double ulps = static_cast<double>(d) / 4 + 4;
    RequireUlps(Slice(got, 0, n * d), y, ulps);
    RequireUlps(Slice(got, n * d, n), norms, ulps);
    if (n * d > 1000) continue;
    RequireGradient(ToDouble(x), Slice(got, n * d + n, n * d),
                    [&, n = n, d = d](const Doubles& at) {
                      Doubles unused;
                      const Doubles at_y = NormalizeOracle(at, n, d, &unused);
                      double loss = 0.0;
                      for (size_t k = 0; k < at.size(); ++k)
                        loss += dy[k] * at_y[k] + old[k] * at[k];
                      return loss;
                    });
  }
}

TEST_CASE("A zero row stays zero") {
  TestDevice device;
  const Tensor y = *device.ctx->Empty({1, 3}), norms = *device.ctx->Empty({1});
  REQUIRE(L2NormalizeForward(*device.ctx, *device.ctx->Zeros({1, 3}), 1e-12f, y, norms).ok());
  REQUIRE(device.Download(y) == std::vector<float>{0, 0, 0});
}

TEST_CASE("L2Normalize refuses operands that do not fit") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor x = *ctx.Zeros({3, 2}), n = *ctx.Zeros({3}), d = *ctx.Zeros({2});
  RequireInvalid(L2NormalizeForward(ctx, x, 0.0f, x, d),
                 "L2NormalizeForward: norms has shape [2], expected [3]");
  RequireInvalid(L2NormalizeBackward(ctx, x, n, *ctx.Zeros({2, 3}), x),
                 "L2NormalizeBackward: dy has shape [2, 3], expected [3, 2]");
}

}  // namespace pagoda
