#include "algorithms/nn/attention.h"

#include <cmath>

#include "tests/algorithms/nn/gradient_check.h"
#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

using Vars = std::vector<Var>;
using nn::AttentionOptions;

struct Case {
  int64_t n, lq, lk, d, dv;
  AttentionOptions options;
};

// Lengths 0, lk and others between.
std::vector<int32_t> Lengths(const Case& c) {
  std::vector<int32_t> lengths;
  for (int64_t i = 0; i < c.n; ++i) {
    lengths.push_back(static_cast<int32_t>((i * 3 + c.lk) % (c.lk + 1)));
  }
  return lengths;
}

// By definition, in double.
std::vector<double> Oracle(const Case& c, const std::vector<float>& q, const std::vector<float>& k,
                           const std::vector<float>& v) {
  const std::vector<int32_t> lengths = Lengths(c);
  const int64_t d = c.d / c.options.heads, dv = c.dv / c.options.heads;
  std::vector<double> out(static_cast<size_t>(c.n * c.lq * c.dv), 0.0);
  const auto at = [](const std::vector<float>& x, int64_t i) {
    return static_cast<double>(x[static_cast<size_t>(i)]);
  };
  for (int64_t i = 0; i < c.n; ++i) {
    for (int64_t h = 0; h < c.options.heads; ++h) {
      for (int64_t j = 0; j < c.lq; ++j) {
        const int64_t length = lengths[static_cast<size_t>(i)];
        const int64_t count = c.options.causal ? std::min(length, j + 1) : length;
        std::vector<double> weights;
        double sum = 0.0;
        for (int64_t key = 0; key < count; ++key) {
          double score = 0.0;
          for (int64_t p = 0; p < d; ++p) {
            score +=
                at(q, (i * c.lq + j) * c.d + h * d + p) * at(k, (i * c.lk + key) * c.d + h * d + p);
          }
          weights.push_back(std::exp(score / std::sqrt(static_cast<double>(d))));
          sum += weights.back();
        }
        for (int64_t key = 0; key < count; ++key) {
          for (int64_t p = 0; p < dv; ++p) {
            out[static_cast<size_t>((i * c.lq + j) * c.dv + h * dv + p)] +=
                weights[static_cast<size_t>(key)] / sum *
                at(v, (i * c.lk + key) * c.dv + h * dv + p);
          }
        }
      }
    }
  }
  return out;
}

}  // namespace

TEST_CASE("attention matches its definition: masked, causal, one query, heads") {
  for (const Case& c :
       {Case{2, 3, 4, 4, 6, {.heads = 1}}, Case{3, 1, 5, 8, 8, {.heads = 2}},  // Target attention.
        Case{2, 6, 6, 4, 4, {.heads = 4, .causal = true}}, Case{0, 2, 3, 4, 4, {.heads = 2}},
        Case{2, 0, 3, 4, 4, {.heads = 2}}, Case{5, 17, 33, 6, 3, {.heads = 3}}}) {
    CAPTURE(c.n, c.lq, c.lk, c.d, c.dv, c.options.heads, c.options.causal);
    const std::vector<float> q = RandomFloats(1, c.n * c.lq * c.d);
    const std::vector<float> k = RandomFloats(2, c.n * c.lk * c.d);
    const std::vector<float> v = RandomFloats(3, c.n * c.lk * c.dv);
    const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
      Tape tape(*device.ctx);
      const Var out = nn::Attention(tape.Leaf(device.Upload(q, {c.n, c.lq, c.d}), false),
                                    tape.Leaf(device.Upload(k, {c.n, c.lk, c.d}), false),
                                    tape.Leaf(device.Upload(v, {c.n, c.lk, c.dv}), false),
                                    Lengths(c), c.options);
      INFO(tape.status());
      REQUIRE(out.valid());
      REQUIRE(out.shape() == Shape{c.n, c.lq, c.dv});
      return device.Download(out.value());
    });
    const std::vector<double> want = Oracle(c, q, k, v);
    REQUIRE(got.size() == want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      CAPTURE(i);
      REQUIRE(std::fabs(got[i] - want[i]) <= 1e-5);
    }
  }
}

TEST_CASE("attention has the gradients of finite differences, of one block in three parts too") {
  for (const bool causal : {false, true}) {
    GradientCheck({{2, 3, 4}, {2, 3, 4}, {2, 3, 6}}, [causal](const Vars& x) {
      return nn::Attention(x[0], x[1], x[2], {3, 2}, {.heads = 2, .causal = causal});
    }).Run();
  }
  GradientCheck({{2, 3, 4}}, [](const Vars& x) {
    return nn::Attention(x[0], x[0], x[0], {2, 0}, {.heads = 1});
  }).Run();
}

