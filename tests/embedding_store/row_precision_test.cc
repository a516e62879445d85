#include "embedding_store/row_precision.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

constexpr RowPrecision kHalves[] = {RowPrecision::kF16, RowPrecision::kBF16};

// A finite 16-bit number by definition: sign, exponent field, fraction.
double ValueOf(RowPrecision precision, uint16_t bits) {
  const int fraction_bits = precision == RowPrecision::kF16 ? 10 : 7;
  const int bias = precision == RowPrecision::kF16 ? 15 : 127;
  const int exponent = (bits & 0x7fff) >> fraction_bits;
  const double fraction = std::ldexp(bits & ((1 << fraction_bits) - 1), -fraction_bits);
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1.0 + fraction, exponent - bias);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

bool Finite(RowPrecision precision, uint16_t bits) {
  const uint16_t exponents = precision == RowPrecision::kF16 ? 0x7c00 : 0x7f80;
  return (bits & exponents) != exponents;
}

float Load(RowPrecision precision, uint16_t bits) {
  float value = 0;
  LoadWeights(precision, reinterpret_cast<const char*>(&bits), 1, &value);
  return value;
}

uint16_t Nearest(RowPrecision precision, float value) {
  uint16_t bits = 0;
  StoreNearest(precision, &value, 1, reinterpret_cast<char*>(&bits));
  return bits;
}

uint16_t Randomly(RowPrecision precision, float value, uint64_t key) {
  uint16_t bits = 0;
  StoreRandomly(precision, &value, 1, RandomKey{key}, reinterpret_cast<char*>(&bits));
  return bits;
}

std::vector<float> SomeFloats(uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values = {0.0f,     -0.0f,        1.0f,     -1.0f,    0x1p-24f,
                               0x1p-25f, 3 * 0x1p-25f, 0x1p-14f, 65503.0f, 65504.0f,
                               65519.0f, 1e-45f,       1e-39f};
  for (int i = 0; i < 20000; ++i) {
    const float mantissa = 1.0f + static_cast<float>(random() % 8388608) / 8388608.0f;
    const int exponent = static_cast<int>(random() % 42) - 26;
    values.push_back(std::ldexp(random() % 2 != 0 ? mantissa : -mantissa, exponent));
  }
  return values;
}

TEST_CASE("every finite 16-bit number is read exactly and written back as itself") {
  for (const RowPrecision precision : kHalves) {
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
      const auto half = static_cast<uint16_t>(bits);
      if (!Finite(precision, half)) continue;
      const float value = Load(precision, half);
      if (static_cast<double>(value) != ValueOf(precision, half)) {
        CAPTURE(bits, value, ValueOf(precision, half));
        FAIL("read wrongly");
      }
      if (Nearest(precision, value) != half || Randomly(precision, value, bits) != half) {
        CAPTURE(bits, value);
        FAIL("written wrongly");
      }
    }
  }
}

TEST_CASE("rounding to nearest is what double arithmetic gives") {
  for (const RowPrecision precision : kHalves) {
    for (const float value : SomeFloats(3)) {
      CAPTURE(RowPrecisionName(precision), value);
      REQUIRE(Load(precision, Nearest(precision, value)) == OracleRound(precision, value, 0.5));
    }
  }
}

TEST_CASE("random rounding takes a neighbour, and is right on average") {
  constexpr int kDraws = 4000;
  const std::vector<float> some = SomeFloats(5);
  for (const RowPrecision precision : kHalves) {
    for (size_t i = 0; i < 60; ++i) {
      const float value = some[i];
      const double below = OracleRound(precision, value, 0.0);
      const double above = OracleRound(precision, value, 1.0 - 1e-12);
      double sum = 0;
      for (int draw = 0; draw < kDraws; ++draw) {
        const double rounded = Load(precision, Randomly(precision, value, 77 * i + 1000u * draw));
        CAPTURE(RowPrecisionName(precision), value, rounded);
        REQUIRE((rounded == below || rounded == above));
        sum += rounded;
      }
      // 13 random bits cannot tell less than 2^-13 of f16's least spacing from nothing.
      if (std::fabs(value) > 65504.0f || std::fabs(value) < 0x1p-37f) continue;
      // Five standard deviations of the mean, at most half a spacing each draw.
      const double spacing = std::fabs(above - below);
      CAPTURE(RowPrecisionName(precision), value, sum / kDraws);
      REQUIRE(std::fabs(sum / kDraws - value) <=
              spacing * (5 * 0.5 / std::sqrt(kDraws) + 1.0 / 8192));
    }
  }
}

