#include "kernels/elementwise.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

constexpr int64_t kSizes[] = {0, 1, 17, 257, 1023, 40000};
struct Matrix {
  int64_t n, d;
};
constexpr Matrix kMatrices[] = {{0, 5},  {5, 0},    {1, 1},    {17, 3},
                                {3, 17}, {257, 33}, {1023, 1}, {700, 129}};

using BinaryOp = absl::Status (*)(Context&, const Tensor&, const Tensor&, const Tensor&);

void CheckBinary(BinaryOp op, const std::function<double(double, double, double)>& exact,
                 double ulps) {
  for (int64_t n : kSizes) {
    CAPTURE(n);
    const std::vector<float> a = RandomFloats(1, n), b = RandomFloats(2, n);
    const std::vector<float> old = RandomFloats(3, n);
    const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
      const Tensor out = device.Upload(old, {n});
      REQUIRE(op(*device.ctx, device.Upload(a, {n}), device.Upload(b, {n}), out).ok());
      return device.Download(out);
    });
    Doubles want;
    for (size_t i = 0; i < a.size(); ++i) want.push_back(exact(a[i], b[i], old[i]));
    RequireWithin(got, want, [&](size_t) { return ulps * kUnitRoundoff; });
    // The output may be either input.
    for (int which : {0, 1}) {
      const std::vector<float> aliased = RunEverywhere([&](TestDevice& device) {
        const Tensor ta = device.Upload(a, {n}), tb = device.Upload(b, {n});
        REQUIRE(op(*device.ctx, ta, tb, which == 0 ? ta : tb).ok());
        return device.Download(which == 0 ? ta : tb);
      });
      for (size_t i = 0; i < a.size(); ++i) want[i] = exact(a[i], b[i], which == 0 ? a[i] : b[i]);
      RequireWithin(aliased, want, [&](size_t) { return ulps * kUnitRoundoff; });
    }
  }
}

}  // namespace

TEST_CASE("Add, Multiply and MultiplyAdd follow their formulas, aliased or not") {
  CheckBinary(
      Add, [](double a, double b, double) { return a + b; }, 2.0);
  CheckBinary(
      Multiply, [](double a, double b, double) { return a * b; }, 1.0);
  CheckBinary(
      MultiplyAdd, [](double a, double b, double old) { return old + a * b; }, 3.0);
}

TEST_CASE("AxpBy blends, and reads out only when beta is not 0") {
  struct Factors {
    float alpha, beta;
  };
  for (const Factors f : {Factors{1, 0}, {1, 1}, {-0.5f, 0}, {0.25f, 1}, {1, 0.5f}, {0, 2}}) {
    for (int64_t n : kSizes) {
      CAPTURE(f.alpha, f.beta, n);
      const std::vector<float> x = RandomFloats(1, n), old = RandomFloats(2, n);
      const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
        // Fresh memory is NaN on the fake device.
        const Tensor out = f.beta == 0 ? *device.ctx->Empty({n}) : device.Upload(old, {n});
        REQUIRE(AxpBy(*device.ctx, f.alpha, device.Upload(x, {n}), f.beta, out).ok());
        return device.Download(out);
      });
      Doubles want;
      for (size_t i = 0; i < x.size(); ++i) want.push_back(f.alpha * x[i] + f.beta * old[i]);
      RequireWithin(got, want, [](size_t) { return 8.0 * kUnitRoundoff; });
    }
  }
}

TEST_CASE("Divide divides and blends, and reads out only when beta is not 0") {
  for (const float beta : {0.0f, 1.0f, 0.5f}) {
    for (int64_t n : kSizes) {
      CAPTURE(beta, n);
      const std::vector<float> a = RandomFloats(1, n), old = RandomFloats(3, n);
      std::vector<float> b = RandomFloats(2, n);
      for (float& value : b) value += value < 0.0f ? -0.5f : 0.5f;
      const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
        const Tensor out = beta == 0 ? *device.ctx->Empty({n}) : device.Upload(old, {n});
        REQUIRE(Divide(*device.ctx, -2.0f, device.Upload(a, {n}), device.Upload(b, {n}), beta, out)
                    .ok());
        return device.Download(out);
      });
      std::vector<Exact> want(a.size());
      for (size_t i = 0; i < a.size(); ++i) {
        want[i].Add(-2.0 * double{a[i]} / double{b[i]});
        want[i].Add(double{beta} * double{old[i]});
      }
      RequireNear(got, want);
    }
  }
}

