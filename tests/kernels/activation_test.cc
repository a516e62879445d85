#include "kernels/activation.h"

#include <catch2/catch.hpp>

#include "kernels/activation_math.h"
#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

constexpr Activation kAll[] = {Activation::kNone,     Activation::kRelu, Activation::kSigmoid,
                               Activation::kTanh,     Activation::kGelu, Activation::kSilu,
                               Activation::kLeakyRelu};

double Exactly(Activation f, double x) {
  switch (f) {
    case Activation::kNone: return x;
    case Activation::kRelu: return x > 0 ? x : 0;
    case Activation::kSigmoid: return 1 / (1 + std::exp(-x));
    case Activation::kTanh: return std::tanh(x);
    case Activation::kGelu: return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    case Activation::kSilu: return x / (1 + std::exp(-x));
    case Activation::kLeakyRelu: return x > 0 ? x : 0.01f * x;
  }
  return 0;
}

std::vector<float> Inputs(int64_t n) {
  std::vector<float> x = RandomFloats(5, n);
  for (float& value : x) value *= 12.0f;
  return x;
}

std::vector<float> Forward(TestDevice& device, Activation f, const std::vector<float>& x) {
  const int64_t n = static_cast<int64_t>(x.size());
  const Tensor y = *device.ctx->Empty({n});
  REQUIRE(ActivationForward(*device.ctx, f, device.Upload(x, {n}), y).ok());
  return device.Download(y);
}

}  // namespace

TEST_CASE("Activations are within a few ulp of their formulas") {
  for (Activation f : kAll) {
    for (int64_t n : {0, 1, 17, 257, 1023, 40000}) {
      CAPTURE(static_cast<int>(f), n);
      const std::vector<float> x = Inputs(n);
      const std::vector<float> got =
          RunEverywhere([&](TestDevice& device) { return Forward(device, f, x); });
      Doubles want;
      for (float value : x) want.push_back(Exactly(f, value));
      // erfc multiplies the relative error of its argument x by about 2 x^2.
      const bool gelu = f == Activation::kGelu;
      RequireWithin(got, want, [&](size_t i) {
        const double ulps = 6.0 + (gelu ? 2.0 * x[i] * x[i] : 0.0);
        return ulps * 2.0 * kUnitRoundoff * std::fabs(want[i]) + 1e-40;
      });
    }
  }
}

TEST_CASE("Vector code gives the same bits as one element at a time") {
  TestDevice device(DeviceKind::kCpu);
  const std::vector<float> x = Inputs(1023);
  for (Activation f : kAll) {
    CAPTURE(static_cast<int>(f));
    std::vector<float> single(x.size());
    WithActivation(f, [&]<Activation g>() {
      for (size_t i = 0; i < x.size(); ++i) single[i] = Activate<g>(x[i]);
    });
    REQUIRE(SameBits(Forward(device, f, x), single));
  }
}

TEST_CASE("Activations pass NaN on and saturate without overflow") {
  TestDevice device;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (Activation f : kAll) {
    CAPTURE(static_cast<int>(f));
    REQUIRE(std::isnan(Forward(device, f, {nan})[0]));
    REQUIRE(Forward(device, f, {100.0f})[0] == Approx(Exactly(f, 100.0)));
    REQUIRE(Forward(device, f, {-100.0f})[0] == Approx(Exactly(f, -100.0)).margin(1e-30));
  }
  REQUIRE(Forward(device, Activation::kSigmoid, {inf, -inf}) == std::vector<float>{1, 0});
}

TEST_CASE("Activation gradients are slopes, added to dx by beta") {
  for (Activation f : kAll) {
    for (int64_t n : {0, 1, 17, 257}) {
      for (float beta : {0.0f, 1.0f, 0.5f}) {
        CAPTURE(static_cast<int>(f), n, beta);
        const std::vector<float> x = Inputs(n), dy = RandomFloats(6, n), old = RandomFloats(7, n);
        const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
          const Tensor tx = device.Upload(x, {n});
          const Tensor y = *device.ctx->Empty({n});
          REQUIRE(ActivationForward(*device.ctx, f, tx, y).ok());
          const Tensor dx = beta == 0 ? *device.ctx->Empty({n}) : device.Upload(old, {n});
          REQUIRE(ActivationBackward(*device.ctx, f, SlopeNeedsInput(f) ? tx : Tensor(), y,
                                     device.Upload(dy, {n}), beta, dx)
                      .ok());
          return device.Download(dx);
        });
        RequireGradient(ToDouble(x), got, [&](const Doubles& at) {
          double loss = 0.0;
          for (size_t i = 0; i < at.size(); ++i) {
            loss += dy[i] * Exactly(f, at[i]) + beta * old[i] * at[i];
          }
          return loss;
        });
      }
    }
  }
}

TEST_CASE("Activations work in place") {
  for (Activation f : kAll) {
    CAPTURE(static_cast<int>(f));
    TestDevice device;
    const std::vector<float> x = Inputs(1023), dy = RandomFloats(6, 1023);
    const std::vector<float> y = Forward(device, f, x);
    const Tensor t = device.Upload(x, {1023});
    REQUIRE(ActivationForward(*device.ctx, f, t, t).ok());
    REQUIRE(SameBits(device.Download(t), y));
    const Tensor tx = device.Upload(x, {1023}), ty = device.Upload(y, {1023});
    const Tensor apart = *device.ctx->Empty({1023}), tdy = device.Upload(dy, {1023});
    REQUIRE(ActivationBackward(*device.ctx, f, tx, ty, tdy, 0.0f, apart).ok());
    REQUIRE(ActivationBackward(*device.ctx, f, tx, ty, tdy, 0.0f, tdy).ok());
    REQUIRE(SameBits(device.Download(tdy), device.Download(apart)));
  }
}

TEST_CASE("Activation names parse, and a mistake names the nearest") {
  REQUIRE(*ParseActivation("leaky_relu") == Activation::kLeakyRelu);
  REQUIRE(*ParseActivation("none") == Activation::kNone);
  RequireInvalid(ParseActivation("rleu").status(), "nearest is \"relu\"");
  RequireInvalid(ParseActivation("sigmod").status(), "nearest is \"sigmoid\"");
}

TEST_CASE("Activations refuse operands that do not fit") {
  TestDevice device;
  const Tensor a = device.Upload<float>({1, 2, 3}, {3}), b = device.Upload<float>({1, 2}, {2});
  RequireInvalid(ActivationForward(*device.ctx, Activation::kRelu, a, b),
                 "ActivationForward: y has shape [2], expected [3]");
  RequireInvalid(ActivationBackward(*device.ctx, Activation::kRelu, Tensor(), a, b, 0.0f, a),
                 "ActivationBackward: dy has shape [2], expected [3]");
  RequireInvalid(ActivationBackward(*device.ctx, Activation::kGelu, Tensor(), a, a, 0.0f, a),
                 "ActivationBackward: x is absent");
  REQUIRE(device.Download(a) == std::vector<float>{1, 2, 3});
}

}  // namespace pagoda
