#include "algorithms/nn/attention.h"

#include <cmath>

#include "tests/algorithms/nn/gradient_check.h"

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
      {{2, 3, 4}, {2, 5, 3}, {2, 5, 4}},
      [](const Vars& x) {
        return nn::Attention(x[0], x[1], x[2], {5, 5}, {});
      },
      "do not fit one another");
}

}  // namespace pagoda