TEST_CASE("attention with a bias has the gradients of finite differences, of the bias too") {
  for (const int64_t heads : {1, 2}) {
    GradientCheck({{2, 3, 4}, {2, 5, 4}, {2, 5, 6}, {2, 3, 5}}, [heads](const Vars& x) {
      return nn::Attention(x[0], x[1], x[2], {5, 2}, {.heads = heads, .bias = x[3]});
    }).Run();
    GradientCheck({{2, 3, 4}, {2, 5, 4}, {2, 3, 5}}, [heads](const Vars& x) {
      return nn::AttentionWithWeights(x[0], x[1], x[1], {5, 0}, {.heads = heads, .bias = x[2]})
          .weights;
    }).Run();
  }
}

TEST_CASE("weights of attention add up to one, and follow a bias") {
  TestDevice device;
  Tape tape(*device.ctx);
  const auto leaf = [&](uint64_t seed, const Shape& shape) {
    return tape.Leaf(device.Upload(RandomFloats(seed, NumElements(shape)), shape), false);
  };
  const Var q = leaf(1, {2, 3, 4}), k = leaf(2, {2, 5, 4}), v = leaf(3, {2, 5, 4});
  const auto [output, weights] = nn::AttentionWithWeights(q, k, v, {5, 2}, {.heads = 2});
  REQUIRE(weights.shape() == Shape{2, 2, 3, 5});
  const std::vector<float> w = ValueOf(device, weights);
  for (size_t row = 0; row < 12; ++row) {
    double sum = 0.0;
    for (size_t j = 0; j < 5; ++j) {
      sum += double{w[row * 5 + j]};
      if (row >= 6 && j >= 2) REQUIRE(w[row * 5 + j] == 0.0f);
    }
    REQUIRE(sum == Approx(1.0));
  }
  // Of two biases that differ by log 3 at one key, the weights' odds differ by 3.
  std::vector<float> bias(2 * 3 * 5, 0.0f);
  bias[1] = std::log(3.0f);
  const Var b = tape.Leaf(device.Upload(bias, {2, 3, 5}), false);
  const std::vector<float> biased =
      ValueOf(device, nn::AttentionWithWeights(q, k, v, {5, 2}, {.heads = 2, .bias = b}).weights);
  for (const size_t row : {0, 3}) {  // Query 0 of both heads of sample 0.
    const size_t at = row * 5;
    REQUIRE(biased[at + 1] / biased[at] == Approx(3.0 * w[at + 1] / w[at]));
    REQUIRE(biased[at + 2] / biased[at] == Approx(w[at + 2] / w[at]));
  }
  REQUIRE(SameBits(Slice(biased, 30, 30), Slice(w, 30, 30)));
}

TEST_CASE("a query that sees no key gets exactly zero, and passes no gradient") {
  TestDevice device;
  Tape tape(*device.ctx);
  const Shape shape = {2, 3, 4};
  std::vector<Var> x;
  for (uint64_t seed : {1, 2, 3}) {
    x.push_back(tape.Leaf(device.Upload(RandomFloats(seed, 24), shape), true));
  }
  // Query 1 of sample 0 is hidden from all keys by its bias, sample 1 has no keys.
  std::vector<float> bias(2 * 3 * 3, 0.25f);
  for (size_t j = 0; j < 3; ++j) bias[3 + j] = -INFINITY;
  const Var b = tape.Leaf(device.Upload(bias, {2, 3, 3}), true);
  const Var out = nn::Attention(x[0], x[1], x[2], {3, 0}, {.heads = 2, .bias = b});
  const std::vector<float> y = ValueOf(device, out);
  REQUIRE(y[0] != 0.0f);
  for (size_t i = 4; i < 8; ++i) REQUIRE(y[i] == 0.0f);
  for (size_t i = 12; i < 24; ++i) REQUIRE(y[i] == 0.0f);
  REQUIRE(tape.Backward({{nn::Sum(nn::Multiply(out, nn::Add(out, x[0]))), 1.0f}}).ok());
  const std::vector<float> dk = device.Download(x[1].grad()), db = device.Download(b.grad());
  for (size_t i = 0; i < 12; ++i) REQUIRE(std::isfinite(dk[i]));
  for (size_t i = 12; i < 24; ++i) REQUIRE(dk[i] == 0.0f);
  const std::vector<float> dv = device.Download(x[2].grad());
  for (size_t i = 12; i < 24; ++i) REQUIRE(dv[i] == 0.0f);
  for (size_t i = 0; i < 18; ++i) {
    CAPTURE(i);
    const bool hidden = (i >= 3 && i < 6) || i >= 9;
    REQUIRE((db[i] == 0.0f) == hidden);
  }
}

