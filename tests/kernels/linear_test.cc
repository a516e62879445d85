#include "kernels/linear.h"

#include <catch2/catch.hpp>

#include "kernels/elementwise.h"
#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

struct Layer {
  int64_t n, in, out;
};
constexpr Layer kLayers[] = {{0, 5, 3},       {1, 1, 1},     {17, 5, 3},     {9, 0, 4},
                             {9, 4, 0},       {257, 17, 33}, {1023, 65, 31}, {2100, 40, 24},
                             {300, 130, 129}, {600, 33, 1}};
constexpr Activation kFusable[] = {Activation::kNone, Activation::kRelu, Activation::kSigmoid,
                                   Activation::kTanh};

struct Data {
  explicit Data(Layer layer)
      : x(RandomFloats(1, layer.n * layer.in)),
        w(RandomFloats(2, layer.out * layer.in)),
        bias(RandomFloats(3, layer.out)),
        dy(RandomFloats(4, layer.n * layer.out)),
        old(RandomFloats(5, layer.n * layer.in + layer.out * layer.in + layer.out)) {}
  std::vector<float> x, w, bias, dy, old;
};

double Apply(Activation f, double z) {
  switch (f) {
    case Activation::kRelu: return z > 0 ? z : 0;
    case Activation::kSigmoid: return 1 / (1 + std::exp(-z));
    case Activation::kTanh: return std::tanh(z);
    default: return z;
  }
}

double SlopeFromOutput(Activation f, double y) {
  switch (f) {
    case Activation::kRelu: return y > 0 ? 1 : 0;
    case Activation::kSigmoid: return y * (1 - y);
    case Activation::kTanh: return 1 - y * y;
    default: return 1;
  }
}

double RoundIf(bool bf16, float x) {
  if (!bf16 || x == 0.0f) return x;
  const double spacing = std::ldexp(1.0, std::ilogb(x) - 7);
  return std::nearbyint(static_cast<double>(x) / spacing) * spacing;
}

// f(x w^T + bias) in double, and the error of the sums before f.
std::vector<Exact> ForwardOracle(Layer l, const Data& data, bool with_bias, bool bf16) {
  std::vector<Exact> z(static_cast<size_t>(l.n * l.out));
  for (int64_t i = 0; i < l.n; ++i) {
    for (int64_t j = 0; j < l.out; ++j) {
      Exact& sum = z[static_cast<size_t>(i * l.out + j)];
      if (with_bias) sum.Add(data.bias[static_cast<size_t>(j)]);
      for (int64_t p = 0; p < l.in; ++p) {
        sum.Add(RoundIf(bf16, data.x[static_cast<size_t>(i * l.in + p)]) *
                RoundIf(bf16, data.w[static_cast<size_t>(j * l.in + p)]));
      }
    }
  }
  return z;
}

std::vector<float> RunForward(Layer l, const Data& data, bool with_bias, Activation f, DType type) {
  return RunEverywhere([&](TestDevice& device) {
    device.ctx->set_compute_dtype(type);
    const Tensor y = *device.ctx->Empty({l.n, l.out});
    const Tensor bias = with_bias ? device.Upload(data.bias, {l.out}) : Tensor();
    REQUIRE(LinearForward(*device.ctx, device.Upload(data.x, {l.n, l.in}),
                          device.Upload(data.w, {l.out, l.in}), bias, f, y)
                .ok());
    return device.Download(y);
  });
}

struct Betas {
  float dx, dw, dbias;
};

