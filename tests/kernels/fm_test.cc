#include "kernels/fm.h"

#include <algorithm>
#include <cmath>

#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

// Row i of out, in double, with the terms that the two sums of squares hold.
Exact OracleFm(const std::vector<double>& x, int64_t i, int64_t f, int64_t d) {
  Exact total;
  // (sum)^2 carries the roundings of the sum twice.
  total.roundings = static_cast<double>(2 * f + d + 8);
  for (int64_t c = 0; c < d; ++c) {
    double sum = 0.0, magnitude = 0.0, squares = 0.0;
    for (int64_t k = 0; k < f; ++k) {
      const double value = x[static_cast<size_t>((i * f + k) * d + c)];
      sum += value;
      magnitude += std::fabs(value);
      squares += value * value;
    }
    total.value += 0.5 * (sum * sum - squares);
    total.magnitude += 0.5 * (magnitude * magnitude + squares);
  }
  return total;
}

TEST_CASE("FM second-order term, forward and backward, at many shapes") {
  const int64_t n = GENERATE(0, 1, 77);
  const int64_t f = GENERATE(0, 1, 2, 27);
  const int64_t d = GENERATE(1, 3, 8, 15, 16, 33);
  CAPTURE(n, f, d);
  const std::vector<float> x = RandomFloats(1, n * f * d);
  const std::vector<float> out = RunEverywhere([&](TestDevice& device) {
    const Tensor to = device.Upload(std::vector<float>(static_cast<size_t>(n), -1.0f), {n});
    REQUIRE(FmForward(*device.ctx, device.Upload(x, {n, f, d}), to).ok());
    return device.Download(to);
  });
  std::vector<Exact> want;
  for (int64_t i = 0; i < n; ++i) want.push_back(OracleFm(ToDouble(x), i, f, d));
  RequireNear(out, want);

  const std::vector<float> dout = RandomFloats(2, n);
  const float beta = GENERATE(0.0f, 1.0f, -0.5f);
  std::vector<float> old = RandomFloats(3, n * f * d);
  if (beta == 0.0f) std::fill(old.begin(), old.end(), NAN);  // Must not be read.
  const std::vector<float> dx = RunEverywhere([&](TestDevice& device) {
    const Tensor to = device.Upload(old, {n, f, d});
    REQUIRE(FmBackward(*device.ctx, device.Upload(x, {n, f, d}), device.Upload(dout, {n}), beta, to)
                .ok());
    return device.Download(to);
  });
  std::vector<Exact> gradient(dx.size(), Exact{.roundings = 5.0});
  for (int64_t e = 0; e < n * f * d; ++e) {
    Exact& to = gradient[static_cast<size_t>(e)];
    if (beta != 0.0f) to.Add(double{beta} * old[static_cast<size_t>(e)]);
    const int64_t i = e / (f * d);
    for (int64_t k = 0; k < f; ++k) {  // The row's own value is added and taken away again.
      const float value = x[static_cast<size_t>((i * f + k) * d + e % d)];
      to.Add(double{dout[static_cast<size_t>(i)]} * value);
    }
    const double own = double{dout[static_cast<size_t>(i)]} * x[static_cast<size_t>(e)];
    to.value -= own;
    to.magnitude += std::fabs(own);
  }
  RequireNear(dx, gradient);
}

TEST_CASE("FM backward is the slope of forward") {
  const std::vector<float> x = RandomFloats(4, 3 * 4 * 5);
  const std::vector<float> weights = RandomFloats(5, 3);
  TestDevice device;
  const Tensor dx = device.Upload(std::vector<float>(60), {3, 4, 5});
  REQUIRE(
      FmBackward(*device.ctx, device.Upload(x, {3, 4, 5}), device.Upload(weights, {3}), 0.0f, dx)
          .ok());
  RequireSlopes(ToDouble(x), device.Download(dx), [&](const std::vector<double>& at) {
    double loss = 0.0;
    for (int64_t i = 0; i < 3; ++i) {
      loss += weights[static_cast<size_t>(i)] * OracleFm(at, i, 4, 5).value;
    }
    return loss;
  });
}

TEST_CASE("FM refuses operands that do not fit") {
  TestDevice device;
  const Tensor x = device.Upload(std::vector<float>(60), {3, 4, 5});
  const Tensor out = device.Upload(std::vector<float>(3), {3});
  RequireInvalid(FmForward(*device.ctx, x.Reshape({3, 20}), out), "x has shape [3, 20]");
  RequireInvalid(FmForward(*device.ctx, x, out.Rows(0, 2)), "out has shape [2], expected [3]");
  RequireInvalid(FmForward(*device.ctx, Tensor(), out), "x is absent");
  RequireInvalid(FmBackward(*device.ctx, x, out, 0.0f, x.Rows(0, 2)), "dx has shape [2, 4, 5]");
  RequireInvalid(FmBackward(*device.ctx, x, Tensor(), 0.0f, x), "dout is absent");
}

}  // namespace
}  // namespace pagoda
