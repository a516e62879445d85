#include "kernels/gradient_norm.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {

TEST_CASE("SquaredNorm is the sum of squares, once rounded") {
  for (int64_t n : {0, 1, 17, 257, 1023, 100003}) {
    CAPTURE(n);
    const std::vector<float> x = RandomFloats(1, n);
    const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
      const Tensor out = *device.ctx->Empty({2});
      REQUIRE(SquaredNorm(*device.ctx, device.Upload(x, {n}), out).ok());
      return device.Download(out);
    });
    double squares = 0.0;
    for (float value : x) squares += static_cast<double>(value) * static_cast<double>(value);
    REQUIRE(std::fabs(got[0] - squares) <= 1.01 * kUnitRoundoff * squares);
    REQUIRE(got[1] == 0.0f);
  }
}

TEST_CASE("SquaredNorm counts every element that is not finite") {
  const float inf = std::numeric_limits<float>::infinity();
  for (int64_t n : {5, 40, 100003}) {
    std::vector<float> x(static_cast<size_t>(n), 1.0f);
    x[0] = inf;
    x[2] = -inf;
    x[static_cast<size_t>(n - 1)] = std::nanf("");
    const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
      const Tensor out = *device.ctx->Empty({2});
      REQUIRE(SquaredNorm(*device.ctx, device.Upload(x, {n}), out).ok());
      return Slice(device.Download(out), 1, 1);
    });
    REQUIRE(got[0] == 3.0f);
  }
}

TEST_CASE("SquaredNorm does not lose small terms beside large ones") {
  TestDevice device;
  std::vector<float> x(100001, 0.01f);
  x[0] = 1000.0f;
  const Tensor out = *device.ctx->Empty({2});
  REQUIRE(SquaredNorm(*device.ctx, device.Upload(x, {100001}), out).ok());
  REQUIRE(device.Download(out)[0] == Approx(1000010.0).epsilon(1e-7));
}

TEST_CASE("SquaredNorm refuses an output of another shape") {
  TestDevice device;
  RequireInvalid(SquaredNorm(*device.ctx, *device.ctx->Zeros({4}), *device.ctx->Zeros({1})),
                 "SquaredNorm: out has shape [1], expected [2]");
}

}  // namespace pagoda
