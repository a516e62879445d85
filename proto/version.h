// What worker and server must agree on before they exchange a row.
#pragma once

#include <cstdint>

namespace pagoda {

// Of this build, from the CMake project: "0.1.0". Worker and server refuse each
// other when it differs, until the wire format is frozen.
inline constexpr char kPagodaVersion[] = PAGODA_VERSION;

// Of the messages in parameter_server.proto; raised by any change of meaning.
inline constexpr uint32_t kProtocolVersion = 4;

}  // namespace pagoda
