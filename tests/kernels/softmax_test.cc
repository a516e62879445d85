#include "kernels/softmax.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

struct Matrix {
  int64_t n, m;
};
constexpr Matrix kMatrices[] = {{0, 5}, {5, 0}, {1, 1}, {17, 3}, {257, 17}, {33, 1023}};

std::vector<float> Logits(int64_t count) {
  std::vector<float> x = RandomFloats(1, count);
  for (float& value : x) value *= 10.0f;
  return x;
}

// The softmax of row i of x [*, m], and its log sum exp.
Doubles SoftmaxOracle(const Doubles& x, int64_t i, int64_t m, double* log_sum) {
  Doubles y(x.begin() + i * m, x.begin() + (i + 1) * m);
  double greatest = -INFINITY, sum = 0.0;
  for (double value : y) greatest = std::max(greatest, value);
  for (double& value : y) sum += value = std::exp(value - greatest);
  for (double& value : y) value /= sum;
  *log_sum = greatest + std::log(sum);
  return y;
}

std::vector<int32_t> Targets(int64_t n, int64_t m) {
  std::vector<int32_t> targets;
  for (int64_t i = 0; i < n; ++i) {
    targets.push_back(i % 5 == 3 || m == 0 ? -1 : static_cast<int32_t>((i * 7) % m));
  }
  return targets;
}

}  // namespace

TEST_CASE("Softmax matches the oracle, in place too") {
  for (const auto [n, m] : kMatrices) {
    CAPTURE(n, m);
    const std::vector<float> x = Logits(n * m);
    const std::vector<float> got = RunEverywhere([&, n = n, m = m](TestDevice& device) {
      const Tensor tx = device.Upload(x, {n, m});
      const Tensor y = *device.ctx->Empty({n, m});
      REQUIRE(SoftmaxForward(*device.ctx, tx, y).ok());
      REQUIRE(SoftmaxForward(*device.ctx, tx, tx).ok());
      REQUIRE(SameBits(device.Download(tx), device.Download(y)));
      return device.Download(y);
    });
    Doubles want;
    double log_sum = 0.0;
    for (int64_t i = 0; i < n; ++i) {
      for (double value : SoftmaxOracle(ToDouble(x), i, m, &log_sum)) want.push_back(value);
    }
    // x - max, of size 20, is rounded once; then the exponential, the sum (in 4
    // lanes at least), the reciprocal and the product.
    const double ulps = 20 + 4 + static_cast<double>(m) / 4 + 3;
    RequireUlps(got, want, ulps);
  }
}

TEST_CASE("An element of -inf has no part in a softmax, and a row of nothing else is zero") {
  constexpr int64_t n = 4, m = 37;
  std::vector<float> x = Logits(n * m);
  for (int64_t j = 0; j < m; ++j) {
    if (j % 3 != 1) x[static_cast<size_t>(m + j)] = -INFINITY;
    x[static_cast<size_t>(2 * m + j)] = -INFINITY;
    x[static_cast<size_t>(3 * m + j)] = j % 2 == 0 ? -INFINITY : std::nanf("");
  }
  const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
    const Tensor y = *device.ctx->Empty({n, m}), masked = *device.ctx->Empty({n, m});
    const Tensor all = device.Upload(std::vector<int32_t>(n, m), {n});
    const Tensor tx = device.Upload(x, {n, m});
    REQUIRE(SoftmaxForward(*device.ctx, tx, y).ok());
    REQUIRE(MaskedSoftmaxForward(*device.ctx, tx, all, masked).ok());
    const std::vector<float> values = device.Download(y);
    REQUIRE(SameBits(device.Download(masked), values));
    return values;
  });
  double sum = 0.0;
  for (size_t j = 0; j < m; ++j) {
    const float value = got[m + j];
    if (j % 3 != 1) REQUIRE(value == 0.0f);
    sum += double{value};
    REQUIRE(got[2 * m + j] == 0.0f);
    REQUIRE(std::isnan(got[3 * m + j]));  // What is not a number must not be hidden.
  }
  REQUIRE(sum == Approx(1.0));
}

TEST_CASE("The cross-entropy of a row of -inf is not a number") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor x = device.Upload(std::vector<float>(3, -INFINITY), {1, 3});
  const Tensor loss = *ctx.Empty({1}), y = *ctx.Empty({1, 3});
  const Tensor targets = device.Upload<int32_t>({1}, {1});
  REQUIRE(SoftmaxCrossEntropyForward(ctx, x, targets, Tensor(), loss, y).ok());
  REQUIRE(std::isnan(device.Download(loss)[0]));
}