TEST_CASE("columns and keys draw their own random bits") {
  const std::vector<float> values(64, 1.0f + 0x1p-12f);
  std::vector<uint16_t> a(64), b(64), again(64);
  const auto store = [&](uint64_t key, std::vector<uint16_t>* to) {
    StoreRandomly(RowPrecision::kBF16, values.data(), 64, RandomKey{key},
                  reinterpret_cast<char*>(to->data()));
  };
  std::vector<float> halfway(64, 1.0f + 0x1p-8f);
  std::vector<uint16_t> h(64);
  StoreRandomly(RowPrecision::kBF16, halfway.data(), 64, RandomKey{9},
                reinterpret_cast<char*>(h.data()));
  const auto ups = std::count(h.begin(), h.end(), h[0]);
  CHECK(ups > 10);
  CHECK(ups < 54);
  store(1, &a);
  store(2, &b);
  store(1, &again);
  CHECK(a == again);
}

TEST_CASE("what is too large is held at the largest number") {
  const float inf = std::numeric_limits<float>::infinity();
  for (const float value : {70000.0f, 3.4e38f, inf}) {
    CHECK(Load(RowPrecision::kF16, Nearest(RowPrecision::kF16, value)) == 65504.0f);
    CHECK(Load(RowPrecision::kF16, Randomly(RowPrecision::kF16, -value, 3)) == -65504.0f);
  }
  const float most = std::numeric_limits<float>::max();
  for (uint64_t key = 0; key < 100; ++key) {
    CHECK(std::isfinite(Load(RowPrecision::kBF16, Randomly(RowPrecision::kBF16, most, key))));
  }
  CHECK(std::isfinite(Load(RowPrecision::kBF16, Nearest(RowPrecision::kBF16, most))));
  CHECK(std::isnan(Load(RowPrecision::kBF16, Nearest(RowPrecision::kBF16, std::nanf("")))));
}

TEST_CASE("many small updates add up") {
  // To nearest, 1 + 2^-12 would stay 1 for ever.
  constexpr size_t kWeights = 32;
  std::vector<float> weights(kWeights, 1.0f);
  std::vector<uint16_t> kept(kWeights);
  char* bytes = reinterpret_cast<char*>(kept.data());
  for (uint64_t update = 0; update < 40960; ++update) {
    for (float& weight : weights) weight += 0x1p-12f;
    StoreRandomly(RowPrecision::kBF16, weights.data(), kWeights, RandomKey{update}, bytes);
    LoadWeights(RowPrecision::kBF16, bytes, kWeights, weights.data());
  }
  double sum = 0;
  for (const float weight : weights) sum += weight;
  // One weight ends with a standard deviation of about 0.45.
  CHECK(sum / kWeights == Approx(11.0).margin(5 * 0.45 / std::sqrt(kWeights)));
}

TEST_CASE("f32 is copied") {
  const std::vector<float> values = SomeFloats(7);
  const auto dim = static_cast<int64_t>(values.size());
  std::vector<float> kept(values.size()), back(values.size());
  for (const bool nearest : {true, false}) {
    char* weights = reinterpret_cast<char*>(kept.data());
    if (nearest) {
      StoreNearest(RowPrecision::kF32, values.data(), dim, weights);
    } else {
      StoreRandomly(RowPrecision::kF32, values.data(), dim, RandomKey{1}, weights);
    }
    LoadWeights(RowPrecision::kF32, weights, dim, back.data());
    CHECK(std::memcmp(back.data(), values.data(), values.size() * 4) == 0);
  }
}

// Largest of |row|.
float Largest(const std::vector<float>& row) {
  float largest = 0.0f;
  for (const float w : row) largest = std::max(largest, std::fabs(w));
  return largest;
}