TEST_CASE("Exp, Log and Affine follow their formulas, in place too") {
  for (int64_t n : kSizes) {
    CAPTURE(n);
    std::vector<float> x = RandomFloats(1, n);
    for (float& value : x) value = 5.0f * (value + 1.1f);
    const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
      const Tensor in = device.Upload(x, {n}), out = *device.ctx->Empty({n});
      REQUIRE(Log(*device.ctx, in, out).ok());
      std::vector<float> all = device.Download(out);
      REQUIRE(Affine(*device.ctx, -3.0f, in, 0.5f, out).ok());
      Append(&all, device.Download(out));
      REQUIRE(Exp(*device.ctx, in, in).ok());
      Append(&all, device.Download(in));
      return all;
    });
    Doubles want;
    for (float value : x) want.push_back(std::log(double{value}));
    for (float value : x) want.push_back(-3.0 * double{value} + 0.5);
    for (float value : x) want.push_back(std::exp(double{value}));
    const size_t size = x.size();
    RequireWithin(got, want, [&](size_t i) {
      const double magnitude = i / std::max<size_t>(size, 1) == 1 ? 34.0 : std::fabs(want[i]);
      return 8.0 * kUnitRoundoff * magnitude + 1e-9;
    });
  }
  TestDevice device;
  const Tensor ends = device.Upload<float>({0.0f, -1.0f}, {2});
  REQUIRE(Log(*device.ctx, ends, ends).ok());
  REQUIRE(device.Download(ends)[0] == -std::numeric_limits<float>::infinity());
  REQUIRE(std::isnan(device.Download(ends)[1]));
}

TEST_CASE("Clip keeps what is inside and passes its slope, ends included") {
  for (const float beta : {0.0f, 1.0f, 0.5f}) {
    for (int64_t n : kSizes) {
      CAPTURE(beta, n);
      std::vector<float> x = RandomFloats(1, n);
      if (n > 16) x[3] = -0.25f;
      if (n > 16) x[16] = 0.5f;
      const std::vector<float> dy = RandomFloats(2, n), old = RandomFloats(3, n);
      const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
        const Tensor in = device.Upload(x, {n}), out = *device.ctx->Empty({n});
        REQUIRE(Clip(*device.ctx, in, -0.25f, 0.5f, out).ok());
        const Tensor dx = beta == 0 ? *device.ctx->Empty({n}) : device.Upload(old, {n});
        REQUIRE(ClipBackward(*device.ctx, in, -0.25f, 0.5f, device.Upload(dy, {n}), beta, dx).ok());
        std::vector<float> all = device.Download(out);
        Append(&all, device.Download(dx));
        return all;
      });
      std::vector<Exact> want(got.size());
      for (size_t i = 0; i < x.size(); ++i) {
        want[i].Add(std::min(std::max(double{x[i]}, -0.25), 0.5));
        const bool inside = x[i] >= -0.25f && x[i] <= 0.5f;
        want[x.size() + i].Add(inside ? double{dy[i]} : 0.0);
        want[x.size() + i].Add(double{beta} * double{old[i]});
      }
      RequireNear(got, want);
    }
  }
  TestDevice device;
  const Tensor x = device.Upload<float>({std::numeric_limits<float>::quiet_NaN()}, {1});
  REQUIRE(Clip(*device.ctx, x, 0.0f, 1.0f, x).ok());
  REQUIRE(std::isnan(device.Download(x)[0]));
}

