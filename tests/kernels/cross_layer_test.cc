#include "kernels/cross_layer.h"

#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

// Operands of one call, on the host.
struct Operands {
  Operands(int64_t rows, int64_t width)
      : n(rows),
        d(width),
        x0(RandomFloats(1, n * d)),
        x(RandomFloats(2, n * d)),
        u(RandomFloats(3, n * d)),
        w(RandomFloats(4, d)),
        b(RandomFloats(5, d)),
        dy(RandomFloats(6, n * d)),
        old(RandomFloats(7, n * d)) {}
  size_t At(int64_t i, int64_t c) const { return static_cast<size_t>(i * d + c); }

  int64_t n, d;
  std::vector<float> x0, x, u, w, b, dy, old;
};

// Joins what one run produced, for comparisons of bits.
std::vector<float> Join(std::initializer_list<std::vector<float>> parts) {
  std::vector<float> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

// <p, q> of row i.
Exact RowDot(const Operands& o, const std::vector<float>& p, const std::vector<float>& q, int64_t i,
             bool q_is_vector) {
  Exact dot;
  for (int64_t c = 0; c < o.d; ++c) {
    dot.Add(double{p[o.At(i, c)]} * q[q_is_vector ? static_cast<size_t>(c) : o.At(i, c)]);
  }
  return dot;
}

// value * factor, where factor carries an error of its own.
void AddProduct(Exact& to, const Exact& factor, double value) {
  to.Add(factor.value * value);
  to.magnitude += factor.magnitude * std::fabs(value);
  to.roundings = std::max(to.roundings, factor.roundings + 4.0) + 1.0;
}

TEST_CASE("cross layer v1 forward") {
  const int64_t n = GENERATE(0, 1, 301);
  const int64_t d = GENERATE(1, 5, 16, 37, 429);
  CAPTURE(n, d);
  const Operands o(n, d);
  const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
    const Tensor y = device.Upload(o.old, {n, d});
    const Tensor xw = device.Upload(std::vector<float>(static_cast<size_t>(n)), {n});
    REQUIRE(CrossV1Forward(*device.ctx, device.Upload(o.x0, {n, d}), device.Upload(o.x, {n, d}),
                           device.Upload(o.w, {d}), device.Upload(o.b, {d}), y, xw)
                .ok());
    return Join({device.Download(y), device.Download(xw)});
  });
  std::vector<Exact> want;
  for (int64_t i = 0; i < n; ++i) {
    const Exact xw = RowDot(o, o.x, o.w, i, true);
    for (int64_t c = 0; c < d; ++c) {
      Exact y;
      AddProduct(y, xw, o.x0[o.At(i, c)]);
      y.Add(o.b[static_cast<size_t>(c)]);
      y.Add(o.x[o.At(i, c)]);
      want.push_back(y);
    }
  }
  for (int64_t i = 0; i < n; ++i) want.push_back(RowDot(o, o.x, o.w, i, true));
  RequireNear(got, want);
}

// The four gradients, joined, in double. xw is what forward kept.
std::vector<Exact> OracleV1(const Operands& o, const std::vector<float>& xw, float beta) {
  std::vector<Exact> dx0(o.old.size()), dx(o.old.size());
  std::vector<Exact> dw(static_cast<size_t>(o.d)), db(static_cast<size_t>(o.d));
  for (size_t c = 0; c < dw.size(); ++c) {
    dw[c].Add(double{beta} * o.w[c]);
    db[c].Add(double{beta} * o.b[c]);
  }
  for (int64_t i = 0; i < o.n; ++i) {
    const Exact dxw = RowDot(o, o.dy, o.x0, i, false);
    for (int64_t c = 0; c < o.d; ++c) {
      const size_t e = o.At(i, c);
      dx0[e].Add(double{beta} * o.old[e]);
      dx0[e].Add(double{o.dy[e]} * xw[static_cast<size_t>(i)]);
      dx[e].Add(double{beta} * o.old[e]);
      dx[e].Add(o.dy[e]);
      AddProduct(dx[e], dxw, o.w[static_cast<size_t>(c)]);
      AddProduct(dw[static_cast<size_t>(c)], dxw, o.x[e]);
      db[static_cast<size_t>(c)].Add(o.dy[e]);
    }
  }
  std::vector<Exact> all = dx0;
  for (const auto* part : {&dx, &dw, &db}) all.insert(all.end(), part->begin(), part->end());
  return all;
}

