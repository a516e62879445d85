#include "kernels/field_combinations.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

struct Case {
  int64_t n;
  int f;
  int64_t d;
};
constexpr Case kCases[] = {{0, 4, 4}, {1, 4, 1}, {3, 5, 7}, {40, 5, 100}, {700, 4, 8}, {2, 6, 0}};

size_t At(int64_t i) {
  return static_cast<size_t>(i);
}

double Value(const std::vector<float>& x, int64_t i) {
  return double{x[At(i)]};
}

// out[i, r, c], from the words of the header: row r is q * m + k.
std::vector<Exact> ForwardOracle(const Case& s, int order, const std::vector<float>& x) {
  const std::vector<int32_t> fields = FieldCombinations(s.f, order);
  const int64_t m = static_cast<int64_t>(fields.size()) / order;
  std::vector<Exact> want;
  for (int64_t i = 0; i < s.n; ++i) {
    for (int64_t r = 0; r < (order + 1) * m; ++r) {
      for (int64_t c = 0; c < s.d; ++c) {
        Exact exact;
        double product = 1.0;
        for (int p = 0; p < order; ++p) {
          const double v = Value(x, (i * s.f + fields[At((r % m) * order + p)]) * s.d + c);
          product *= v;
          const bool minus = order == 2 ? r / m == 1 && p == 1 : r / m == p;
          if (r / m < order) exact.Add(minus ? -v : v);
        }
        if (r / m == order) exact.Add(product);
        exact.roundings += order;
        want.push_back(exact);
      }
    }
  }
  return want;
}

std::vector<Exact> BackwardOracle(const Case& s, int order, const std::vector<float>& x,
                                  const std::vector<float>& dout, const std::vector<float>& old,
                                  float beta) {
  const std::vector<int32_t> fields = FieldCombinations(s.f, order);
  const int64_t m = static_cast<int64_t>(fields.size()) / order;
  std::vector<Exact> want(x.size());
  for (size_t i = 0; i < want.size(); ++i) {
    if (beta != 0.0f) want[i].Add(double{beta} * double{old[i]});
    want[i].roundings += 2.0 * order;
  }
  for (int64_t i = 0; i < s.n; ++i) {
    for (int64_t r = 0; r < (order + 1) * m; ++r) {
      for (int64_t c = 0; c < s.d; ++c) {
        const double slope = Value(dout, (i * (order + 1) * m + r) * s.d + c);
        for (int p = 0; p < order; ++p) {
          double term = slope;
          for (int o = 0; o < order && r / m == order; ++o) {
            if (o != p) term *= Value(x, (i * s.f + fields[At((r % m) * order + o)]) * s.d + c);
          }
          const bool minus = order == 2 ? r / m == 1 && p == 1 : r / m == p;
          want[At((i * s.f + fields[At((r % m) * order + p)]) * s.d + c)].Add(minus ? -term : term);
        }
      }
    }
  }
  return want;
}

TEST_CASE("FieldCombinations lists every combination once, in lexical order") {
  REQUIRE(FieldCombinations(3, 2) == std::vector<int32_t>{0, 1, 0, 2, 1, 2});
  REQUIRE(FieldCombinations(4, 3) == std::vector<int32_t>{0, 1, 2, 0, 1, 3, 0, 2, 3, 1, 2, 3});
  REQUIRE(FieldCombinations(4, 4) == std::vector<int32_t>{0, 1, 2, 3});
  REQUIRE(FieldCombinations(2, 3).empty());
  // USM's five fields: 10 pairs, 10 triples and 5 fours are 95 channels.
  int64_t channels = 0;
  for (int order : {2, 3, 4}) {
    channels += static_cast<int64_t>(FieldCombinations(5, order).size()) / order * (order + 1);
  }
  REQUIRE(channels == 95);
}

TEST_CASE("The bases of 2 and 4 fields are orthogonal, that of 3 is J - 2 I") {
  for (int order : {2, 3, 4}) {
    for (int q = 0; q < order; ++q) {
      for (int r = 0; r < order; ++r) {
        float dot = 0.0f;
        for (int p = 0; p < order; ++p) dot += FieldBase(order, q, p) * FieldBase(order, r, p);
        CAPTURE(order, q, r);
        REQUIRE(dot == (q == r ? static_cast<float>(order) : order == 3 ? -1.0f : 0.0f));
        if (order > 2) REQUIRE(FieldBase(order, q, r) == (q == r ? -1.0f : 1.0f));
      }
    }
  }
  REQUIRE(FieldBase(2, 0, 0) == 1.0f);
  REQUIRE(FieldBase(2, 1, 0) == 1.0f);
  REQUIRE(FieldBase(2, 1, 1) == -1.0f);
}

