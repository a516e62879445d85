#include "kernels/batch_norm.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

struct Matrix {
  int64_t n, d;
};
constexpr BatchNormArgs kArgs{1e-5f, 0.1f};

struct Data {
  Data(int64_t n, int64_t d)
      : x(RandomFloats(1, n * d)),
        gamma(RandomFloats(2, d)),
        beta(RandomFloats(3, d)),
        running_mean(RandomFloats(4, d)),
        running_var(static_cast<size_t>(d), 0.7f),
        dy(RandomFloats(5, n * d)),
        old(RandomFloats(6, n * d + 2 * d)) {
    for (float& value : x) value += 0.5f;
  }
  std::vector<float> x, gamma, beta, running_mean, running_var, dy, old;
};

// Mean and biased variance of column j.
void Moments(const double* x, int64_t n, int64_t d, int64_t j, double* mean, double* variance) {
  *mean = *variance = 0.0;
  for (int64_t i = 0; i < n; ++i) *mean += x[i * d + j] / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) {
    *variance += std::pow(x[i * d + j] - *mean, 2) / static_cast<double>(n);
  }
}

Doubles NormOracle(const double* x, const double* gamma, const double* beta, int64_t n, int64_t d) {
  Doubles y(static_cast<size_t>(n * d));
  for (int64_t j = 0; j < d; ++j) {
    double mean = 0.0, variance = 0.0;
    Moments(x, n, d, j, &mean, &variance);
    for (int64_t i = 0; i < n; ++i) {
      y[static_cast<size_t>(i * d + j)] =
          gamma[j] * (x[i * d + j] - mean) / std::sqrt(variance + kArgs.epsilon) + beta[j];
    }
  }
  return y;
}

// y, then running mean and variance, then the saved mean and 1 / std.
std::vector<float> RunTrain(const Data& data, int64_t n, int64_t d) {
  return RunEverywhere([&](TestDevice& device) {
    const Tensor y = *device.ctx->Empty({n, d});
    const Tensor running_mean = device.Upload(data.running_mean, {d});
    const Tensor running_var = device.Upload(data.running_var, {d});
    const Tensor mean = *device.ctx->Empty({d}), inv_std = *device.ctx->Empty({d});
    REQUIRE(BatchNormTrain(*device.ctx, device.Upload(data.x, {n, d}),
                           device.Upload(data.gamma, {d}), device.Upload(data.beta, {d}), kArgs,
                           running_mean, running_var, y, mean, inv_std)
                .ok());
    std::vector<float> all = device.Download(y);
    for (const Tensor& tensor : {running_mean, running_var, mean, inv_std}) {
      Append(&all, device.Download(tensor));
    }
    return all;
  });
}

}  // namespace

TEST_CASE("BatchNorm in training normalises and moves the running statistics") {
  for (const auto [n, d] : {Matrix{2, 1}, {17, 3}, {257, 17}, {1023, 33}, {512, 5}, {600, 1}}) {
    CAPTURE(n, d);
    const Data data(n, d);
    const std::vector<float> got = RunTrain(data, n, d);
    const Doubles x = ToDouble(data.x), gamma = ToDouble(data.gamma), beta = ToDouble(data.beta);
    const Doubles y = NormOracle(x.data(), gamma.data(), beta.data(), n, d);
    // Sums of at most 256 terms in float; 1 / std is below 4 here, but for n = 2.
    const double tolerance = kUnitRoundoff * 256 * (n == 2 ? 32 : 4);
    RequireWithin(Slice(got, 0, n * d), y, [&](size_t) { return tolerance; });
    Doubles statistics(static_cast<size_t>(2 * d));
    for (int64_t j = 0; j < d; ++j) {
      double mean = 0.0, variance = 0.0;
      Moments(x.data(), n, d, j, &mean, &variance);
      const double unbiased = variance * static_cast<double>(n) / static_cast<double>(n - 1);
      const size_t k = static_cast<size_t>(j);
      statistics[k] = 0.9 * data.running_mean[k] + 0.1 * mean;
      statistics[k + static_cast<size_t>(d)] = 0.9 * data.running_var[k] + 0.1 * unbiased;
    }
    RequireWithin(Slice(got, n * d, 2 * d), statistics, [](size_t) { return 1e-6; });
  }
}

TEST_CASE("BatchNorm of one row or none keeps the running variance") {
  for (int64_t n : {0, 1}) {
    const Data data(n, 3);
    const std::vector<float> got = RunTrain(data, n, 3);
    const std::vector<float> mean = Slice(got, n * 3, 3), variance = Slice(got, n * 3 + 3, 3);
    REQUIRE(variance == data.running_var);
    for (size_t j = 0; j < 3; ++j) {
      const double want =
          n == 0 ? data.running_mean[j] : 0.9 * data.running_mean[j] + 0.1 * data.x[j];
      REQUIRE(mean[j] == Approx(want));
      if (n == 1) REQUIRE(got[j] == Approx(data.beta[j]));
    }
  }
}

