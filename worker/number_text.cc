#include "worker/number_text.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>
#include <system_error>

namespace pagoda {
namespace {

// 10^k for the k at which it is exact in a double.
constexpr double kPowersOfTen[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
// 15 digits stay below 2^53, so that the digits are exact in a double and one
// division rounds once.
constexpr int kExactDigits = 15;

bool IsDigit(char c) {
  return static_cast<unsigned char>(c - '0') < 10;
}

NumberError ParseAnyNumber(absl::string_view text, double* value) {
  const char* begin = text.data();
  const char* const end = begin + text.size();
  if (begin < end && *begin == '+') {  // from_chars takes '-' alone.
    ++begin;
    if (begin < end && *begin == '-') return NumberError::kNotANumber;
  }
  double parsed = 0.0;
  const std::from_chars_result result = std::from_chars(begin, end, parsed);
  if (result.ec == std::errc::invalid_argument || result.ptr != end) {
    return NumberError::kNotANumber;
  }
  if (result.ec == std::errc::result_out_of_range) {
    // Both too large and too small; strtod tells which.
    parsed = std::strtod(std::string(begin, end).c_str(), nullptr);
    if (std::fabs(parsed) > 1.0) return NumberError::kTooLarge;
  }
  if (!std::isfinite(parsed)) return NumberError::kNotFinite;
  *value = parsed;
  return NumberError::kNone;
}

}  // namespace

NumberError ParseNumber(absl::string_view text, double* value) {
  const char* p = text.data();
  const char* const end = p + text.size();
  const bool negative = p < end && *p == '-';
  if (negative) ++p;
  uint64_t digits = 0;
  const char* const first = p;
  for (; p < end && IsDigit(*p); ++p) digits = 10 * digits + static_cast<uint64_t>(*p - '0');
  int64_t num_digits = p - first;
  int64_t num_fraction = 0;
  if (p < end && *p == '.') {
    const char* const fraction = ++p;
    for (; p < end && IsDigit(*p); ++p) digits = 10 * digits + static_cast<uint64_t>(*p - '0');
    num_fraction = p - fraction;
    num_digits += num_fraction;
  }
  if (p != end || num_digits == 0 || num_digits > kExactDigits) {
    return ParseAnyNumber(text, value);
  }
  const double magnitude = static_cast<double>(digits) / kPowersOfTen[num_fraction];
  *value = negative ? -magnitude : magnitude;
  return NumberError::kNone;
}

bool ParseId(absl::string_view text, uint64_t* value) {
  // from_chars takes a leading '-' for no unsigned type, and nothing but digits.
  const std::from_chars_result result =
      std::from_chars(text.data(), text.data() + text.size(), *value);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

}  // namespace pagoda