TEST_CASE("cross layer v1 backward adds to each gradient, or overwrites it") {
  const float beta = GENERATE(1.0f, 0.0f, 0.5f);
  const int64_t n = GENERATE(0, 1, 301, 1000);
  const int64_t d = GENERATE(1, 5, 16, 37);
  CAPTURE(n, d);
  const Operands o(n, d);
  const std::vector<float> xw = RandomFloats(8, n);
  const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
    const CrossV1Gradients gradients = {device.Upload(o.old, {n, d}),
                                        device.Upload(o.old, {n, d}),
                                        device.Upload(o.w, {d}),
                                        device.Upload(o.b, {d}),
                                        beta,
                                        beta,
                                        beta,
                                        beta};
    REQUIRE(CrossV1Backward(*device.ctx, device.Upload(o.x0, {n, d}), device.Upload(o.x, {n, d}),
                            device.Upload(o.w, {d}), device.Upload(xw, {n}),
                            device.Upload(o.dy, {n, d}), gradients)
                .ok());
    return Join({device.Download(gradients.dx0), device.Download(gradients.dx),
                 device.Download(gradients.dw), device.Download(gradients.db)});
  });
  RequireNear(got, OracleV1(o, xw, beta));
}

TEST_CASE("cross layer v2, forward and backward") {
  const float beta = GENERATE(1.0f, 0.0f, 0.5f);
  const int64_t n = GENERATE(0, 1, 307);
  const int64_t d = GENERATE(1, 5, 16, 429);
  CAPTURE(n, d);
  const Operands o(n, d);
  const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
    const Tensor x0 = device.Upload(o.x0, {n, d});
    const Tensor u = device.Upload(o.u, {n, d});
    const Tensor y = device.Upload(o.old, {n, d});
    REQUIRE(CrossV2Forward(*device.ctx, x0, u, device.Upload(o.x, {n, d}), y).ok());
    const CrossV2Gradients gradients = {device.Upload(o.old, {n, d}),
                                        device.Upload(o.old, {n, d}),
                                        device.Upload(o.old, {n, d}),
                                        beta,
                                        beta,
                                        beta};
    REQUIRE(CrossV2Backward(*device.ctx, x0, u, device.Upload(o.dy, {n, d}), gradients).ok());
    return Join({device.Download(y), device.Download(gradients.dx0), device.Download(gradients.du),
                 device.Download(gradients.dx)});
  });
  std::vector<Exact> y(o.x0.size()), dx0(o.x0.size()), du(o.x0.size()), dx(o.x0.size());
  for (size_t e = 0; e < o.x0.size(); ++e) {
    y[e].Add(double{o.x0[e]} * o.u[e]);
    y[e].Add(o.x[e]);
    for (auto* gradient : {&dx0, &du, &dx}) (*gradient)[e].Add(double{beta} * o.old[e]);
    dx0[e].Add(double{o.dy[e]} * o.u[e]);
    du[e].Add(double{o.dy[e]} * o.x0[e]);
    dx[e].Add(o.dy[e]);
  }
  for (const auto* part : {&dx0, &du, &dx}) y.insert(y.end(), part->begin(), part->end());
  RequireNear(got, y);
}

TEST_CASE("cross layers leave absent gradients out and let dx0 be dx") {
  const int64_t n = 5, d = 19;
  const Operands o(n, d);
  TestDevice device;
  const Tensor x = device.Upload(o.x, {n, d});
  const Tensor u = device.Upload(o.u, {n, d});
  const Tensor w = device.Upload(o.w, {d});
  const Tensor dy = device.Upload(o.dy, {n, d});
  const std::vector<float> xw = RandomFloats(8, n);
  const Tensor kept = device.Upload(xw, {n});
  const auto zeros = [&] { return device.Upload(std::vector<float>(o.x.size()), {n, d}); };

  // A first layer: x0 is x, and both gradients go to the same tensor.
  const Tensor both = zeros(), first = zeros(), second = zeros();
  REQUIRE(CrossV1Backward(*device.ctx, x, x, w, kept, dy, {both, both, {}, {}}).ok());
  REQUIRE(CrossV1Backward(*device.ctx, x, x, w, kept, dy, {first, {}, {}, {}}).ok());
  REQUIRE(CrossV1Backward(*device.ctx, x, x, w, kept, dy, {{}, second, {}, {}}).ok());
  for (size_t e = 0; e < o.x.size(); ++e) {
    REQUIRE(device.Download(both)[e] == device.Download(first)[e] + device.Download(second)[e]);
  }
  const Tensor both2 = zeros(), first2 = zeros(), second2 = zeros();
  REQUIRE(CrossV2Backward(*device.ctx, x, u, dy, {both2, {}, both2}).ok());
  REQUIRE(CrossV2Backward(*device.ctx, x, u, dy, {first2, {}, {}}).ok());
  REQUIRE(CrossV2Backward(*device.ctx, x, u, dy, {{}, {}, second2}).ok());
  for (size_t e = 0; e < o.x.size(); ++e) {
    REQUIRE(device.Download(both2)[e] == device.Download(first2)[e] + device.Download(second2)[e]);
  }
}

