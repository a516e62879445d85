#include "algorithms/worlds/draws.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <set>

namespace pagoda {
namespace {

constexpr int kDraws = 200000;

struct Moments {
  double mean = 0.0;
  double variance = 0.0;
};

template <typename Draw>
Moments MomentsOf(const Draw& draw) {
  double sum = 0.0, squares = 0.0;
  for (int i = 0; i < kDraws; ++i) {
    const double value = draw();
    sum += value;
    squares += value * value;
  }
  const double mean = sum / kDraws;
  return {mean, squares / kDraws - mean * mean};
}

TEST_CASE("draws have the moments of their distributions") {
  Draws draws(RandomKey{42});
  // Five standard errors: the mean's is sqrt(variance / n); the variance's is
  // sqrt((fourth moment - variance^2) / n).
  const Moments normal = MomentsOf([&] { return draws.Normal(); });
  CHECK(std::fabs(normal.mean) < 5 * std::sqrt(1.0 / kDraws));
  CHECK(std::fabs(normal.variance - 1.0) < 5 * std::sqrt(2.0 / kDraws));
  const Moments exponential = MomentsOf([&] { return draws.Exponential(); });
  CHECK(std::fabs(exponential.mean - 1.0) < 5 * std::sqrt(1.0 / kDraws));
  CHECK(std::fabs(exponential.variance - 1.0) < 5 * std::sqrt(8.0 / kDraws));
  const Moments uniform = MomentsOf([&] { return draws.Uniform(); });
  CHECK(std::fabs(uniform.mean - 0.5) < 5 * std::sqrt(1.0 / 12 / kDraws));
  // Of a Beta(a, b): mean a/s, variance ab/(s^2 (s+1)), s = a + b; the variance of a square in
  // [0, 1] is at most 1/4.
  for (const auto& [a, b] : {std::pair{0.6, 2.4}, {1.2, 1.8}, {1.0, 1.0}, {3.0, 2.0}}) {
    const Moments beta = MomentsOf([&, x = a, y = b] { return draws.Beta(x, y); });
    const double s = a + b;
    const double variance = a * b / (s * s * (s + 1));
    INFO("Beta(" << a << ", " << b << ")");
    CHECK(std::fabs(beta.mean - a / s) < 5 * std::sqrt(variance / kDraws));
    CHECK(std::fabs(beta.variance - variance) < 5 * 2 * 0.5 * std::sqrt(1.0 / kDraws));
  }
}

TEST_CASE("draws depend on their key and place alone") {
  Draws first(RandomKey{1}), second(RandomKey{1}), other(RandomKey{2});
  bool differs = false;
  for (int i = 0; i < 10; ++i) {
    const double value = first.Normal();
    CHECK(value == second.Normal());
    differs = differs || value != other.Normal();
  }
  CHECK(differs);
}

TEST_CASE("a permutation takes every value once, and its inverse undoes it") {
  for (const int64_t size : {1, 2, 3, 4, 5, 17, 64, 1000}) {
    const Permutation permutation(RandomKey{9}, size);
    std::set<int64_t> values;
    for (int64_t i = 0; i < size; ++i) {
      const int64_t value = permutation.At(i);
      CHECK(value >= 0);
      CHECK(value < size);
      CHECK(permutation.Inverse(value) == i);
      values.insert(value);
    }
    CHECK(static_cast<int64_t>(values.size()) == size);
  }
  const Permutation large(RandomKey{9}, int64_t{1} << 40);
  CHECK(large.Inverse(large.At(123456789)) == 123456789);
}

TEST_CASE("a permutation mixes: over keys, the first value is uniform") {
  constexpr int kSize = 10;
  constexpr int kKeys = 20000;
  std::vector<int> counts(kSize);
  for (uint64_t key = 0; key < kKeys; ++key) {
    ++counts[static_cast<size_t>(Permutation(RandomKey{key}, kSize).At(0))];
  }
  for (const int count : counts) {
    CHECK(std::fabs(count - kKeys * 0.1) < 5 * std::sqrt(kKeys * 0.1 * 0.9));
  }
}

TEST_CASE("weighted draws fall where the weights say") {
  const WeightedDraw draw({1.0, 0.0, 3.0});
  CHECK(draw.At(0.0) == 0);
  CHECK(draw.At(0.2499) == 0);
  CHECK(draw.At(0.25) == 2);  // Never the one without weight.
  CHECK(draw.At(std::nextafter(1.0, 0.0)) == 2);
  CHECK(draw.Probability(0) == 0.25);
  CHECK(draw.Probability(1) == 0.0);
  CHECK(WeightedDraw({7.0}).At(0.5) == 0);
}

TEST_CASE("the sigmoid of large arguments is 0 or 1") {
  CHECK(Sigmoid(0.0) == 0.5);
  CHECK(Sigmoid(1000.0) == 1.0);
  CHECK(Sigmoid(-1000.0) == 0.0);
}

}  // namespace
}  // namespace pagoda
