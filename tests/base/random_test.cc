#include "base/random.h"

#include <vector>

#include <catch2/catch.hpp>

namespace pagoda {

// Initial rows, shuffles and dropout masks are made of these: the values never
// change.
TEST_CASE("Random bits have their golden values") {
  REQUIRE(RandomBits({0}, 0) == 0xa706dd2f4d197e6fULL);
  REQUIRE(RandomBits({1}, 0) == 0xe9fd6049d65af21eULL);
  REQUIRE(RandomBits({0}, 1) == 0x46b73e79f0c37c00ULL);
  REQUIRE(RandomBits({12345}, 67890) == 0xd89e5400e0a46ccdULL);
  REQUIRE(RandomBits({~uint64_t{0}}, ~uint64_t{0}) == 0x28246be9167d2b58ULL);
}

TEST_CASE("Derived keys have their golden values and depend on order") {
  REQUIRE(RandomKey{0}.Derive(0).value == 0x88ce4b48a6765bfcULL);
  REQUIRE(RandomKey{7}.Derive(3).value == 0xa79698f2a0cde86dULL);
  REQUIRE(RandomKey{7}.Derive(1).Derive(2).value == 0x2e2a6e9bce51ce3dULL);
  REQUIRE(RandomKey{7}.Derive(2).Derive(1).value == 0x11fa087da53caa91ULL);
}

TEST_CASE("Uniform, normal and bounded numbers have their golden values") {
  REQUIRE(RandomUniform({0}, 0) == static_cast<float>(0xa706dd) * 0x1p-24f);
  REQUIRE(RandomUniform({1}, 0) == static_cast<float>(0xe9fd60) * 0x1p-24f);
  REQUIRE(RandomNormal({0}, 0) == static_cast<float>(-0.15163861089394687));
  REQUIRE(RandomNormal({1}, 5) == static_cast<float>(-0.2595558438805296));
  REQUIRE(RandomNormal({12345}, 67890) == static_cast<float>(-0.7909688980269319));
  REQUIRE(RandomBelow({0}, 0, 10) == 6);
  REQUIRE(RandomBelow({1}, 5, 1000) == 700);
  REQUIRE(RandomBelow({12345}, 67890, ~uint64_t{0}) == 15609005721258323148ULL);
}

TEST_CASE("Uniform numbers fill [0, 1) evenly") {
  constexpr int kDraws = 160000;
  std::vector<int> counts(16, 0);
  double sum = 0.0;
  for (uint64_t i = 0; i < kDraws; ++i) {
    const float u = RandomUniform(RandomKey{5}.Derive(9), i);
    REQUIRE(u >= 0.0f);
    REQUIRE(u < 1.0f);
    ++counts[static_cast<size_t>(u * 16.0f)];
    sum += static_cast<double>(u);
  }
  double chi_square = 0.0;  // 15 degrees of freedom.
  for (int count : counts) chi_square += (count - 10000.0) * (count - 10000.0) / 10000.0;
  REQUIRE(chi_square < 44.0);
  REQUIRE(sum / kDraws == Approx(0.5).margin(5 * 0.2887 / 400));
}

TEST_CASE("Neighbouring keys and counters give unrelated numbers") {
  // The correlation of n pairs has deviation 1 / sqrt(n) = 0.005.
  constexpr int kDraws = 40000;
  double by_key = 0.0, by_counter = 0.0;
  for (uint64_t i = 0; i < kDraws; ++i) {
    const double u = static_cast<double>(RandomUniform({1}, i)) - 0.5;
    by_key += u * (static_cast<double>(RandomUniform({2}, i)) - 0.5);
    by_counter += u * (static_cast<double>(RandomUniform({1}, i + 1)) - 0.5);
  }
  REQUIRE(by_key / kDraws * 12.0 == Approx(0.0).margin(0.025));
  REQUIRE(by_counter / kDraws * 12.0 == Approx(0.0).margin(0.025));
}

TEST_CASE("Normal numbers have the moments of a standard normal") {
  constexpr int kDraws = 200000;
  double sum = 0.0, squares = 0.0, fourth = 0.0;
  for (uint64_t i = 0; i < kDraws; ++i) {
    const double z = static_cast<double>(RandomNormal({8}, i));
    REQUIRE(std::isfinite(z));
    sum += z;
    squares += z * z;
    fourth += z * z * z * z;
  }
  REQUIRE(sum / kDraws == Approx(0.0).margin(5 / std::sqrt(kDraws)));
  REQUIRE(squares / kDraws == Approx(1.0).margin(5 * std::sqrt(2.0 / kDraws)));
  REQUIRE(fourth / kDraws == Approx(3.0).margin(5 * std::sqrt(96.0 / kDraws)));
}

TEST_CASE("Bounded numbers stay below the bound and reach all of it") {
  for (uint64_t bound : {1u, 2u, 7u}) {
    std::vector<int> counts(bound, 0);
    for (uint64_t i = 0; i < 7000; ++i) {
      const uint64_t value = RandomBelow({3}, i, bound);
      REQUIRE(value < bound);
      ++counts[value];
    }
    const double expected = 7000.0 / static_cast<double>(bound);
    for (int count : counts) REQUIRE(std::fabs(count - expected) < 5 * std::sqrt(expected));
  }
}

}  // namespace pagoda
