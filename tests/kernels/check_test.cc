#include "kernels/check.h"

#include <catch2/catch.hpp>

#include "tests/kernels/operator_harness.h"

namespace pagoda {

TEST_CASE("Checks name operator, operand and both shapes") {
  TestDevice device(DeviceKind::kCpu);
  Context& ctx = *device.ctx;
  const Tensor x = *ctx.Empty({7, 4});
  const Tensor w = *ctx.Empty({3, 5});
  ArgumentCheck check(ctx, "LinearForward");
  REQUIRE(check.Rank("x", x, 2).Rank("w", w, 2).ok());
  REQUIRE_FALSE(check.Has("w", w, {3, 4}).ok());
  REQUIRE(check.status().message() ==
          "LinearForward: w has shape [3, 5], expected [3, 4] beside x [7, 4]");
  // The first failure stays.
  check.Has("x", x, {1});
  REQUIRE(check.status().message().find("w has shape") != std::string::npos);
}

TEST_CASE("Checks refuse absent, mistyped and foreign operands") {
  TestDevice device(DeviceKind::kCpu);
  Context& ctx = *device.ctx;
  const Tensor x = *ctx.Empty({2});
  RequireInvalid(ArgumentCheck(ctx, "Op").Present("x", Tensor()).status(), "Op: x is absent");
  RequireInvalid(ArgumentCheck(ctx, "Op").Present("x", x, DType::kI32).status(),
                 "x has type f32, expected i32");
  RequireInvalid(ArgumentCheck(ctx, "Op").Rank("x", x, 2).status(), "[2], expected 2 dimensions");
  RequireInvalid(ArgumentCheck(ctx, "Op").That(false, "step is below 1").status(),
                 "Op: step is below 1");
  TestDevice fake(DeviceKind::kFake);
  RequireInvalid(ArgumentCheck(*fake.ctx, "Op").Present("x", x).status(),
                 "cpu, expected the context's, fake");
}

TEST_CASE("Optional operands are checked when present") {
  TestDevice device(DeviceKind::kCpu);
  Context& ctx = *device.ctx;
  REQUIRE(ArgumentCheck(ctx, "Op").HasOrAbsent("bias", Tensor(), {4}).ok());
  REQUIRE(ArgumentCheck(ctx, "Op").HasOrAbsent("bias", *ctx.Empty({4}), {4}).ok());
  REQUIRE_FALSE(ArgumentCheck(ctx, "Op").HasOrAbsent("bias", *ctx.Empty({5}), {4}).ok());
}

}  // namespace pagoda