// dx, dw and dbias one after another.
std::vector<float> RunBackward(Layer l, const Data& data, const std::vector<float>& y, Activation f,
                               Betas betas, DType type) {
  return RunEverywhere([&](TestDevice& device) {
    device.ctx->set_compute_dtype(type);
    // Memory that may not be read holds NaN.
    std::vector<float> old = data.old;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const int64_t dx_size = l.n * l.in, dw_size = l.out * l.in;
    const auto spoil = [&](float beta, int64_t begin, int64_t count) {
      if (beta == 0) std::fill_n(old.begin() + begin, count, nan);
    };
    spoil(betas.dx, 0, dx_size);
    spoil(betas.dw, dx_size, dw_size);
    spoil(betas.dbias, dx_size + dw_size, l.out);
    const Tensor all = device.Upload(old, {static_cast<int64_t>(old.size())});
    LinearGradients gradients;
    gradients.dx = all.Flat(0, {l.n, l.in});
    gradients.beta_dx = betas.dx;
    gradients.dw = all.Flat(dx_size, {l.out, l.in});
    gradients.beta_dw = betas.dw;
    gradients.dbias = all.Flat(dx_size + dw_size, {l.out});
    gradients.beta_dbias = betas.dbias;
    REQUIRE(LinearBackward(*device.ctx, device.Upload(data.x, {l.n, l.in}),
                           device.Upload(data.w, {l.out, l.in}), device.Upload(y, {l.n, l.out}),
                           device.Upload(data.dy, {l.n, l.out}), f, gradients)
                .ok());
    return device.Download(all);
  });
}

// The same in double, from the float y that the forward pass kept.
std::vector<Exact> BackwardOracle(Layer l, const Data& data, const std::vector<float>& y,
                                  Activation f, Betas betas, bool bf16) {
  const int64_t dx_size = l.n * l.in, dw_size = l.out * l.in;
  std::vector<Exact> want(data.old.size());
  for (size_t k = 0; k < want.size(); ++k) {
    const int64_t i = static_cast<int64_t>(k);
    const float beta = i < dx_size ? betas.dx : i < dx_size + dw_size ? betas.dw : betas.dbias;
    want[k].Add(static_cast<double>(beta) * data.old[k]);
    want[k].roundings += 4;  // Of dz = dy * f'(y).
  }
  for (int64_t i = 0; i < l.n; ++i) {
    for (int64_t j = 0; j < l.out; ++j) {
      const size_t at = static_cast<size_t>(i * l.out + j);
      const double dz = static_cast<double>(data.dy[at]) * SlopeFromOutput(f, y[at]);
      const double rounded = RoundIf(bf16, static_cast<float>(dz));
      // tanh's 1 - y^2 cancels: the error of dz is relative to dy, not to dz.
      const auto add = [&](int64_t to, double slope, double factor) {
        Exact& sum = want[static_cast<size_t>(to)];
        sum.Add(slope * factor);
        sum.magnitude += std::fabs(static_cast<double>(data.dy[at]) * factor);
      };
      add(dx_size + dw_size + j, dz, 1.0);
      for (int64_t p = 0; p < l.in; ++p) {
        add(i * l.in + p, rounded, RoundIf(bf16, data.w[static_cast<size_t>(j * l.in + p)]));
        add(dx_size + j * l.in + p, rounded,
            RoundIf(bf16, data.x[static_cast<size_t>(i * l.in + p)]));
      }
    }
  }
  return want;
}

}  // namespace

TEST_CASE("LinearForward fuses product, bias and activation") {
  for (const Layer layer : kLayers) {
    const Data data(layer);
    for (Activation f : kFusable) {
      for (bool with_bias : {true, false}) {
        for (DType type : {DType::kF32, DType::kBF16}) {
          CAPTURE(layer.n, layer.in, layer.out, static_cast<int>(f), with_bias);
          CAPTURE(type == DType::kBF16);
          const std::vector<float> got = RunForward(layer, data, with_bias, f, type);
          const std::vector<Exact> z = ForwardOracle(layer, data, with_bias, type == DType::kBF16);
          Doubles want;
          for (const Exact& sum : z) want.push_back(Apply(f, sum.value));
          // No slope exceeds 1, so that an error of the sum is no greater after f.
          RequireWithin(got, want, [&](size_t i) {
            return kUnitRoundoff * (1.1 * z[i].roundings * z[i].magnitude + 8 * std::fabs(want[i]));
          });
        }
      }
    }
  }
}