// Loss = <dy, y> of one cross layer v1, in double.
double LossV1(const Operands& o, const std::vector<double>& x0, const std::vector<double>& x,
              const std::vector<double>& w, const std::vector<double>& b) {
  double loss = 0.0;
  for (int64_t i = 0; i < o.n; ++i) {
    double xw = 0.0;
    for (int64_t c = 0; c < o.d; ++c) xw += x[o.At(i, c)] * w[static_cast<size_t>(c)];
    for (int64_t c = 0; c < o.d; ++c) {
      const size_t e = o.At(i, c);
      loss += o.dy[e] * (x0[e] * xw + b[static_cast<size_t>(c)] + x[e]);
    }
  }
  return loss;
}

TEST_CASE("cross layer v1 backward is the slope of forward") {
  const Operands o(4, 6);
  const auto x0 = ToDouble(o.x0), x = ToDouble(o.x), w = ToDouble(o.w), b = ToDouble(o.b);
  std::vector<float> xw;
  for (int64_t i = 0; i < 4; ++i) {
    xw.push_back(static_cast<float>(RowDot(o, o.x, o.w, i, true).value));
  }
  TestDevice device;
  const auto zeros = [&](Shape shape) {
    return device.Upload(std::vector<float>(static_cast<size_t>(NumElements(shape))), shape);
  };
  const CrossV1Gradients g = {zeros({4, 6}), zeros({4, 6}), zeros({6}), zeros({6})};
  REQUIRE(CrossV1Backward(*device.ctx, device.Upload(o.x0, {4, 6}), device.Upload(o.x, {4, 6}),
                          device.Upload(o.w, {6}), device.Upload(xw, {4}),
                          device.Upload(o.dy, {4, 6}), g)
              .ok());
  using Values = std::vector<double>;
  RequireSlopes(x0, device.Download(g.dx0), [&](const Values& v) { return LossV1(o, v, x, w, b); });
  RequireSlopes(x, device.Download(g.dx), [&](const Values& v) { return LossV1(o, x0, v, w, b); });
  RequireSlopes(w, device.Download(g.dw), [&](const Values& v) { return LossV1(o, x0, x, v, b); });
  RequireSlopes(b, device.Download(g.db), [&](const Values& v) { return LossV1(o, x0, x, w, v); });
}

TEST_CASE("cross layer v2 backward is the slope of forward") {
  const Operands o(3, 7);
  TestDevice device;
  const auto zeros = [&] { return device.Upload(std::vector<float>(21), {3, 7}); };
  const CrossV2Gradients g = {zeros(), zeros(), zeros()};
  REQUIRE(CrossV2Backward(*device.ctx, device.Upload(o.x0, {3, 7}), device.Upload(o.u, {3, 7}),
                          device.Upload(o.dy, {3, 7}), g)
              .ok());
  const auto loss = [&](const std::vector<double>& x0, const std::vector<double>& u,
                        const std::vector<double>& x) {
    double total = 0.0;
    for (size_t e = 0; e < 21; ++e) total += o.dy[e] * (x0[e] * u[e] + x[e]);
    return total;
  };
  const auto x0 = ToDouble(o.x0), u = ToDouble(o.u), x = ToDouble(o.x);
  using Values = std::vector<double>;
  RequireSlopes(x0, device.Download(g.dx0), [&](const Values& v) { return loss(v, u, x); });
  RequireSlopes(u, device.Download(g.du), [&](const Values& v) { return loss(x0, v, x); });
  RequireSlopes(x, device.Download(g.dx), [&](const Values& v) { return loss(x0, u, v); });
}

TEST_CASE("cross layers refuse operands that do not fit") {
  TestDevice device;
  const Tensor m = device.Upload(std::vector<float>(12), {3, 4});
  const Tensor wide = device.Upload(std::vector<float>(15), {3, 5});
  const Tensor v = device.Upload(std::vector<float>(4), {4});
  const Tensor s = device.Upload(std::vector<float>(3), {3});
  Context& ctx = *device.ctx;
  RequireInvalid(CrossV1Forward(ctx, m, wide, v, v, m, s), "x has shape [3, 5]");
  RequireInvalid(CrossV1Forward(ctx, m, m, s, v, m, s), "w has shape [3], expected [4]");
  RequireInvalid(CrossV1Forward(ctx, m, m, v, Tensor(), m, s), "b is absent");
  RequireInvalid(CrossV1Forward(ctx, m, m, v, v, m, v), "xw has shape [4], expected [3]");
  RequireInvalid(CrossV1Backward(ctx, m, m, v, s, wide, {}), "dy has shape [3, 5]");
  RequireInvalid(CrossV1Backward(ctx, m, m, v, s, m, {{}, {}, s, {}}), "dw has shape [3]");
  RequireInvalid(CrossV2Forward(ctx, m, wide, m, m), "u has shape [3, 5]");
  RequireInvalid(CrossV2Forward(ctx, v, v, v, v), "x0 has shape [4]");
  RequireInvalid(CrossV2Backward(ctx, m, m, m, {{}, wide, {}}), "du has shape [3, 5]");
}

}  // namespace
}  // namespace pagoda
