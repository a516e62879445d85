#include "kernels/average_pool.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

struct Case {
  int64_t n, d, window, stride;
};
// Windows that overlap, touch and leave gaps; ends that no window covers; packs of four and not.
constexpr Case kCases[] = {{0, 4, 2, 1},    {1, 1, 1, 1},    {3, 7, 3, 2},       {5, 8, 8, 3},
                           {7, 10, 3, 4},   {17, 100, 7, 3}, {300, 100, 50, 25}, {9, 64, 13, 6},
                           {2, 5000, 3, 1}, {33, 12, 2, 2},  {4, 16, 5, 4}};

std::vector<Exact> ForwardOracle(const Case& s, int64_t m, const std::vector<float>& x) {
  std::vector<Exact> want;
  for (int64_t i = 0; i < s.n; ++i) {
    for (int64_t j = 0; j < m; ++j) {
      Exact mean;
      for (int64_t c = j * s.stride; c < j * s.stride + s.window; ++c) {
        mean.Add(double{x[static_cast<size_t>(i * s.d + c)]} / static_cast<double>(s.window));
      }
      want.push_back(mean);
    }
  }
  return want;
}

std::vector<Exact> BackwardOracle(const Case& s, int64_t m, const std::vector<float>& dout,
                                  const std::vector<float>& old, float beta) {
  std::vector<Exact> want(old.size());
  for (size_t i = 0; i < old.size(); ++i) {
    if (beta != 0.0f) want[i].Add(double{beta} * double{old[i]});
  }
  for (int64_t i = 0; i < s.n; ++i) {
    for (int64_t j = 0; j < m; ++j) {
      for (int64_t c = j * s.stride; c < j * s.stride + s.window; ++c) {
        Exact& at = want[static_cast<size_t>(i * s.d + c)];
        at.Add(double{dout[static_cast<size_t>(i * m + j)]} / static_cast<double>(s.window));
        at.roundings += 2.0;
      }
    }
  }
  return want;
}

TEST_CASE("NumPoolWindows is floor((d - window) / stride) + 1, and none where it does not fit") {
  REQUIRE(NumPoolWindows(100, {50, 25}) == 3);
  REQUIRE(NumPoolWindows(100, {100, 50}) == 1);
  REQUIRE(NumPoolWindows(100, {25, 13}) == 6);
  REQUIRE(NumPoolWindows(7, {3, 2}) == 3);
  REQUIRE(NumPoolWindows(8, {3, 2}) == 3);
  REQUIRE(NumPoolWindows(3, {4, 1}) == 0);
}

TEST_CASE("AveragePool is the mean of each window, and its slope goes back to all of it") {
  for (const Case& s : kCases) {
    const AveragePoolArgs args = {s.window, s.stride};
    const int64_t m = NumPoolWindows(s.d, args);
    for (const float beta : {0.0f, 1.0f, 0.5f}) {
      CAPTURE(s.n, s.d, s.window, s.stride, beta);
      const std::vector<float> x = RandomFloats(1, s.n * s.d), old = RandomFloats(2, s.n * s.d);
      const std::vector<float> dout = RandomFloats(3, s.n * m);
      const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
        const Tensor out = *device.ctx->Empty({s.n, m});
        REQUIRE(AveragePoolForward(*device.ctx, device.Upload(x, {s.n, s.d}), args, out).ok());
        const Tensor dx =
            beta == 0 ? *device.ctx->Empty({s.n, s.d}) : device.Upload(old, {s.n, s.d});
        REQUIRE(
            AveragePoolBackward(*device.ctx, device.Upload(dout, {s.n, m}), args, beta, dx).ok());
        std::vector<float> all = device.Download(out);
        Append(&all, device.Download(dx));
        return all;
      });
      RequireNear(Slice(got, 0, s.n * m), ForwardOracle(s, m, x));
      RequireNear(Slice(got, s.n * m, s.n * s.d), BackwardOracle(s, m, dout, old, beta));
    }
  }
}

TEST_CASE("AveragePool's gradient is the slope of its oracle") {
  const Case s = {3, 11, 4, 3};
  const int64_t m = NumPoolWindows(s.d, {s.window, s.stride});
  const std::vector<float> x = RandomFloats(1, s.n * s.d), dout = RandomFloats(2, s.n * m);
  TestDevice device;
  const Tensor dx = *device.ctx->Empty({s.n, s.d});
  REQUIRE(AveragePoolBackward(*device.ctx, device.Upload(dout, {s.n, m}), {s.window, s.stride},
                              0.0f, dx)
              .ok());
  RequireSlopes(ToDouble(x), device.Download(dx), [&](const Doubles& at) {
    double sum = 0.0;
    for (int64_t i = 0; i < s.n; ++i) {
      for (int64_t j = 0; j < m; ++j) {
        for (int64_t c = 0; c < s.window; ++c) {
          sum += at[static_cast<size_t>(i * s.d + j * s.stride + c)] / 4.0 *
                 double{dout[static_cast<size_t>(i * m + j)]};
        }
      }
    }
    return sum;
  });
}

TEST_CASE("AveragePool refuses windows and shapes that do not fit, and writes nothing") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor x = device.Upload(RandomFloats(1, 12), {3, 4});
  const Tensor out = device.Upload<float>({9, 9, 9, 9, 9, 9}, {3, 2});
  RequireInvalid(AveragePoolForward(ctx, x, {5, 1}, out), "window is wider");
  RequireInvalid(AveragePoolForward(ctx, x, {0, 1}, out), "window");
  RequireInvalid(AveragePoolForward(ctx, x, {2, 0}, out), "stride");
  RequireInvalid(AveragePoolForward(ctx, x, {2, int64_t{1} << 31}, out), "too wide");
  RequireInvalid(AveragePoolForward(ctx, x, {2, 1}, out), "pooled");
  RequireInvalid(AveragePoolBackward(ctx, out, {2, 1}, 0.0f, x), "pooled");
  RequireInvalid(AveragePoolBackward(ctx, out, {2, 1}, 0.0f, Tensor()), "absent");
  REQUIRE(device.Download(out) == std::vector<float>(6, 9.0f));
}

}  // namespace
}  // namespace pagoda