TEST_CASE("Masked softmax is the softmax of the first entries, and zero beyond") {
  for (const auto [n, m] : kMatrices) {
    CAPTURE(n, m);
    const std::vector<float> x = Logits(n * m);
    std::vector<int32_t> counts;
    for (int64_t i = 0; i < n; ++i) counts.push_back(static_cast<int32_t>((i * 7 + m) % (m + 3)));
    const std::vector<float> got = RunEverywhere([&, n = n, m = m](TestDevice& device) {
      const Tensor y = *device.ctx->Empty({n, m});
      const Tensor tc = device.Upload(counts, {n});
      REQUIRE(MaskedSoftmaxForward(*device.ctx, device.Upload(x, {n, m}), tc, y).ok());
      return device.Download(y);
    });
    Doubles want;
    double log_sum = 0.0;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t count = std::min<int64_t>(counts[static_cast<size_t>(i)], m);
      const Doubles all = ToDouble(x);
      const Doubles row(all.begin() + i * m, all.begin() + i * m + count);
      Doubles y = count == 0 ? Doubles() : SoftmaxOracle(row, 0, count, &log_sum);
      y.resize(static_cast<size_t>(m), 0.0);
      want.insert(want.end(), y.begin(), y.end());
    }
    RequireUlps(got, want, 20 + 4 + static_cast<double>(m) / 4 + 3);
  }
}

TEST_CASE("The slope of masked softmax is that of softmax, and zero for what is masked") {
  constexpr int64_t n = 4, m = 5;
  const std::vector<float> x = RandomFloats(1, n * m), dy = RandomFloats(2, n * m);
  const std::vector<int32_t> counts = {5, 3, 1, 0};
  const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
    const Tensor y = *device.ctx->Empty({n, m}), dx = *device.ctx->Zeros({n, m});
    REQUIRE(
        MaskedSoftmaxForward(*device.ctx, device.Upload(x, {n, m}), device.Upload(counts, {n}), y)
            .ok());
    REQUIRE(SoftmaxBackward(*device.ctx, y, device.Upload(dy, {n, m}), dx).ok());
    return device.Download(dx);
  });
  RequireGradient(ToDouble(x), got, [&](const Doubles& at) {
    double loss = 0.0, log_sum = 0.0;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t count = counts[static_cast<size_t>(i)];
      if (count == 0) continue;
      const Doubles row(at.begin() + i * m, at.begin() + i * m + count);
      const Doubles y = SoftmaxOracle(row, 0, count, &log_sum);
      for (int64_t j = 0; j < count; ++j) {
        loss += dy[static_cast<size_t>(i * m + j)] * y[static_cast<size_t>(j)];
      }
    }
    return loss;
  });
}

TEST_CASE("Softmax survives extreme logits and passes NaN on") {
  TestDevice device;
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor y = *device.ctx->Empty({3, 3});
  const std::vector<float> x = {3e38f, -3e38f, 0, 1, 2, std::nanf(""), 5, -inf, 5};
  REQUIRE(SoftmaxForward(*device.ctx, device.Upload(x, {3, 3}), y).ok());
  const std::vector<float> got = device.Download(y);
  REQUIRE(Slice(got, 0, 3) == std::vector<float>{1, 0, 0});
  for (int i = 3; i < 6; ++i) REQUIRE(std::isnan(got[static_cast<size_t>(i)]));
  REQUIRE(Slice(got, 6, 3) == std::vector<float>{0.5f, 0, 0.5f});
}

TEST_CASE("SoftmaxBackward is the slope of softmax, added to dx") {
  for (const auto [n, m] : {Matrix{0, 5}, {1, 1}, {5, 3}, {3, 37}}) {
    CAPTURE(n, m);
    const std::vector<float> x = RandomFloats(1, n * m), dy = RandomFloats(2, n * m);
    const std::vector<float> old = RandomFloats(3, n * m);
    const std::vector<float> got = RunEverywhere([&, n = n, m = m](TestDevice& device) {
      const Tensor y = *device.ctx->Empty({n, m});
      REQUIRE(SoftmaxForward(*device.ctx, device.Upload(x, {n, m}), y).ok());
      const Tensor dx = device.Upload(old, {n, m});
      REQUIRE(SoftmaxBackward(*device.ctx, y, device.Upload(dy, {n, m}), dx).ok());
      return device.Download(dx);
    });
    RequireGradient(ToDouble(x), got, [&, n = n, m = m](const Doubles& at) {
      double loss = 0.0, log_sum = 0.0;
      for (int64_t i = 0; i < n; ++i) {
        const Doubles y = SoftmaxOracle(at, i, m, &log_sum);
        for (int64_t j = 0; j < m; ++j) {
          const size_t k = static_cast<size_t>(i * m + j);
          loss += dy[k] * y[static_cast<size_t>(j)] + old[k] * at[k];
        }
      }
      return loss;
    });
  }
}