TEST_CASE("LinearBackward matches the oracle for every beta") {
  for (const Layer layer : kLayers) {
    const Data data(layer);
    for (Activation f : kFusable) {
      const std::vector<float> y = RunForward(layer, data, true, f, DType::kF32);
      for (const Betas betas : {Betas{0, 0, 0}, {1, 0.5f, 2}}) {
        CAPTURE(layer.n, layer.in, layer.out, static_cast<int>(f), betas.dx);
        RequireNear(RunBackward(layer, data, y, f, betas, DType::kF32),
                    BackwardOracle(layer, data, y, f, betas, false));
        // dz is exact for these two, so its rounding to bf16 is known.
        if (f == Activation::kNone || f == Activation::kRelu) {
          RequireNear(RunBackward(layer, data, y, f, betas, DType::kBF16),
                      BackwardOracle(layer, data, y, f, betas, true));
        }
      }
    }
  }
}

TEST_CASE("LinearBackward is the slope of LinearForward") {
  constexpr Layer l{7, 5, 3};
  const Data data(l);
  for (Activation f : kFusable) {
    CAPTURE(static_cast<int>(f));
    const std::vector<float> y = RunForward(l, data, true, f, DType::kF32);
    const std::vector<float> got = RunBackward(l, data, y, f, {0, 0, 0}, DType::kF32);
    std::vector<float> parameters = data.x;
    Append(&parameters, data.w);
    Append(&parameters, data.bias);
    RequireGradient(ToDouble(parameters), got, [&](const Doubles& at) {
      double loss = 0.0;
      for (int64_t i = 0; i < l.n; ++i) {
        for (int64_t j = 0; j < l.out; ++j) {
          double z = at[static_cast<size_t>(l.n * l.in + l.out * l.in + j)];
          for (int64_t p = 0; p < l.in; ++p) {
            z += at[static_cast<size_t>(i * l.in + p)] *
                 at[static_cast<size_t>(l.n * l.in + j * l.in + p)];
          }
          loss += data.dy[static_cast<size_t>(i * l.out + j)] * Apply(f, z);
        }
      }
      return loss;
    });
  }
}

TEST_CASE("Each gradient of a dense layer may be left out without touching the others") {
  // Rows that are whole pieces of a sum, and not.
  const Layer l = GENERATE(Layer{300, 17, 9}, Layer{512, 6, 5});
  const Data data(l);
  const std::vector<float> y = RunForward(l, data, true, Activation::kTanh, DType::kF32);
  for (DType type : {DType::kF32, DType::kBF16}) {
    const std::vector<float> all = RunBackward(l, data, y, Activation::kTanh, {0, 0, 0}, type);
    for (int wanted = 0; wanted < 8; ++wanted) {
      CAPTURE(wanted);
      TestDevice device;
      device.ctx->set_compute_dtype(type);
      LinearGradients gradients;
      if (wanted & 1) gradients.dx = *device.ctx->Empty({l.n, l.in});
      if (wanted & 2) gradients.dw = *device.ctx->Empty({l.out, l.in});
      if (wanted & 4) gradients.dbias = *device.ctx->Empty({l.out});
      REQUIRE(LinearBackward(*device.ctx, device.Upload(data.x, {l.n, l.in}),
                             device.Upload(data.w, {l.out, l.in}), device.Upload(y, {l.n, l.out}),
                             device.Upload(data.dy, {l.n, l.out}), Activation::kTanh, gradients)
                  .ok());
      const int64_t dx_size = l.n * l.in, dw_size = l.out * l.in;
      if (wanted & 1) REQUIRE(SameBits(device.Download(gradients.dx), Slice(all, 0, dx_size)));
      if (wanted & 2)
        REQUIRE(SameBits(device.Download(gradients.dw), Slice(all, dx_size, dw_size)));
      if (wanted & 4) {
        const std::vector<float> dbias = device.Download(gradients.dbias);
        const std::vector<float> want = Slice(all, dx_size + dw_size, l.out);
        if (!GpuUnderTest()) REQUIRE(SameBits(dbias, want));
        for (size_t i = 0; i < want.size(); ++i) {  // A GPU's may come with dw's product.
          REQUIRE(dbias[i] == Approx(want[i]).epsilon(1e-5).margin(1e-5));
        }
      }
    }
  }
}

