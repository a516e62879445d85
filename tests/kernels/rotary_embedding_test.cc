#include "kernels/rotary_embedding.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

struct Case {
  int64_t n, heads, width;
};
constexpr int64_t kPositions = 300;
constexpr double kBase = 10000.0;

std::vector<int32_t> Positions(int64_t n) {
  std::vector<int32_t> positions;
  for (int64_t i = 0; i < n; ++i) {
    positions.push_back(static_cast<int32_t>((i * 7 + 299) % kPositions));
  }
  return positions;
}

// By the formula, from the angles themselves.
Doubles Oracle(const Doubles& x, const Case& c, double sign) {
  const std::vector<int32_t> positions = Positions(c.n);
  Doubles y(x.size());
  for (int64_t i = 0; i < c.n; ++i) {
    for (int64_t h = 0; h < c.heads; ++h) {
      for (int64_t j = 0; j < c.width; j += 2) {
        const double angle =
            sign * positions[static_cast<size_t>(i)] *
            std::pow(kBase, -static_cast<double>(j) / static_cast<double>(c.width));
        const size_t at = static_cast<size_t>((i * c.heads + h) * c.width + j);
        y[at] = x[at] * std::cos(angle) - x[at + 1] * std::sin(angle);
        y[at + 1] = x[at] * std::sin(angle) + x[at + 1] * std::cos(angle);
      }
    }
  }
  return y;
}

}  // namespace

TEST_CASE("RotaryEmbedding turns pairs of columns by their angles, both ways, added too") {
  for (const Case& c : {Case{0, 2, 4},
                        {1, 1, 2},
                        {3, 1, 4},
                        {17, 3, 6},
                        {257, 2, 8},
                        {40, 5, 10},
                        {33, 1, 1026},
                        {5, 4, 64},
                        {6, 1, 0}}) {
    for (const bool inverse : {false, true}) {
      for (const float beta : {0.0f, 1.0f, 0.5f}) {
        CAPTURE(c.n, c.heads, c.width, inverse, beta);
        const Shape shape = {c.n, c.heads * c.width};
        const std::vector<float> x = RandomFloats(1, NumElements(shape));
        const std::vector<float> old = RandomFloats(2, NumElements(shape));
        const std::vector<float> turns = RotaryTurns(kPositions, c.width, kBase);
        const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
          const Tensor positions = device.Upload(Positions(c.n), {c.n});
          const Tensor table = device.Upload(turns, {kPositions, c.width});
          const Tensor in = device.Upload(x, shape);
          const Tensor out = beta == 0 ? *device.ctx->Empty(shape) : device.Upload(old, shape);
          REQUIRE(RotaryEmbedding(*device.ctx, in, positions, table, inverse, beta, out).ok());
          if (beta == 0.0f) {  // In place.
            REQUIRE(RotaryEmbedding(*device.ctx, in, positions, table, inverse, beta, in).ok());
            REQUIRE(SameBits(device.Download(in), device.Download(out)));
          }
          return device.Download(out);
        });
        Doubles want = Oracle(ToDouble(x), c, inverse ? -1.0 : 1.0);
        for (size_t k = 0; k < want.size(); ++k) want[k] += double{beta} * old[k];
        // Two products of factors of at most 1, of which the turns are rounded, and sums.
        RequireWithin(got, want, [&](size_t) { return 8 * kUnitRoundoff; });
      }
    }
  }
}

TEST_CASE("RotaryEmbedding the other way is the gradient, and undoes it") {
  const Case c = {5, 2, 6};
  const Shape shape = {c.n, c.heads * c.width};
  const std::vector<float> x = RandomFloats(3, NumElements(shape));
  const std::vector<float> dy = RandomFloats(4, NumElements(shape));
  const std::vector<float> turns = RotaryTurns(kPositions, c.width, kBase);
  std::vector<float> back;
  const std::vector<float> gradient = RunEverywhere([&](TestDevice& device) {
    const Tensor positions = device.Upload(Positions(c.n), {c.n});
    const Tensor table = device.Upload(turns, {kPositions, c.width});
    const Tensor y = *device.ctx->Empty(shape), dx = *device.ctx->Empty(shape);
    REQUIRE(RotaryEmbedding(*device.ctx, device.Upload(x, shape), positions, table, false, 0.0f, y)
                .ok());
    REQUIRE(RotaryEmbedding(*device.ctx, y, positions, table, true, 0.0f, y).ok());
    back = device.Download(y);
    REQUIRE(RotaryEmbedding(*device.ctx, device.Upload(dy, shape), positions, table, true, 0.0f, dx)
                .ok());
    return device.Download(dx);
  });
  RequireWithin(back, ToDouble(x), [](size_t) { return 8 * kUnitRoundoff; });
  RequireGradient(ToDouble(x), gradient, [&](const Doubles& at) {
    const Doubles y = Oracle(at, c, 1.0);
    double loss = 0.0;
    for (size_t k = 0; k < y.size(); ++k) loss += dy[k] * y[k];
    return loss;
  });
}

TEST_CASE("Turned queries and keys know how far apart they are, and not where") {
  constexpr int64_t kWidth = 8;
  const std::vector<float> turns = RotaryTurns(100, kWidth, kBase);
  const std::vector<float> q = RandomFloats(5, kWidth), k = RandomFloats(6, kWidth);
  const auto product = [&](int32_t at_q, int32_t at_k) {
    TestDevice device;
    const Tensor table = device.Upload(turns, {100, kWidth});
    std::vector<float> both = q;
    Append(&both, k);
    const Tensor x = device.Upload(both, {2, kWidth});
    const Tensor positions = device.Upload<int32_t>({at_q, at_k}, {2});
    REQUIRE(RotaryEmbedding(*device.ctx, x, positions, table, false, 0.0f, x).ok());
    const std::vector<float> turned = device.Download(x);
    double sum = 0.0;
    for (size_t j = 0; j < kWidth; ++j) sum += double{turned[j]} * turned[kWidth + j];
    return sum;
  };
  REQUIRE(product(7, 3) == Approx(product(97, 93)).margin(1e-5));
  REQUIRE(std::fabs(product(7, 3) - product(7, 4)) > 1e-3);
}

TEST_CASE("RotaryEmbedding refuses operands that do not fit") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor x = *ctx.Zeros({3, 6}), positions = *ctx.Zeros({3}, DType::kI32);
  const auto run = [&](const Tensor& in, const Tensor& at, const Shape& table, const Tensor& out) {
    return RotaryEmbedding(ctx, in, at, *ctx.Zeros(table), false, 0.0f, out);
  };
  RequireInvalid(run(x, positions, {9, 3}, x), "an odd number of columns");
  RequireInvalid(run(x, positions, {9, 4}, x), "not of whole heads");
  RequireInvalid(run(x, positions, {9, 0}, x), "not of whole heads");
  RequireInvalid(run(x, positions, {9, 2}, *ctx.Zeros({6, 3})), "out has shape [6, 3]");
  RequireInvalid(run(x, *ctx.Zeros({2}, DType::kI32), {9, 2}, x), "positions has shape [2]");
  RequireInvalid(run(*ctx.Zeros({3}), positions, {9, 2}, x), "RotaryEmbedding: x");
  REQUIRE(run(x, positions, {9, 2}, x).ok());
}

}  // namespace pagoda
