#include "kernels/rms_norm.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

struct Matrix {
  int64_t n, d;
};
constexpr float kEpsilon = 1e-3f;

struct Data {
  Data(int64_t n, int64_t d)
      : x(RandomFloats(1, n * d)),
        gamma(RandomFloats(2, d)),
        dy(RandomFloats(3, n * d)),
        old(RandomFloats(4, n * d + d)) {}
  std::vector<float> x, gamma, dy, old;
};

Doubles NormOracle(const double* x, const double* gamma, int64_t n, int64_t d, Doubles* inv_rms) {
  Doubles y;
  for (int64_t i = 0; i < n; ++i, x += d) {
    double squares = 0.0;
    for (int64_t j = 0; j < d; ++j) squares += x[j] * x[j] / static_cast<double>(d);
    inv_rms->push_back(1.0 / std::sqrt(squares + kEpsilon));
    for (int64_t j = 0; j < d; ++j) y.push_back(gamma[j] * x[j] * inv_rms->back());
  }
  return y;
}

}  // namespace

TEST_CASE("RmsNorm matches the oracle, in place too") {
  for (const auto [n, d] :
       {Matrix{0, 5}, {5, 0}, {1, 1}, {17, 3}, {257, 17}, {600, 129}, {7, 1023}, {33, 256}}) {
    CAPTURE(n, d);
    const Data data(n, d);
    const std::vector<float> got = RunEverywhere([&, n = n, d = d](TestDevice& device) {
      const Tensor x = device.Upload(data.x, {n, d}), gamma = device.Upload(data.gamma, {d});
      const Tensor y = *device.ctx->Empty({n, d}), inv_rms = *device.ctx->Empty({n});
      REQUIRE(RmsNormForward(*device.ctx, x, gamma, kEpsilon, y, inv_rms).ok());
      std::vector<float> all = device.Download(y);
      Append(&all, device.Download(inv_rms));
      REQUIRE(RmsNormForward(*device.ctx, x, gamma, kEpsilon, x, inv_rms).ok());
      REQUIRE(SameBits(device.Download(x), Slice(all, 0, n * d)));
      return all;
    });
    const Doubles x = ToDouble(data.x), gamma = ToDouble(data.gamma);
    Doubles inv_rms;
    const Doubles y = NormOracle(x.data(), gamma.data(), n, d, &inv_rms);
    // d / 4 roundings in the sum (4 lanes at least), halved by the root, and a few after.
    const double ulps = static_cast<double>(d) / 8 + 5;
    RequireUlps(Slice(got, 0, n * d), y, ulps);
    RequireUlps(Slice(got, n * d, n), inv_rms, ulps);
  }
}

TEST_CASE("RmsNormBackward is the slope of RmsNorm, added to each gradient") {
  for (const auto [n, d] : {Matrix{0, 5}, {1, 1}, {1, 7}, {5, 3}, {9, 37}, {300, 4}}) {
    CAPTURE(n, d);
    const Data data(n, d);
    const std::vector<float> got = RunEverywhere([&, n = n, d = d](TestDevice& device) {
      const Tensor x = device.Upload(data.x, {n, d}), gamma = device.Upload(data.gamma, {d});
      const Tensor y = *device.ctx->Empty({n, d}), inv_rms = *device.ctx->Empty({n});
      REQUIRE(RmsNormForward(*device.ctx, x, gamma, kEpsilon, y, inv_rms).ok());
      const Tensor all = device.Upload(data.old, {n * d + d});
      REQUIRE(RmsNormBackward(*device.ctx, x, gamma, inv_rms, device.Upload(data.dy, {n, d}),
                              all.Flat(0, {n, d}), all.Flat(n * d, {d}))
                  .ok());
      return device.Download(all);
    });
    std::vector<float> parameters = data.x;
    Append(&parameters, data.gamma);
    RequireGradient(
        ToDouble(parameters), got,
        [&, n = n, d = d](const Doubles& at) {
          Doubles unused;
          const Doubles y =
              NormOracle(at.data(), at.data() + static_cast<size_t>(n * d), n, d, &unused);
          double loss = 0.0;
          for (size_t k = 0; k < y.size(); ++k) loss += data.dy[k] * y[k];
          for (size_t k = 0; k < at.size(); ++k) loss += data.old[k] * at[k];
          return loss;
        },
        1e-4);
  }
}

TEST_CASE("Gradients of RmsNorm add up over many rows, and either may be absent") {
  constexpr int64_t n = 700, d = 5;
  const Data data(n, d);
  for (int wanted = 0; wanted < 4; ++wanted) {
    CAPTURE(wanted);
    const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
      // inv_rms 1 makes xhat = x.
      const Tensor ones = device.Upload(std::vector<float>(n, 1.0f), {n});
      const Tensor dx = *device.ctx->Zeros({n, d}), dgamma = *device.ctx->Zeros({d});
      REQUIRE(RmsNormBackward(*device.ctx, device.Upload(data.x, {n, d}),
                              device.Upload(data.gamma, {d}), ones, device.Upload(data.dy, {n, d}),
                              (wanted & 1) ? dx : Tensor(), (wanted & 2) ? dgamma : Tensor())
                  .ok());
      std::vector<float> all = device.Download(dgamma);
      Append(&all, device.Download(dx));
      return all;
    });
    std::vector<Exact> want(d);
    for (size_t k = 0; k < data.x.size(); ++k) {
      if (wanted & 2) want[k % d].Add(static_cast<double>(data.dy[k]) * data.x[k]);
    }
    RequireNear(Slice(got, 0, d), want);
    const bool moved = got[static_cast<size_t>(d)] != 0.0f;
    REQUIRE(moved == ((wanted & 1) != 0));
  }
}

TEST_CASE("A zero row stays zero under RmsNorm") {
  TestDevice device;
  const Tensor x = *device.ctx->Zeros({1, 3}), y = *device.ctx->Empty({1, 3});
  const Tensor gamma = device.Upload<float>({1, 2, 3}, {3}), inv_rms = *device.ctx->Empty({1});
  REQUIRE(RmsNormForward(*device.ctx, x, gamma, 1e-5f, y, inv_rms).ok());
  REQUIRE(device.Download(y) == std::vector<float>{0, 0, 0});
}

TEST_CASE("RmsNorm refuses operands that do not fit") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor x = *ctx.Zeros({3, 2}), n = *ctx.Zeros({3}), d = *ctx.Zeros({2});
  RequireInvalid(RmsNormForward(ctx, x, n, 1e-5f, x, n),
                 "RmsNormForward: gamma has shape [3], expected [2] beside x [3, 2]");
  RequireInvalid(RmsNormForward(ctx, x, d, 1e-5f, x, d), "saved_inv_rms has shape [2]");
  RequireInvalid(RmsNormForward(ctx, d, d, 1e-5f, x, n), "RmsNormForward: x");
  RequireInvalid(RmsNormBackward(ctx, d, d, n, x, x, d), "RmsNormBackward: x");
  RequireInvalid(RmsNormBackward(ctx, x, d, n, x, *ctx.Zeros({2, 3}), d),
                 "RmsNormBackward: dx has shape [2, 3], expected [3, 2]");
  RequireInvalid(RmsNormBackward(ctx, x, d, n, x, x, n), "RmsNormBackward: dgamma has shape [3]");
}

}  // namespace pagoda