TEST_CASE("dy's memory is used when it may be, with the same results, and not otherwise") {
  for (const Layer l : {Layer{300, 17, 9}, {300, 130, 129}}) {
    const Data data(l);
    for (Activation f : kFusable) {
      const std::vector<float> y = RunForward(l, data, true, f, DType::kF32);
      const std::vector<float> want = RunBackward(l, data, y, f, {0, 0, 0}, DType::kF32);
      for (bool overwrite : {false, true}) {
        CAPTURE(l.in, static_cast<int>(f), overwrite);
        TestDevice device;
        const Tensor all = *device.ctx->Empty({static_cast<int64_t>(want.size())});
        LinearGradients gradients;
        gradients.dx = all.Flat(0, {l.n, l.in});
        gradients.dw = all.Flat(l.n * l.in, {l.out, l.in});
        gradients.dbias = all.Flat(l.n * l.in + l.out * l.in, {l.out});
        gradients.overwrite_dy = overwrite;
        const Tensor dy = device.Upload(data.dy, {l.n, l.out});
        REQUIRE(LinearBackward(*device.ctx, device.Upload(data.x, {l.n, l.in}),
                               device.Upload(data.w, {l.out, l.in}), device.Upload(y, {l.n, l.out}),
                               dy, f, gradients)
                    .ok());
        REQUIRE(SameBits(device.Download(all), want));
        if (!overwrite) REQUIRE(SameBits(device.Download(dy), data.dy));
      }
    }
  }
}

TEST_CASE("A bias and its gradient may lie at any float") {
  const Layer l{33, 12, 20};
  const Data data(l);
  const std::vector<float> last = RunEverywhere([&](TestDevice& device) {
    const Tensor x = device.Upload(data.x, {l.n, l.in}), w = device.Upload(data.w, {l.out, l.in});
    std::vector<float> padded(3, -1.0f);
    padded.insert(padded.end(), data.bias.begin(), data.bias.end());
    const Tensor room = device.Upload(padded, {l.out + 3});
    const Tensor bias = device.Upload(data.bias, {l.out});
    const Tensor y = *device.ctx->Empty({l.n, l.out}), y2 = *device.ctx->Empty({l.n, l.out});
    const Tensor dy = device.Upload(data.dy, {l.n, l.out});
    const auto near = [&](const Tensor& a, const Tensor& b) {
      const std::vector<float> got = device.Download(a), want = device.Download(b);
      for (size_t i = 0; i < want.size(); ++i) {
        REQUIRE(got[i] == Approx(want[i]).epsilon(1e-5).margin(1e-5));
      }
    };
    REQUIRE(LinearForward(*device.ctx, x, w, bias, Activation::kNone, y).ok());
    LinearGradients gradients;
    gradients.dw = *device.ctx->Empty({l.out, l.in});
    gradients.dbias = *device.ctx->Empty({l.out});
    REQUIRE(LinearBackward(*device.ctx, x, w, y, dy, Activation::kNone, gradients).ok());
    for (const int64_t first : {1, 2, 3}) {
      CAPTURE(first);
      const Tensor moved = room.Flat(first, {l.out});
      REQUIRE(AxpBy(*device.ctx, 1.0f, bias, 0.0f, moved).ok());
      REQUIRE(LinearForward(*device.ctx, x, w, moved, Activation::kNone, y2).ok());
      near(y2, y);
      LinearGradients elsewhere = gradients;
      elsewhere.dbias = moved;
      REQUIRE(LinearBackward(*device.ctx, x, w, y, dy, Activation::kNone, elsewhere).ok());
      near(moved, gradients.dbias);
    }
    return device.Download(y2);
  });
  REQUIRE(last.size() == static_cast<size_t>(l.n * l.out));
}

