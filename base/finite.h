// Is an array free of infinities and NaNs? Asked of every gradient that arrives.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace pagoda {

// True when no value is infinite or NaN. Looks at bits, so that no compiler flag can
// reason it away.
inline bool AllFinite(std::span<const float> values) {
  constexpr uint32_t kExponentBits = 0x7f800000U;
  constexpr size_t kBlock = 16;  // A fixed inner loop, so that it becomes vector code.
  uint32_t bad = 0;
  size_t i = 0;
  for (; i + kBlock <= values.size(); i += kBlock) {
    uint32_t found[kBlock];
    for (size_t k = 0; k < kBlock; ++k) {
      found[k] =
          (std::bit_cast<uint32_t>(values[i + k]) & kExponentBits) == kExponentBits ? 1U : 0U;
    }
    for (size_t k = 0; k < kBlock; ++k) bad |= found[k];
  }
  for (; i < values.size(); ++i) {
    bad |= (std::bit_cast<uint32_t>(values[i]) & kExponentBits) == kExponentBits ? 1U : 0U;
  }
  return bad == 0;
}

}  // namespace pagoda