std::vector<float> PackedAndBack(const std::vector<float>& row) {
  const auto dim = static_cast<int64_t>(row.size());
  std::string packed(PackedInt8Bytes(dim), 'x');
  PackInt8(row.data(), dim, packed.data());
  std::vector<float> back(row.size(), 9.0f);
  REQUIRE(UnpackInt8(packed.data(), dim, back.data()));
  return back;
}

TEST_CASE("a row moved to the int8 grid is near, comes back from its bytes, and stays") {
  const uint32_t seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (const int dim : {0, 1, 2, 3, 16, 17, 128}) {
    for (int i = 0; i < 300; ++i) {
      const float size = std::exp2(std::uniform_real_distribution<float>(-140, 126)(random));
      std::uniform_real_distribution<float> uniform(-size, size);
      std::vector<float> row(static_cast<size_t>(dim));
      for (float& w : row) w = random() % 8 == 0 ? -0.0f : uniform(random);
      const std::vector<float> before = row;
      RoundToInt8(row.data(), dim, RandomKey{random()});
      const float unit = Largest(row) / 127.0f;
      for (size_t c = 0; c < row.size(); ++c) {
        CAPTURE(dim, c, before[c], row[c], unit);
        // A unit for the weight, and the scale's own rounding (2^-7) of up to 127 units;
        // near the smallest f32 a scale is a multiple of 2^-133.
        REQUIRE(std::fabs(double{row[c]} - before[c]) <= 2.0 * unit + 127 * 0x1p-133);
      }
      const std::vector<float> back = PackedAndBack(row);
      REQUIRE((row.empty() || std::memcmp(back.data(), row.data(), 4 * row.size()) == 0));
      std::vector<float> again = row;
      RoundToInt8(again.data(), dim, RandomKey{random()});
      REQUIRE((row.empty() || std::memcmp(again.data(), row.data(), 4 * row.size()) == 0));
    }
  }
}

TEST_CASE("rounding to int8 is right on average, and a function of its key") {
  const std::vector<float> row = {0.7f, -0.31f, 0.0041f, -0.0001f, 0.0f, 0.699f};
  std::vector<double> sum(row.size());
  constexpr int kDraws = 40000;
  for (int i = 0; i < kDraws; ++i) {
    std::vector<float> drawn = row, same = row;
    RoundToInt8(drawn.data(), 6, RandomKey{1000u + static_cast<uint64_t>(i)});
    RoundToInt8(same.data(), 6, RandomKey{1000u + static_cast<uint64_t>(i)});
    REQUIRE(drawn == same);
    for (size_t c = 0; c < row.size(); ++c) sum[c] += drawn[c];
  }
  for (size_t c = 0; c < row.size(); ++c) {
    CAPTURE(c, row[c], sum[c] / kDraws);
    // A unit is 0.0055; six standard deviations of a mean, and the last weight is held
    // at the largest where the scale is rounded down.
    CHECK(std::fabs(sum[c] / kDraws - row[c]) < (c == 5 ? 0.001 : 0.0001));
  }
}

TEST_CASE("what int8 cannot hold is held at its largest, and a damaged scale is refused") {
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> row = {-infinity, 1e30f, std::numeric_limits<float>::max()};
  RoundToInt8(row.data(), 3, RandomKey{1});
  CHECK(std::isfinite(row[0]));
  CHECK(row[0] < -3e38f);
  CHECK(row[0] == -row[2]);
  CHECK(PackedAndBack(row) == row);
  row = {std::nanf(""), 0.5f};
  RoundToInt8(row.data(), 2, RandomKey{1});
  CHECK(std::fabs(row[0]) == row[1]);
  row = {std::nanf(""), -0.0f};
  RoundToInt8(row.data(), 2, RandomKey{1});
  CHECK(row == std::vector<float>{0.0f, 0.0f});
  float weight = 0.0f;
  for (const uint16_t scale : {0x8000, 0xbf80, 0x7f80, 0x7fc0, 0x7f7f}) {
    char packed[3] = {static_cast<char>(scale & 0xff), static_cast<char>(scale >> 8), 1};
    CAPTURE(scale);
    CHECK_FALSE(UnpackInt8(packed, 1, &weight));
  }
}

}  // namespace
}  // namespace pagoda
