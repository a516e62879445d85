#include "kernels/layer_norm.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

struct Matrix {
  int64_t n, d;
};
constexpr float kEpsilon = 1e-5f;

struct Data {
  Data(int64_t n, int64_t d)
      : x(RandomFloats(1, n * d)),
        gamma(RandomFloats(2, d)),
        beta(RandomFloats(3, d)),
        dy(RandomFloats(4, n * d)),
        old(RandomFloats(5, n * d + 2 * d)) {
    for (float& value : x) value += 0.5f;  // A mean that is not 0.
  }
  std::vector<float> x, gamma, beta, dy, old;
};

Doubles NormOracle(const double* x, const double* gamma, const double* beta, int64_t n, int64_t d) {
  Doubles y;
  for (int64_t i = 0; i < n; ++i, x += d) {
    double mean = 0.0, variance = 0.0;
    for (int64_t j = 0; j < d; ++j) mean += x[j] / static_cast<double>(d);
    for (int64_t j = 0; j < d; ++j) variance += std::pow(x[j] - mean, 2) / static_cast<double>(d);
    for (int64_t j = 0; j < d; ++j) {
      y.push_back(gamma[j] * (x[j] - mean) / std::sqrt(variance + kEpsilon) + beta[j]);
    }
  }
  return y;
}

}  // namespace

TEST_CASE("LayerNorm matches the oracle") {
  for (const auto [n, d] :
       {Matrix{0, 5}, {5, 0}, {1, 1}, {17, 3}, {257, 17}, {600, 129}, {7, 1023}}) {
    CAPTURE(n, d);
    const Data data(n, d);
    const std::vector<float> got = RunEverywhere([&, n = n, d = d](TestDevice& device) {
      const Tensor y = *device.ctx->Empty({n, d});
      const Tensor mean = *device.ctx->Empty({n}), inv_std = *device.ctx->Empty({n});
      REQUIRE(LayerNormForward(*device.ctx, device.Upload(data.x, {n, d}),
                               device.Upload(data.gamma, {d}), device.Upload(data.beta, {d}),
                               kEpsilon, y, mean, inv_std)
                  .ok());
      return device.Download(y);
    });
    const Doubles x = ToDouble(data.x), gamma = ToDouble(data.gamma), beta = ToDouble(data.beta);
    const Doubles want = NormOracle(x.data(), gamma.data(), beta.data(), n, d);
    // Mean and variance carry d / 4 roundings (4 lanes at least); an error of the
    // mean is multiplied by 1 / std, which is below 8 for d >= 3.
    const double roundings = static_cast<double>(d) / 4 + 8;
    RequireWithin(got, want, [&](size_t) { return kUnitRoundoff * 16 * roundings; });
  }
}

TEST_CASE("LayerNormBackward is the slope of LayerNorm, added to each gradient") {
  for (const auto [n, d] : {Matrix{0, 5}, {1, 7}, {5, 3}, {9, 37}}) {
    CAPTURE(n, d);
    const Data data(n, d);
    const std::vector<float> got = RunEverywhere([&, n = n, d = d](TestDevice& device) {
      const Tensor x = device.Upload(data.x, {n, d}), gamma = device.Upload(data.gamma, {d});
      const Tensor y = *device.ctx->Empty({n, d});
      const Tensor mean = *device.ctx->Empty({n}), inv_std = *device.ctx->Empty({n});
      REQUIRE(LayerNormForward(*device.ctx, x, gamma, device.Upload(data.beta, {d}), kEpsilon, y,
                               mean, inv_std)
                  .ok());
      const Tensor all = device.Upload(data.old, {n * d + 2 * d});
      REQUIRE(LayerNormBackward(*device.ctx, x, gamma, mean, inv_std,
                                device.Upload(data.dy, {n, d}), all.Flat(0, {n, d}),
                                all.Flat(n * d, {d}), all.Flat(n * d + d, {d}))
                  .ok());
      return device.Download(all);
    });
    std::vector<float> parameters = data.x;
    Append(&parameters, data.gamma);
    Append(&parameters, data.beta);
    RequireGradient(
        ToDouble(parameters), got,
        [&, n = n, d = d](const Doubles& at) {
          const Doubles y = NormOracle(at.data(), &at[static_cast<size_t>(n * d)],
                                       &at[static_cast<size_t>(n * d + d)], n, d);
          double loss = 0.0;
          for (size_t k = 0; k < y.size(); ++k) loss += data.dy[k] * y[k];
          for (size_t k = 0; k < at.size(); ++k) loss += data.old[k] * at[k];
          return loss;
        },
        1e-4);
  }
}

TEST_CASE("Gradients of LayerNorm add up over many rows, and any may be absent") {
  constexpr int64_t n = 700, d = 5;
  const Data data(n, d);
  for (int wanted = 0; wanted < 8; ++wanted) {
    CAPTURE(wanted);
    const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
      // mean 0 and inv_std 1 make xhat = x.
      const Tensor zeros = *device.ctx->Zeros({n});
      const Tensor ones = device.Upload(std::vector<float>(n, 1.0f), {n});
      const Tensor dx = *device.ctx->Zeros({n, d});
      const Tensor sums = *device.ctx->Zeros({2, d});
      REQUIRE(LayerNormBackward(*device.ctx, device.Upload(data.x, {n, d}),
                                device.Upload(data.gamma, {d}), zeros, ones,
                                device.Upload(data.dy, {n, d}), (wanted & 1) ? dx : Tensor(),
                                (wanted & 2) ? sums.Flat(0, {d}) : Tensor(),
                                (wanted & 4) ? sums.Flat(d, {d}) : Tensor())
                  .ok());
      return device.Download(sums);
    });
    std::vector<Exact> want(2 * d);
    for (size_t k = 0; k < data.x.size(); ++k) {
      if (wanted & 2) want[k % d].Add(static_cast<double>(data.dy[k]) * data.x[k]);
      if (wanted & 4) want[d + k % d].Add(data.dy[k]);
    }
    RequireNear(got, want);
  }
}

TEST_CASE("LayerNorm refuses operands that do not fit") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor x = *ctx.Zeros({3, 2}), n = *ctx.Zeros({3}), d = *ctx.Zeros({2});
  RequireInvalid(LayerNormForward(ctx, x, n, d, 1e-5f, x, n, n),
                 "LayerNormForward: gamma has shape [3], expected [2] beside x [3, 2]");
  RequireInvalid(LayerNormForward(ctx, x, d, d, 1e-5f, x, d, n), "saved_mean has shape [2]");
  RequireInvalid(LayerNormBackward(ctx, x, d, n, n, x, *ctx.Zeros({2, 3}), d, d),
                 "LayerNormBackward: dx has shape [2, 3], expected [3, 2]");
}

}  // namespace pagoda