TEST_CASE("A row's result does not depend on the rows beside it") {
  if (GpuUnderTest()) return;  // cuBLAS promises nothing of the kind.
  for (const Layer l : {Layer{1100, 65, 31}, {600, 1030, 40}, {600, 13, 256}, {600, 256, 1}}) {
    const Data data(l);
    TestDevice device;
    const Tensor w = device.Upload(data.w, {l.out, l.in}), bias = device.Upload(data.bias, {l.out});
    const Tensor x = device.Upload(data.x, {l.n, l.in}), y = *device.ctx->Empty({l.n, l.out});
    REQUIRE(LinearForward(*device.ctx, x, w, bias, Activation::kRelu, y).ok());
    const std::vector<float> all = device.Download(y);
    for (int64_t rows = 1; rows < l.n; rows += rows < 70 ? 1 : 61) {
      CAPTURE(l.in, l.out, rows);
      const int64_t first = l.n - rows;
      const Tensor part = y.Rows(0, rows);
      REQUIRE(
          LinearForward(*device.ctx, x.Rows(first, l.n), w, bias, Activation::kRelu, part).ok());
      REQUIRE(SameBits(device.Download(part), Slice(all, first * l.out, rows * l.out)));
    }
  }
}

TEST_CASE("A non-finite input reaches the output of a dense layer") {
  TestDevice device;
  std::vector<float> x(4, 1.0f);
  x[1] = std::numeric_limits<float>::quiet_NaN();
  for (Activation f : kFusable) {
    for (DType type : {DType::kF32, DType::kBF16}) {
      device.ctx->set_compute_dtype(type);
      const Tensor y = *device.ctx->Empty({2, 1});
      REQUIRE(LinearForward(*device.ctx, device.Upload(x, {2, 2}),
                            device.Upload<float>({1, 1}, {1, 2}), Tensor(), f, y)
                  .ok());
      REQUIRE(std::isnan(device.Download(y)[0]));
      REQUIRE(std::isfinite(device.Download(y)[1]));
    }
  }
}

TEST_CASE("Dense layers refuse operands that do not fit, and write nothing") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor x = *ctx.Zeros({7, 4}), w = *ctx.Zeros({3, 4}), bias = *ctx.Zeros({3});
  const Tensor y = device.Upload(std::vector<float>(21, 9.0f), {7, 3});
  const auto none = Activation::kNone;
  RequireInvalid(LinearForward(ctx, x, *ctx.Zeros({3, 5}), bias, none, y),
                 "LinearForward: w has shape [3, 5], expected [3, 4] beside x [7, 4]");
  RequireInvalid(LinearForward(ctx, x, w, *ctx.Zeros({4}), none, y),
                 "LinearForward: bias has shape [4], expected [3]");
  RequireInvalid(LinearForward(ctx, x, w, bias, none, *ctx.Zeros({7, 4})),
                 "LinearForward: y has shape [7, 4], expected [7, 3]");
  RequireInvalid(LinearForward(ctx, x, w, bias, Activation::kGelu, y), "LinearForward: only none");
  LinearGradients gradients;
  gradients.dbias = device.Upload(std::vector<float>(3, 9.0f), {3});
  gradients.dw = *ctx.Zeros({4, 3});
  RequireInvalid(LinearBackward(ctx, x, w, y, y, none, gradients),
                 "LinearBackward: dw has shape [4, 3], expected [3, 4]");
  RequireInvalid(LinearBackward(ctx, x, w, y, x, none, gradients), "LinearBackward: dy");
  REQUIRE(device.Download(y) == std::vector<float>(21, 9.0f));
  REQUIRE(device.Download(gradients.dbias) == std::vector<float>(3, 9.0f));
}

}  // namespace pagoda
