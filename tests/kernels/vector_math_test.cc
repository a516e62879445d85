#include "kernels/vector_math.h"

#include <cfloat>
#include <limits>

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// The error of `got` in units in the last place of a float near `want`.
double Ulps(float got, double want) {
  const double scale = std::max(std::fabs(want), static_cast<double>(FLT_MIN));
  const double ulp = std::ldexp(1.0, std::ilogb(scale) - 23);
  return std::fabs(static_cast<double>(got) - want) / ulp;
}

// The largest error of f against `exact` over a dense walk from low to high.
template <typename F, typename Exact>
double LargestError(float low, float high, int steps, const F& f, const Exact& exact) {
  double largest = 0.0;
  for (int i = 0; i <= steps; ++i) {
    const float x = low + (high - low) * (static_cast<float>(i) / static_cast<float>(steps));
    largest = std::max(largest, Ulps(f(x), exact(static_cast<double>(x))));
  }
  return largest;
}

}  // namespace

TEST_CASE("VectorExp is within 2 ulp, denormals included") {
  const auto f = [](float x) { return VectorExp(x); };
  const auto exact = [](double x) { return std::exp(x); };
  REQUIRE(LargestError(-103.9f, 88.72f, 2000003, f, exact) <= 2.0);
  REQUIRE(LargestError(-1.0f, 1.0f, 1000003, f, exact) <= 2.0);
  REQUIRE(VectorExp(0.0f) == 1.0f);
  REQUIRE(VectorExp(-kInf) == 0.0f);
  REQUIRE(VectorExp(-1000.0f) == 0.0f);
  REQUIRE(VectorExp(kInf) == kInf);
  REQUIRE(VectorExp(88.8f) == kInf);
  REQUIRE(std::isnan(VectorExp(kNan)));
}

TEST_CASE("VectorSigmoid is within 4 ulp") {
  const auto f = [](float x) { return VectorSigmoid(x); };
  const auto exact = [](double x) { return 1.0 / (1.0 + std::exp(-x)); };
  REQUIRE(LargestError(-87.0f, 40.0f, 1000003, f, exact) <= 4.0);
  REQUIRE(VectorSigmoid(-kInf) == 0.0f);
  REQUIRE(VectorSigmoid(kInf) == 1.0f);
  REQUIRE(VectorSigmoid(0.0f) == 0.5f);
  REQUIRE(std::isnan(VectorSigmoid(kNan)));
}

TEST_CASE("VectorTanh is within 4 ulp") {
  const auto f = [](float x) { return VectorTanh(x); };
  const auto exact = [](double x) { return std::tanh(x); };
  REQUIRE(LargestError(-10.0f, 10.0f, 1000003, f, exact) <= 4.0);
  REQUIRE(LargestError(-1e-3f, 1e-3f, 100003, f, exact) <= 4.0);
  REQUIRE(VectorTanh(kInf) == 1.0f);
  REQUIRE(VectorTanh(-kInf) == -1.0f);
  REQUIRE(VectorTanh(0.0f) == 0.0f);
  REQUIRE(std::isnan(VectorTanh(kNan)));
}

TEST_CASE("VectorLog1pUnit is within 4 ulp on [0, 1]") {
  const auto f = [](float x) { return VectorLog1pUnit(x); };
  const auto exact = [](double x) { return std::log1p(x); };
  REQUIRE(LargestError(0.0f, 1.0f, 1000003, f, exact) <= 4.0);
  REQUIRE(LargestError(0.0f, 1e-6f, 100003, f, exact) <= 4.0);
  REQUIRE(VectorLog1pUnit(0.0f) == 0.0f);
  REQUIRE(std::isnan(VectorLog1pUnit(kNan)));
}

TEST_CASE("Row sums add every element once, at any width") {
  for (int64_t d : {0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 33, 257, 1023}) {
    CAPTURE(d);
    std::vector<float> x(static_cast<size_t>(d)), y(x);
    double sum = 0.0, dot = 0.0, squares = 0.0, deviation = 0.0;
    for (int64_t i = 0; i < d; ++i) {  // Small integers: every sum is exact.
      x[static_cast<size_t>(i)] = static_cast<float>(i % 13 + 1);
      y[static_cast<size_t>(i)] = static_cast<float>(i % 7 - 3);
      sum += i % 13 + 1;
      dot += static_cast<double>((i % 13 + 1) * (i % 7 - 3));
      squares += static_cast<double>((i % 13 + 1) * (i % 13 + 1));
      deviation += static_cast<double>((i % 13 - 1) * (i % 13 - 1));
    }
    const auto check = [&]<int kLanes>() {
      REQUIRE(SumOf<kLanes>(x.data(), d) == sum);
      REQUIRE(DotOf<kLanes>(x.data(), y.data(), d) == dot);
      REQUIRE(SquaredDeviationOf<kLanes>(x.data(), 2.0f, d) == deviation);
      REQUIRE((DoubleSumOf<kLanes, false>(x.data(), d)) == sum);
      REQUIRE((DoubleSumOf<kLanes, true>(x.data(), d)) == squares);
      for (int64_t i = 0; i < d; ++i) {  // The greatest is found wherever it is.
        std::vector<float> z = y;
        z[static_cast<size_t>(i)] = 100.0f;
        REQUIRE(MaxOf<kLanes>(z.data(), d) == 100.0f);
      }
    };
    check.operator()<4>();
    check.operator()<8>();
    check.operator()<16>();
  }
  REQUIRE(MaxOf<8>(nullptr, 0) == -kInf);
}

TEST_CASE("MaxOf leaves NaNs out") {
  std::vector<float> x(40, -5.0f);
  x[0] = kNan;
  x[20] = kNan;
  x[39] = kNan;
  REQUIRE(MaxOf<8>(x.data(), 40) == -5.0f);
}

}  // namespace pagoda