TEST_CASE("BatchNorm in inference uses the running statistics") {
  for (const auto [n, d] : {Matrix{0, 3}, {1, 1}, {257, 17}}) {
    CAPTURE(n, d);
    const Data data(n, d);
    const std::vector<float> got = RunEverywhere([&, n = n, d = d](TestDevice& device) {
      const Tensor y = *device.ctx->Empty({n, d});
      REQUIRE(BatchNormInfer(*device.ctx, device.Upload(data.x, {n, d}),
                             device.Upload(data.gamma, {d}), device.Upload(data.beta, {d}), kArgs,
                             device.Upload(data.running_mean, {d}),
                             device.Upload(data.running_var, {d}), y)
                  .ok());
      return device.Download(y);
    });
    Doubles want;
    for (size_t k = 0; k < data.x.size(); ++k) {
      const size_t j = k % static_cast<size_t>(d);
      want.push_back(data.gamma[j] * (static_cast<double>(data.x[k]) - data.running_mean[j]) /
                         std::sqrt(static_cast<double>(data.running_var[j]) + kArgs.epsilon) +
                     data.beta[j]);
    }
    RequireWithin(got, want, [](size_t) { return 24 * kUnitRoundoff; });
  }
}

TEST_CASE("BatchNormBackward is the slope of BatchNorm, added to each gradient") {
  for (const auto [n, d] : {Matrix{2, 1}, {7, 3}, {40, 5}}) {
    for (int wanted = 0; wanted < 8; ++wanted) {
      CAPTURE(n, d, wanted);
      const Data data(n, d);
      const std::vector<float> trained = RunTrain(data, n, d);
      const std::vector<float> got = RunEverywhere([&, n = n, d = d](TestDevice& device) {
        const Tensor all = device.Upload(data.old, {n * d + 2 * d});
        const auto part = [&](int bit, int64_t begin, Shape shape) {
          return (wanted & bit) ? all.Flat(begin, std::move(shape)) : Tensor();
        };
        REQUIRE(BatchNormBackward(*device.ctx, device.Upload(data.x, {n, d}),
                                  device.Upload(data.gamma, {d}),
                                  device.Upload(Slice(trained, n * d + 2 * d, d), {d}),
                                  device.Upload(Slice(trained, n * d + 3 * d, d), {d}),
                                  device.Upload(data.dy, {n, d}), part(1, 0, {n, d}),
                                  part(2, n * d, {d}), part(4, n * d + d, {d}))
                    .ok());
        return device.Download(all);
      });
      std::vector<float> parameters = data.x;
      Append(&parameters, data.gamma);
      Append(&parameters, data.beta);
      if (wanted == 7) {
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
      const std::vector<float>& old = data.old;
      if (!(wanted & 1)) REQUIRE(SameBits(Slice(got, 0, n * d), Slice(old, 0, n * d)));
      if (!(wanted & 2)) REQUIRE(SameBits(Slice(got, n * d, d), Slice(old, n * d, d)));
      if (!(wanted & 4)) REQUIRE(SameBits(Slice(got, n * d + d, d), Slice(old, n * d + d, d)));
    }
  }
}

TEST_CASE("BatchNorm's gradients add up over chunks of rows") {
  constexpr int64_t n = 1023, d = 3;
  const Data data(n, d);
  const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
    const Tensor sums = *device.ctx->Zeros({2, d});
    // mean 0 and inv_std 1 make xhat = x.
    REQUIRE(BatchNormBackward(
                *device.ctx, device.Upload(data.x, {n, d}), device.Upload(data.gamma, {d}),
                *device.ctx->Zeros({d}), device.Upload(std::vector<float>(d, 1.0f), {d}),
                device.Upload(data.dy, {n, d}), Tensor(), sums.Flat(0, {d}), sums.Flat(d, {d}))
                .ok());
    return device.Download(sums);
  });
  std::vector<Exact> want(2 * d);
  for (size_t k = 0; k < data.x.size(); ++k) {
    want[k % d].Add(static_cast<double>(data.dy[k]) * data.x[k]);
    want[d + k % d].Add(data.dy[k]);
  }
  RequireNear(got, want);
}

TEST_CASE("BatchNorm refuses operands that do not fit, and moves nothing") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor x = *ctx.Zeros({3, 2}), d = device.Upload<float>({5, 5}, {2}), n = *ctx.Zeros({3});
  RequireInvalid(BatchNormTrain(ctx, x, d, d, kArgs, d, d, x, d, n),
                 "BatchNormTrain: saved_inv_std has shape [3], expected [2] beside x [3, 2]");
  RequireInvalid(BatchNormInfer(ctx, x, n, d, kArgs, d, d, x), "BatchNormInfer: gamma");
  RequireInvalid(BatchNormBackward(ctx, x, d, d, d, n, x, d, d),
                 "BatchNormBackward: dy has shape [3], expected [3, 2]");
  REQUIRE(device.Download(d) == std::vector<float>{5, 5});
}

}  // namespace pagoda