TEST_CASE("Fill and BroadcastScalar write everywhere") {
  for (int64_t n : kSizes) {
    CAPTURE(n);
    const std::vector<float> old = RandomFloats(1, n);
    const std::vector<float> filled = RunEverywhere([&](TestDevice& device) {
      const Tensor out = *device.ctx->Empty({n});
      REQUIRE(Fill(*device.ctx, 2.5f, out).ok());
      return device.Download(out);
    });
    REQUIRE(filled == std::vector<float>(static_cast<size_t>(n), 2.5f));
    for (float beta : {0.0f, 1.0f, 0.5f}) {
      const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
        const Tensor out = beta == 0 ? *device.ctx->Empty({n}) : device.Upload(old, {n});
        const Tensor scalar = device.Upload<float>({3.0f}, {});
        REQUIRE(BroadcastScalar(*device.ctx, 0.5f, scalar, beta, out).ok());
        return device.Download(out);
      });
      Doubles want;
      for (float value : old) want.push_back(beta * value + 1.5);
      RequireWithin(got, want, [](size_t) { return 4.0 * kUnitRoundoff; });
    }
  }
}

TEST_CASE("AddRowVector and ScaleRows broadcast") {
  for (const auto [n, d] : kMatrices) {
    CAPTURE(n, d);
    const std::vector<float> x = RandomFloats(1, n * d), v = RandomFloats(2, d);
    const std::vector<float> s = RandomFloats(3, n);
    const std::vector<float> got = RunEverywhere([&, n = n, d = d](TestDevice& device) {
      const Tensor tx = device.Upload(x, {n, d});
      const Tensor out = *device.ctx->Empty({n, d});
      REQUIRE(AddRowVector(*device.ctx, tx, device.Upload(v, {d}), out).ok());
      std::vector<float> all = device.Download(out);
      REQUIRE(ScaleRows(*device.ctx, tx, device.Upload(s, {n}), tx).ok());  // In place.
      Append(&all, device.Download(tx));
      return all;
    });
    Doubles want(got.size());
    for (int64_t i = 0; i < n * d; ++i) {
      const size_t k = static_cast<size_t>(i);
      want[k] = static_cast<double>(x[k]) + v[static_cast<size_t>(i % d)];
      want[k + x.size()] = static_cast<double>(x[k]) * s[static_cast<size_t>(i / d)];
    }
    RequireWithin(got, want, [](size_t) { return 2.0 * kUnitRoundoff; });
  }
}

TEST_CASE("Sums over rows, columns and products of rows") {
  for (const auto [n, d] : kMatrices) {
    for (float beta : {0.0f, 1.0f, 0.5f}) {
      CAPTURE(n, d, beta);
      const std::vector<float> a = RandomFloats(1, n * d), b = RandomFloats(2, n * d);
      const std::vector<float> old = RandomFloats(3, n + n + d);
      const std::vector<float> got = RunEverywhere([&, n = n, d = d](TestDevice& device) {
        const Tensor ta = device.Upload(a, {n, d}), tb = device.Upload(b, {n, d});
        const Tensor out =
            beta == 0 ? *device.ctx->Empty({n + n + d}) : device.Upload(old, {n + n + d});
        REQUIRE(SumColumns(*device.ctx, ta, beta, out.Flat(0, {n})).ok());
        REQUIRE(DotRows(*device.ctx, ta, tb, beta, out.Flat(n, {n})).ok());
        REQUIRE(SumRows(*device.ctx, ta, beta, out.Flat(n + n, {d})).ok());
        return device.Download(out);
      });
      std::vector<Exact> want(got.size());
      for (size_t i = 0; i < want.size(); ++i) want[i].Add(beta * old[i]);
      for (int64_t i = 0; i < n * d; ++i) {
        const double ai = a[static_cast<size_t>(i)], bi = b[static_cast<size_t>(i)];
        want[static_cast<size_t>(i / d)].Add(ai);
        want[static_cast<size_t>(n + i / d)].Add(ai * bi);
        want[static_cast<size_t>(n + n + i % d)].Add(ai);
      }
      RequireNear(got, want);
    }
  }
}

