// Numbers from text: exact, independent of the locale, and strict about what is
// left over.
//
// Threads: pure functions.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace pagoda {

enum class NumberError {
  kNone,
  kNotANumber,  // "x4", "", "1 ", "0x10"
  kNotFinite,   // "nan", "inf", "infinity", of any case and sign
  kTooLarge,    // "1e999"
};

// Decimal number, with an optional sign, fraction and exponent, correctly rounded
// to the nearest double; one too small for a double reads as 0. `value` is written
// only on kNone.
NumberError ParseNumber(absl::string_view text, double* value);

// Decimal digits alone, below 2^64. false otherwise; `value` is then unspecified.
bool ParseId(absl::string_view text, uint64_t* value);

}  // namespace pagoda
