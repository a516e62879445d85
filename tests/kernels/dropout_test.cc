#include "kernels/dropout.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

std::vector<float> RunDropout(const std::vector<float>& x, Shape shape, const DropoutArgs& args,
                              float beta, const std::vector<float>& old) {
  return RunEverywhere([&](TestDevice& device) {
    const Tensor out = beta == 0 ? *device.ctx->Empty(shape) : device.Upload(old, shape);
    REQUIRE(Dropout(*device.ctx, device.Upload(x, shape), args, beta, out).ok());
    return device.Download(out);
  });
}

}  // namespace

TEST_CASE("Dropout follows its formula element by element") {
  struct Matrix {
    int64_t n, d;
  };
  for (const auto [n, d] : {Matrix{0, 5}, {5, 0}, {1, 1}, {17, 3}, {257, 33}, {1023, 17}}) {
    for (float rate : {0.0f, 0.1f, 0.5f, 0.99f}) {
      for (float beta : {0.0f, 1.0f, 0.5f}) {
        CAPTURE(n, d, rate, beta);
        const DropoutArgs args{rate, RandomKey{99}.Derive(7), uint64_t{1} << 33};
        const std::vector<float> x = RandomFloats(1, n * d), old = RandomFloats(2, n * d);
        const std::vector<float> got = RunDropout(x, {n, d}, args, beta, old);
        for (size_t k = 0; k < x.size(); ++k) {
          const uint64_t i = k / static_cast<size_t>(d), j = k % static_cast<size_t>(d);
          const float u =
              RandomUniform(args.key, (args.first_row + i) * static_cast<uint64_t>(d) + j);
          const float kept = u >= rate ? x[k] * (1.0f / (1.0f - rate)) : 0.0f;
          REQUIRE(got[k] == (beta == 0 ? kept : beta * old[k] + kept));
        }
      }
    }
  }
}

TEST_CASE("The mask of a sample does not depend on the batch it comes in") {
  const std::vector<float> ones(64 * 10, 1.0f);
  const DropoutArgs whole{0.5f, RandomKey{3}, 100};
  const std::vector<float> all = RunDropout(ones, {64, 10}, whole, 0.0f, {});
  const DropoutArgs later{0.5f, RandomKey{3}, 140};
  const std::vector<float> tail = RunDropout(Slice(ones, 0, 240), {24, 10}, later, 0.0f, {});
  REQUIRE(Slice(all, 400, 240) == tail);
  // More dimensions: a row is everything but the first.
  REQUIRE(RunDropout(ones, {64, 5, 2}, whole, 0.0f, {}) == all);
}

TEST_CASE("DropoutRows follows its formula, each row by its own counter") {
  struct Matrix {
    int64_t n, d;
  };
  for (const auto [n, d] :
       {Matrix{0, 5}, {5, 0}, {1, 1}, {17, 3}, {257, 33}, {40, 64}, {3, 700}, {9, 1028}}) {
    for (float rate : {0.0f, 0.3f, 0.99f}) {
      for (float beta : {0.0f, 1.0f, 0.5f}) {
        CAPTURE(n, d, rate, beta);
        const DropoutArgs args{rate, RandomKey{99}.Derive(8), 12345};
        const std::vector<float> x = RandomFloats(1, n * d), old = RandomFloats(2, n * d);
        std::vector<int64_t> counters;  // In no order, far apart, negative ones too.
        for (int64_t i = 0; i < n; ++i) {
          counters.push_back((int64_t{1} << 40) - i * 987654321 - (i % 3) * (int64_t{1} << 41));
        }
        const std::vector<float> got = RunEverywhere([&, n = n, d = d](TestDevice& device) {
          const Tensor out = beta == 0 ? *device.ctx->Empty({n, d}) : device.Upload(old, {n, d});
          REQUIRE(DropoutRows(*device.ctx, device.Upload(x, {n, d}), device.Upload(counters, {n}),
                              args, beta, out)
                      .ok());
          return device.Download(out);
        });
        for (size_t k = 0; k < x.size(); ++k) {
          const uint64_t i = k / static_cast<size_t>(d), j = k % static_cast<size_t>(d);
          const float u = RandomUniform(args.key, static_cast<uint64_t>(counters[i]) + j);
          const float kept = u >= rate ? x[k] * (1.0f / (1.0f - rate)) : 0.0f;
          REQUIRE(got[k] == (beta == 0 ? kept : beta * old[k] + kept));
        }
      }
    }
  }
}

TEST_CASE("Dropout keeps the stated share and the mean") {
  constexpr int64_t n = 100000;
  for (float rate : {0.1f, 0.5f, 0.9f}) {
    CAPTURE(rate);
    const std::vector<float> got =
        RunDropout(std::vector<float>(n, 1.0f), {n, 1}, {rate, RandomKey{1}, 0}, 0.0f, {});
    const double kept = static_cast<double>(n - std::count(got.begin(), got.end(), 0.0f));
    const double sigma = std::sqrt(n * rate * (1.0 - rate));
    REQUIRE(std::fabs(kept - n * (1.0 - rate)) < 5 * sigma);
    double sum = 0.0;
    for (float value : got) sum += value;
    REQUIRE(sum == Approx(kept / (1.0 - rate)));
  }
}

TEST_CASE("Dropout refuses a rate outside [0, 1) and operands that do not fit") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor x = *ctx.Zeros({3, 2}), y = *ctx.Zeros({2, 3});
  for (float rate : {-0.1f, 1.0f, std::nanf("")}) {
    RequireInvalid(Dropout(ctx, x, {rate, RandomKey{}, 0}, 0.0f, x), "Dropout: rate is");
  }
  RequireInvalid(Dropout(ctx, x, {0.5f, RandomKey{}, 0}, 0.0f, y),
                 "Dropout: out has shape [2, 3], expected [3, 2]");
  const Tensor counters = *ctx.Zeros({3}, DType::kI64);
  RequireInvalid(DropoutRows(ctx, x, counters, {1.0f, RandomKey{}, 0}, 0.0f, x),
                 "DropoutRows: rate is");
  RequireInvalid(DropoutRows(ctx, x, *ctx.Zeros({2}, DType::kI64), {}, 0.0f, x),
                 "DropoutRows: counters has shape [2], expected [3]");
  RequireInvalid(DropoutRows(ctx, x, counters, {}, 0.0f, y), "DropoutRows: out has shape [2, 3]");
  RequireInvalid(DropoutRows(ctx, *ctx.Zeros({3}), counters, {}, 0.0f, x), "DropoutRows: x");
}

}  // namespace pagoda
