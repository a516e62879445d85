#include "worker/number_text.h"

#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>

#include "base/random.h"

namespace pagoda {
namespace {

double Parsed(const std::string& text) {
  double value = -12345.0;
  INFO(text);
  REQUIRE(ParseNumber(text, &value) == NumberError::kNone);
  return value;
}

NumberError ErrorOf(const std::string& text) {
  double value = 0.0;
  return ParseNumber(text, &value);
}

}  // namespace

TEST_CASE("numbers of every form") {
  CHECK(Parsed("0") == 0.0);
  CHECK(std::signbit(Parsed("-0")));
  CHECK(Parsed("007") == 7.0);
  CHECK(Parsed("+3") == 3.0);
  CHECK(Parsed("-3.5") == -3.5);
  CHECK(Parsed(".5") == 0.5);
  CHECK(Parsed("5.") == 5.0);
  CHECK(Parsed("1e3") == 1000.0);
  CHECK(Parsed("1E-2") == 0.01);
  CHECK(Parsed("0.1") == 0.1);
  CHECK(Parsed("123456789012345678901234567890") == 123456789012345678901234567890.0);
  CHECK(Parsed("0.000000000000000000000000000000000000001") == 1e-39);
  CHECK(Parsed("1e308") == 1e308);
  CHECK(Parsed("1e-400") == 0.0);
  CHECK(Parsed("4.9e-324") == std::numeric_limits<double>::denorm_min());
}

TEST_CASE("what is not a number, not finite, or too large") {
  for (const char* text : {"",  "x4", "4x", "1 ", " 1",  "0x10",  "1,5",  "--1",   "+-1",  "-",
                           "+", ".",  "e5", "1e", "1e+", "1.2.3", "nanx", "1_000", "\xff", "-."}) {
    CAPTURE(text);
    CHECK(ErrorOf(text) == NumberError::kNotANumber);
  }
  for (const char* text : {"nan", "NaN", "-nan", "+nan", "inf", "-inf", "Infinity", "+INF"}) {
    CAPTURE(text);
    CHECK(ErrorOf(text) == NumberError::kNotFinite);
  }
  CHECK(ErrorOf("1e309") == NumberError::kTooLarge);
  CHECK(ErrorOf("-1e999") == NumberError::kTooLarge);
  CHECK(ErrorOf(std::string("1\0", 2)) == NumberError::kNotANumber);
}

TEST_CASE("every decimal rounds as the C library rounds it") {
  const RandomKey key{11};
  for (uint64_t i = 0; i < 200000; ++i) {
    const uint64_t bits = RandomBits(key, i);
    std::string digits = std::to_string(bits >> (bits % 60));
    const uint64_t point = RandomBelow(key, 3000000 + i, digits.size() + 1);
    if (point > 0) digits.insert(digits.size() - point, ".");
    if (i % 7 == 0) digits += "e" + std::to_string(static_cast<int>(bits % 60) - 30);
    if (i % 2 == 0) digits = "-" + digits;
    const double expected = std::strtod(digits.c_str(), nullptr);
    double value = 0.0;
    if (ParseNumber(digits, &value) != NumberError::kNone ||
        std::bit_cast<uint64_t>(value) != std::bit_cast<uint64_t>(expected)) {
      CAPTURE(digits, value, expected);
      FAIL("rounded otherwise");
    }
  }
}

TEST_CASE("ids are decimal digits below 2^64") {
  uint64_t id = 0;
  CHECK((ParseId("0", &id) && id == 0));
  CHECK((ParseId("00012", &id) && id == 12));
  CHECK((ParseId("18446744073709551615", &id) && id == UINT64_MAX));
  for (const char* text : {"", "18446744073709551616", "-1", "+1", "1.0", "1 ", " 1", "0x1", "a",
                           "99999999999999999999999"}) {
    CAPTURE(text);
    CHECK_FALSE(ParseId(text, &id));
  }
}

}  // namespace pagoda
