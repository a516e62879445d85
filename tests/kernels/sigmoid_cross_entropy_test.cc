#include "kernels/sigmoid_cross_entropy.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

double LossOracle(double z, double label) {
  return std::max(z, 0.0) - z * label + std::log1p(std::exp(-std::fabs(z)));
}

}  // namespace

TEST_CASE("Logistic loss and its slope match the oracle, weighted or not") {
  for (int64_t n : {0, 1, 17, 257, 1023, 20000}) {
    for (bool weighted : {true, false}) {
      CAPTURE(n, weighted);
      std::vector<float> z = RandomFloats(1, n), labels = RandomFloats(2, n);
      for (float& value : z) value *= 15.0f;
      for (float& label : labels) label = label < 0.0f ? 0.0f : label < 0.8f ? 1.0f : label;
      const std::vector<float> weights = RandomFloats(3, n), dloss = RandomFloats(4, n);
      const std::vector<float> old = RandomFloats(5, n);
      const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
        const Tensor tz = device.Upload(z, {n}), tl = device.Upload(labels, {n});
        const Tensor tw = weighted ? device.Upload(weights, {n}) : Tensor();
        const Tensor loss = *device.ctx->Empty({n}), dz = device.Upload(old, {n});
        REQUIRE(SigmoidCrossEntropyForward(*device.ctx, tz, tl, tw, loss).ok());
        REQUIRE(SigmoidCrossEntropyBackward(*device.ctx, tz, tl, tw, device.Upload(dloss, {n}), dz)
                    .ok());
        std::vector<float> all = device.Download(loss);
        Append(&all, device.Download(dz));
        return all;
      });
      Doubles want, slope;
      for (size_t i = 0; i < z.size(); ++i) {
        const double weight = weighted ? weights[i] : 1.0;
        want.push_back(weight * LossOracle(z[i], labels[i]));
        const double sigmoid = 1.0 / (1.0 + std::exp(-static_cast<double>(z[i])));
        slope.push_back(old[i] + dloss[i] * weight * (sigmoid - labels[i]));
      }
      // z - z * label cancels for label 1: the error is relative to z, at most 15.
      RequireWithin(Slice(got, 0, n), want, [&](size_t i) {
        return kUnitRoundoff * (4 * std::fabs(want[i]) + 3 * std::fabs(z[i] * labels[i]) + 8);
      });
      RequireWithin(Slice(got, n, n), slope, [](size_t) { return 12 * kUnitRoundoff; });
    }
  }
}

TEST_CASE("The logistic gradient is the slope of the logistic loss") {
  TestDevice device;
  const std::vector<float> z = {-9, -1, -0.1f, 0.2f, 3, 8}, labels = {0, 1, 1, 0, 1, 0};
  const Tensor ones = device.Upload(std::vector<float>(6, 1.0f), {6}), dz = *device.ctx->Zeros({6});
  REQUIRE(SigmoidCrossEntropyBackward(*device.ctx, device.Upload(z, {6}),
                                      device.Upload(labels, {6}), Tensor(), ones, dz)
              .ok());
  RequireGradient(ToDouble(z), device.Download(dz), [&](const Doubles& at) {
    double loss = 0.0;
    for (size_t i = 0; i < at.size(); ++i) loss += LossOracle(at[i], labels[i]);
    return loss;
  });
}

TEST_CASE("Logistic loss does not overflow, keeps small losses and passes NaN on") {
  TestDevice device;
  const std::vector<float> z = {1000, -1000, 1000, -1000, 20, std::nanf("")};
  const std::vector<float> labels = {1, 0, 0, 1, 1, 0};
  const Tensor loss = *device.ctx->Empty({6});
  REQUIRE(SigmoidCrossEntropyForward(*device.ctx, device.Upload(z, {6}), device.Upload(labels, {6}),
                                     Tensor(), loss)
              .ok());
  const std::vector<float> got = device.Download(loss);
  REQUIRE(Slice(got, 0, 4) == std::vector<float>{0, 0, 1000, 1000});
  REQUIRE(got[4] == Approx(2.0611536e-9).epsilon(1e-6));
  REQUIRE(std::isnan(got[5]));
}

TEST_CASE("Logistic loss refuses operands that do not fit") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor a = *ctx.Zeros({3}), b = *ctx.Zeros({4});
  RequireInvalid(SigmoidCrossEntropyForward(ctx, a, b, Tensor(), a),
                 "SigmoidCrossEntropyForward: labels has shape [4], expected [3]");
  RequireInvalid(SigmoidCrossEntropyForward(ctx, a, a, b, a), "weights has shape [4]");
  RequireInvalid(SigmoidCrossEntropyBackward(ctx, a, a, Tensor(), a, b),
                 "SigmoidCrossEntropyBackward: dlogits has shape [4], expected [3]");
}

}  // namespace pagoda
