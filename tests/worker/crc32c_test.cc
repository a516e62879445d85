#include "worker/crc32c.h"

#include <catch2/catch.hpp>
#include <string>

namespace pagoda {
namespace {

// Vectors of RFC 3720, appendix B.4.
TEST_CASE("CRC-32C of the published vectors") {
  REQUIRE(Crc32c("") == 0U);
  REQUIRE(Crc32c("123456789") == 0xE3069283U);
  REQUIRE(Crc32c(std::string(32, '\0')) == 0x8A9136AAU);
  REQUIRE(Crc32c(std::string(32, '\xff')) == 0x62A8AB43U);
  std::string ascending;
  for (char c = 0; c < 32; ++c) ascending.push_back(c);
  REQUIRE(Crc32c(ascending) == 0x46DD794EU);
}

TEST_CASE("the mask rotates by 15 and adds its constant") {
  REQUIRE(MaskCrc(0) == 0xa282ead8U);
  REQUIRE(MaskCrc(0x00008000U) == 0xa282ead9U);
  REQUIRE(MaskCrc(1) == 0xa284ead8U);
}

}  // namespace
}  // namespace pagoda