TEST_CASE("what lies in padding does not matter, and gets no gradient") {
  const Shape shape = {1, 4, 4};
  const auto run = [&](float padding) {
    TestDevice device;
    Tape tape(*device.ctx);
    std::vector<Var> x;
    for (uint64_t seed : {1, 2, 3}) {
      std::vector<float> values = RandomFloats(seed, 16);
      for (size_t i = 8; seed > 1 && i < 16; ++i) values[i] = padding;
      x.push_back(tape.Leaf(device.Upload(values, shape), true));
    }
    const Var out = nn::Attention(x[0], x[1], x[2], {2}, {.heads = 2});
    std::vector<float> all = ValueOf(device, out);
    REQUIRE(tape.Backward({{nn::Sum(nn::Square(out)), 1.0f}}).ok());
    for (const Var& leaf : x) {
      const std::vector<float> gradient = device.Download(leaf.grad());
      for (size_t i = 8; leaf != x[0] && i < 16; ++i) REQUIRE(gradient[i] == 0.0f);
      all.insert(all.end(), gradient.begin(), gradient.end());
    }
    return all;
  };
  REQUIRE(SameBits(run(0.0f), run(1e6f)));
}

TEST_CASE("dropped weights are those of the mask, and kept counts are not made again") {
  TestDevice device;
  Tape tape(*device.ctx);
  const auto leaf = [&](uint64_t seed) {
    return tape.Leaf(device.Upload(RandomFloats(seed, 24), {2, 3, 4}), false);
  };
  const Var q = leaf(1), k = leaf(2), v = leaf(3);
  const std::vector<int64_t> counters = {5, 105, 205, 305, 405, 505};
  AttentionOptions options = {.heads = 1};
  const std::vector<float> w =
      ValueOf(device, nn::AttentionWithWeights(q, k, v, {3, 2}, options).weights);
  options.dropout = {0.5f, RandomKey{8}, device.Upload(counters, {6})};
  options.key_counts = device.Upload<int32_t>({3, 3, 3, 1, 1, 1}, {6});
  const std::vector<float> dropped =
      ValueOf(device, nn::AttentionWithWeights(q, k, v, {3, 2}, options).weights);
  for (size_t row = 0; row < 6; ++row) {
    for (size_t j = 0; j < 3; ++j) {
      const bool kept =
          RandomUniform(RandomKey{8}, static_cast<uint64_t>(counters[row]) + j) >= 0.5f;
      const float seen = row < 3 ? w[row * 3 + j] : j == 0 ? 1.0f : 0.0f;
      REQUIRE(dropped[row * 3 + j] == (kept ? 2.0f * seen : 0.0f));
    }
  }
}

TEST_CASE("attention refuses what does not fit, in words") {
  const std::vector<Shape> shapes = {{2, 3, 4}, {2, 5, 4}, {2, 5, 4}};
  const auto refused = [&](std::vector<int32_t> lengths, AttentionOptions options,
                           const std::string& words) {
    RequireOpRefused(
        shapes, [&](const Vars& x) { return nn::Attention(x[0], x[1], x[2], lengths, options); },
        words);
  };
  refused({5, 5}, {.heads = 3}, "3 heads do not divide");
  refused({5, 5}, {.heads = 0}, "0 heads");
  refused({5}, {}, "1 lengths were given for 2 samples");
  refused({5, 6}, {}, "a length of 6");
  refused({5, -1}, {}, "a length of -1");
  refused({5, 5}, {.heads = 1, .causal = true}, "causal attention of 3 queries over 5 keys");
  RequireOpRefused(
      {{2, 3, 4}, {2, 5, 4}, {2, 5, 4}, {2, 5, 3}},
      [](const Vars& x) {
        return nn::Attention(x[0], x[1], x[2], {5, 5}, {.heads = 1, .bias = x[3]});
      },
      "a bias of shape [2, 5, 3] for [2, 3, 5]");
  RequireOpRefused(
      {{2, 3, 4}, {2, 5, 3}, {2, 5, 4}},
      [](const Vars& x) {
        return nn::Attention(x[0], x[1], x[2], {5, 5}, {});
      },
      "do not fit one another");
}

}  // namespace pagoda
