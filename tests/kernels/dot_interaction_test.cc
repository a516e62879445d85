#include "kernels/dot_interaction.h"

#include <algorithm>
#include <cmath>

#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

int64_t Pairs(int64_t f) {
  return f * (f - 1) / 2;
}

std::vector<Exact> OracleForward(const std::vector<double>& x, int64_t n, int64_t f, int64_t d) {
  std::vector<Exact> out;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t a = 1; a < f; ++a) {
      for (int64_t b = 0; b < a; ++b) {
        Exact dot;
        for (int64_t k = 0; k < d; ++k) {
          dot.Add(x[static_cast<size_t>((i * f + a) * d + k)] *
                  x[static_cast<size_t>((i * f + b) * d + k)]);
        }
        out.push_back(dot);
      }
    }
  }
  return out;
}

std::vector<Exact> OracleBackward(const std::vector<float>& x, const std::vector<float>& dout,
                                  float beta, const std::vector<float>& old, int64_t n, int64_t f,
                                  int64_t d) {
  std::vector<Exact> dx(x.size());
  for (size_t e = 0; e < dx.size(); ++e) {
    dx[e].roundings = 3.0;
    if (beta != 0.0f) dx[e].Add(double{beta} * old[e]);
  }
  size_t pair = 0;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t a = 1; a < f; ++a) {
      for (int64_t b = 0; b < a; ++b, ++pair) {
        for (int64_t k = 0; k < d; ++k) {
          const size_t at_a = static_cast<size_t>((i * f + a) * d + k);
          const size_t at_b = static_cast<size_t>((i * f + b) * d + k);
          dx[at_a].Add(double{dout[pair]} * x[at_b]);
          dx[at_b].Add(double{dout[pair]} * x[at_a]);
        }
      }
    }
  }
  return dx;
}

TEST_CASE("dot interaction, forward and backward, at many shapes") {
  const int64_t n = GENERATE(0, 1, 53);
  const int64_t f = GENERATE(0, 1, 2, 5, 8, 9, 16, 17, 27, 33, 40);
  const int64_t d = GENERATE(1, 3, 8, 16, 19, 64);
  CAPTURE(n, f, d);
  const std::vector<float> x = RandomFloats(1, n * f * d);
  const std::vector<float> out = RunEverywhere([&](TestDevice& device) {
    const Tensor to = device.Upload(RandomFloats(9, n * Pairs(f)), {n, Pairs(f)});
    REQUIRE(DotInteractionForward(*device.ctx, device.Upload(x, {n, f, d}), to).ok());
    return device.Download(to);
  });
  RequireNear(out, OracleForward(ToDouble(x), n, f, d));

  const std::vector<float> dout = RandomFloats(2, n * Pairs(f));
  const float beta = GENERATE(0.0f, 1.0f, -0.5f);
  std::vector<float> old = RandomFloats(3, n * f * d);
  if (beta == 0.0f) std::fill(old.begin(), old.end(), NAN);  // Must not be read.
  const std::vector<float> dx = RunEverywhere([&](TestDevice& device) {
    const Tensor to = device.Upload(old, {n, f, d});
    REQUIRE(DotInteractionBackward(*device.ctx, device.Upload(x, {n, f, d}),
                                   device.Upload(dout, {n, Pairs(f)}), beta, to)
                .ok());
    return device.Download(to);
  });
  RequireNear(dx, OracleBackward(x, dout, beta, old, n, f, d));
}

TEST_CASE("dot interaction writes nothing beyond its samples") {
  // Samples 1 and 2 of four; the others must keep their bits.
  const int64_t f = GENERATE(2, 7, 17, 27);
  CAPTURE(f);
  TestDevice device;
  const std::vector<float> before = RandomFloats(4, 4 * Pairs(f));
  const Tensor out = device.Upload(before, {4, Pairs(f)});
  const Tensor x = device.Upload(RandomFloats(5, 2 * f * 16), {2, f, 16});
  REQUIRE(DotInteractionForward(*device.ctx, x, out.Rows(1, 3)).ok());
  const std::vector<float> after = device.Download(out);
  for (int64_t e = 0; e < 4 * Pairs(f); ++e) {
    const bool inside = e >= Pairs(f) && e < 3 * Pairs(f);
    REQUIRE((after[static_cast<size_t>(e)] == before[static_cast<size_t>(e)]) == !inside);
  }
}

TEST_CASE("dot interaction backward is the slope of forward") {
  const int64_t f = 11, d = 3;
  const std::vector<float> x = RandomFloats(6, 2 * f * d);
  const std::vector<float> weights = RandomFloats(7, 2 * Pairs(f));
  TestDevice device;
  const Tensor dx = device.Upload(std::vector<float>(x.size()), {2, f, d});
  REQUIRE(DotInteractionBackward(*device.ctx, device.Upload(x, {2, f, d}),
                                 device.Upload(weights, {2, Pairs(f)}), 0.0f, dx)
              .ok());
  RequireSlopes(ToDouble(x), device.Download(dx), [&](const std::vector<double>& at) {
    const std::vector<Exact> out = OracleForward(at, 2, f, d);
    double loss = 0.0;
    for (size_t i = 0; i < out.size(); ++i) loss += weights[i] * out[i].value;
    return loss;
  });
}

TEST_CASE("dot interaction refuses operands that do not fit") {
  TestDevice device;
  const Tensor x = device.Upload(std::vector<float>(60), {3, 4, 5});
  const Tensor out = device.Upload(std::vector<float>(18), {3, 6});
  RequireInvalid(DotInteractionForward(*device.ctx, x.Reshape({3, 20}), out), "x has shape");
  RequireInvalid(DotInteractionForward(*device.ctx, x, out.Reshape({2, 9})), "out has shape");
  RequireInvalid(DotInteractionForward(*device.ctx, x, Tensor()), "out is absent");
  RequireInvalid(DotInteractionBackward(*device.ctx, x, out.Reshape({18}), 0.0f, x),
                 "dout has shape");
  RequireInvalid(DotInteractionBackward(*device.ctx, x, out, 0.0f, x.Rows(0, 1)), "dx has shape");
}

}  // namespace
}  // namespace pagoda
