// Addresses of the form HOST:PORT, as users write them.
//
// Threads: pure functions; IsLoopbackHost never asks a name server.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pagoda {

struct HostPort {
  std::string host;  // Without the brackets of an IPv6 address.
  int port = 0;      // In [0, 65535].
};

// "worker-3:7000", "127.0.0.1:7000", "[::1]:7000".
//   INVALID_ARGUMENT  anything else (says what is missing)
absl::StatusOr<HostPort> ParseHostPort(absl::string_view text);

// Whether traffic to `host` cannot leave this machine: localhost, 127.0.0.0/8, ::1.
// Any other name counts as remote, whatever it resolves to.
bool IsLoopbackHost(absl::string_view host);

}  // namespace pagoda