TEST_CASE("Combinations of fields follow their formulas in double, forward and backward") {
  for (const Case& s : kCases) {
    for (int order : {2, 3, 4}) {
      const std::vector<int32_t> fields = FieldCombinations(s.f, order);
      const int64_t m = static_cast<int64_t>(fields.size()) / order;
      const int64_t size = s.n * (order + 1) * m * s.d;
      const float beta = order == 3 ? 0.5f : order == 2 ? 0.0f : 1.0f;
      CAPTURE(s.n, s.f, s.d, order);
      const std::vector<float> x = RandomFloats(1, s.n * s.f * s.d);
      const std::vector<float> old = RandomFloats(2, s.n * s.f * s.d), dout = RandomFloats(3, size);
      const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
        const Tensor tx = device.Upload(x, {s.n, s.f, s.d});
        const Tensor table = device.Upload(fields, {m, order});
        const Tensor out = *device.ctx->Empty({s.n, (order + 1) * m, s.d});
        REQUIRE(FieldCombinationsForward(*device.ctx, tx, table, out).ok());
        const Tensor dx = beta == 0.0f ? *device.ctx->Empty({s.n, s.f, s.d})
                                       : device.Upload(old, {s.n, s.f, s.d});
        REQUIRE(FieldCombinationsBackward(*device.ctx, tx, table, device.Upload(dout, out.shape()),
                                          beta, dx)
                    .ok());
        std::vector<float> all = device.Download(out);
        Append(&all, device.Download(dx));
        return all;
      });
      RequireNear(Slice(got, 0, size), ForwardOracle(s, order, x));
      RequireNear(Slice(got, size, s.n * s.f * s.d), BackwardOracle(s, order, x, dout, old, beta));
    }
  }
}

TEST_CASE("Combinations of fields have the slopes of their oracle") {
  const Case s = {2, 4, 3};
  for (int order : {2, 3, 4}) {
    CAPTURE(order);
    const std::vector<int32_t> fields = FieldCombinations(s.f, order);
    const int64_t m = static_cast<int64_t>(fields.size()) / order;
    const std::vector<float> x = RandomFloats(1, 24);
    const std::vector<float> dout = RandomFloats(2, 2 * (order + 1) * m * 3);
    TestDevice device;
    const Tensor dx = *device.ctx->Empty({2, 4, 3});
    REQUIRE(FieldCombinationsBackward(*device.ctx, device.Upload(x, {2, 4, 3}),
                                      device.Upload(fields, {m, order}),
                                      device.Upload(dout, {2, (order + 1) * m, 3}), 0.0f, dx)
                .ok());
    // A field is at most once in a product: linear in each element.
    RequireSlopes(ToDouble(x), device.Download(dx), [&](const Doubles& at) {
      const std::vector<Exact> out =
          ForwardOracle(s, order, std::vector<float>(at.begin(), at.end()));
      double sum = 0.0;
      for (size_t i = 0; i < out.size(); ++i) sum += out[i].value * double{dout[i]};
      return sum;
    });
  }
}

TEST_CASE("Combinations that do not fit are refused, by name") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor x = device.Upload(RandomFloats(1, 6), {1, 3, 2});
  const Tensor pairs = device.Upload<int32_t>({0, 1, 0, 2, 1, 2}, {3, 2});
  const Tensor single = device.Upload<int32_t>({0, 1}, {2, 1});
  const Tensor out = device.Upload(std::vector<float>(18, 9.0f), {1, 9, 2});
  RequireInvalid(FieldCombinationsForward(ctx, x, single, out), "2 to 4");
  RequireInvalid(FieldCombinationsForward(ctx, x, pairs, x), "out");
  RequireInvalid(FieldCombinationsForward(ctx, out.Reshape({9, 2}), pairs, out), "x");
  RequireInvalid(FieldCombinationsBackward(ctx, x, pairs, out, 0.0f, out), "dx");
  const std::vector<int32_t> many(2 * 65536, 0);
  RequireInvalid(FieldCombinationsForward(ctx, x, device.Upload(many, {65536, 2}), out), "65,535");
  REQUIRE(device.Download(out) == std::vector<float>(18, 9.0f));
}

}  // namespace
}  // namespace pagoda