TEST_CASE("Softmax cross-entropy and its slope, weighted, with skipped rows") {
  for (const auto [n, m] : {Matrix{0, 5}, {1, 1}, {17, 3}, {9, 37}}) {
    for (bool weighted : {true, false}) {
      CAPTURE(n, m, weighted);
      const std::vector<float> x = Logits(n * m), dloss = RandomFloats(2, n);
      const std::vector<float> old = RandomFloats(3, n * m), weights = RandomFloats(4, n);
      const std::vector<int32_t> targets = Targets(n, m);
      const std::vector<float> got = RunEverywhere([&, n = n, m = m](TestDevice& device) {
        const Tensor tt = device.Upload(targets, {n});
        const Tensor tw = weighted ? device.Upload(weights, {n}) : Tensor();
        const Tensor loss = *device.ctx->Empty({n}), y = *device.ctx->Empty({n, m});
        REQUIRE(SoftmaxCrossEntropyForward(*device.ctx, device.Upload(x, {n, m}), tt, tw, loss, y)
                    .ok());
        const Tensor dx = device.Upload(old, {n, m});
        REQUIRE(SoftmaxCrossEntropyBackward(*device.ctx, y, tt, tw, device.Upload(dloss, {n}), dx)
                    .ok());
        std::vector<float> all = device.Download(loss);
        Append(&all, device.Download(dx));
        return all;
      });
      const auto loss_of = [&, m = m](const Doubles& at, int64_t i) {
        const size_t k = static_cast<size_t>(i);
        if (targets[k] < 0) return 0.0;
        double log_sum = 0.0;
        SoftmaxOracle(at, i, m, &log_sum);
        return (weighted ? weights[k] : 1.0) *
               (log_sum - at[static_cast<size_t>(i * m + targets[k])]);
      };
      Doubles want;
      for (int64_t i = 0; i < n; ++i) want.push_back(loss_of(ToDouble(x), i));
      // log sum exp and x are at most 14 and are rounded before they are subtracted.
      RequireWithin(Slice(got, 0, n), want, [](size_t) { return 64 * kUnitRoundoff; });
      RequireGradient(ToDouble(x), Slice(got, n, n * m), [&, n = n](const Doubles& at) {
        double loss = 0.0;
        for (int64_t i = 0; i < n; ++i) loss += dloss[static_cast<size_t>(i)] * loss_of(at, i);
        for (size_t k = 0; k < at.size(); ++k) loss += old[k] * at[k];
        return loss;
      });
    }
  }
}

TEST_CASE("A target outside the classes makes the loss NaN and no gradient") {
  TestDevice device;
  const Tensor x = *device.ctx->Zeros({3, 2}), loss = *device.ctx->Zeros({3});
  const Tensor y = *device.ctx->Zeros({3, 2}), dx = *device.ctx->Zeros({3, 2});
  const Tensor targets = device.Upload<int32_t>({2, -2, 1}, {3});
  REQUIRE(SoftmaxCrossEntropyForward(*device.ctx, x, targets, Tensor(), loss, y).ok());
  const std::vector<float> got = device.Download(loss);
  REQUIRE(std::isnan(got[0]));
  REQUIRE(std::isnan(got[1]));
  REQUIRE(got[2] == Approx(std::log(2.0)));
  const Tensor ones = device.Upload<float>({1, 1, 1}, {3});
  REQUIRE(SoftmaxCrossEntropyBackward(*device.ctx, y, targets, Tensor(), ones, dx).ok());
  REQUIRE(Slice(device.Download(dx), 0, 4) == std::vector<float>(4, 0.0f));
}

TEST_CASE("Softmax refuses operands that do not fit") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor x = *ctx.Zeros({3, 2}), n = *ctx.Zeros({3}), y = *ctx.Zeros({2, 3});
  const Tensor targets = device.Upload<int32_t>({0, 0, 0}, {3});
  RequireInvalid(SoftmaxForward(ctx, x, y), "SoftmaxForward: y has shape [2, 3], expected [3, 2]");
  RequireInvalid(SoftmaxBackward(ctx, x, y, x), "SoftmaxBackward: dy");
  RequireInvalid(SoftmaxCrossEntropyForward(ctx, x, n, Tensor(), n, x),
                 "SoftmaxCrossEntropyForward: targets has type f32, expected i32");
  RequireInvalid(SoftmaxCrossEntropyForward(ctx, x, targets, x, n, x), "weights has shape [3, 2]");
  RequireInvalid(SoftmaxCrossEntropyBackward(ctx, x, targets, Tensor(), n, y),
                 "SoftmaxCrossEntropyBackward: dx has shape [2, 3], expected [3, 2]");
}

}  // namespace pagoda
