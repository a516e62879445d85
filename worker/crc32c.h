// CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected), and the masked form that
// TFRecord files carry. Written for small records: one table, one byte at a time.
//
// Threads: pure functions.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace pagoda {

// Crc32c("123456789") == 0xE3069283.
uint32_t Crc32c(absl::string_view bytes);

// TFRecord stores this instead, so that a CRC over data that holds CRCs stays useful.
constexpr uint32_t MaskCrc(uint32_t crc) {
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

}  // namespace pagoda