TEST_CASE("SumAll adds in double") {
  for (int64_t n : kSizes) {
    CAPTURE(n);
    const std::vector<float> x = RandomFloats(1, n);
    const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
      const Tensor out = *device.ctx->Empty({});
      REQUIRE(SumAll(*device.ctx, device.Upload(x, {n}), out).ok());
      return device.Download(out);
    });
    double sum = 0.0;
    for (float value : x) sum += value;
    REQUIRE(std::fabs(got[0] - sum) <= kUnitRoundoff * std::fabs(sum) + 1e-10);
  }
  // A float sum would stay at 2^24.
  std::vector<float> x(40001, 1.0f);
  x[0] = 16777216.0f;
  TestDevice device;
  const Tensor out = *device.ctx->Empty({});
  REQUIRE(SumAll(*device.ctx, device.Upload(x, {40001}), out).ok());
  REQUIRE(device.Download(out)[0] == 16817216.0f);
}

TEST_CASE("Elementwise operators refuse operands that do not fit, and write nothing") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor a = device.Upload<float>({1, 2, 3, 4, 5, 6}, {2, 3});
  const Tensor b = device.Upload<float>({1, 2, 3, 4, 5, 6}, {3, 2});
  const Tensor v = device.Upload<float>({1, 2}, {2});
  const Tensor out = device.Upload<float>({9, 9, 9, 9, 9, 9}, {2, 3});
  RequireInvalid(Add(ctx, a, b, out), "Add: b has shape [3, 2], expected [2, 3]");
  RequireInvalid(Multiply(ctx, a, a, b), "Multiply: out");
  RequireInvalid(MultiplyAdd(ctx, a, Tensor(), out), "MultiplyAdd: b is absent");
  RequireInvalid(AxpBy(ctx, 1.0f, b, 0.0f, out), "AxpBy: out has shape [2, 3], expected [3, 2]");
  RequireInvalid(AddRowVector(ctx, a, v, out), "AddRowVector: v has shape [2], expected [3]");
  RequireInvalid(ScaleRows(ctx, b, v, out), "ScaleRows: s has shape [2], expected [3]");
  RequireInvalid(SumRows(ctx, a, 0.0f, v), "SumRows: out has shape [2], expected [3]");
  RequireInvalid(SumColumns(ctx, b, 0.0f, v), "SumColumns: out has shape [2], expected [3]");
  RequireInvalid(DotRows(ctx, a, b, 0.0f, v), "DotRows: b");
  RequireInvalid(SumAll(ctx, a, v), "SumAll: out has shape [2], expected []");
  RequireInvalid(BroadcastScalar(ctx, 1.0f, v, 0.0f, out), "BroadcastScalar: s");
  RequireInvalid(Divide(ctx, 1.0f, a, b, 0.0f, out), "Divide: b");
  RequireInvalid(Exp(ctx, b, out), "Exp: out");
  RequireInvalid(Log(ctx, Tensor(), out), "Log: x is absent");
  RequireInvalid(Affine(ctx, 1.0f, b, 0.0f, out), "Affine: out");
  RequireInvalid(Clip(ctx, b, 0.0f, 1.0f, out), "Clip: out");
  RequireInvalid(Clip(ctx, a, 1.0f, 0.5f, out), "low must not be above high");
  RequireInvalid(ClipBackward(ctx, a, 0.0f, 1.0f, b, 0.0f, out), "ClipBackward: dy");
  RequireInvalid(ClipBackward(ctx, a, 1.0f, 0.0f, a, 0.0f, out), "low must not be above high");
  RequireInvalid(Fill(ctx, 1.0f, Tensor()), "Fill: out is absent");
  REQUIRE(device.Download(out) == std::vector<float>(6, 9.0f));
  REQUIRE(device.Download(v) == std::vector<float>{1, 2});
}

}  // namespace pagoda
