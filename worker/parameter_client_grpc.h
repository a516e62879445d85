// A ParameterClient over real parameter servers: one call per server and batch,
// ids split by ShardOf (base/hash.h), replies brought back to their rows.
//
// How long a call may take: as long as all others live. A pull or push that waits
// for another worker has a deadline of minutes (`call_deadline`); but a heartbeat
// goes to every server each quarter of the session's timeout, and what ends the
// wait within that timeout, for every call under way and all later ones, is
//   UNAVAILABLE  "server 127.0.0.1:7001 has not answered for 8.0 s: ..."
//   ABORTED      the cause that a server knows: a worker died or reported a failure
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/parameter_client.h"

namespace pagoda {

struct GrpcClientOptions {
  std::vector<std::string> servers;  // HOST:PORT; servers[i] is shard i.
  // Open waits so long for servers that are still starting.
  absl::Duration connect_timeout = absl::Seconds(20);
  absl::Duration call_deadline = absl::Minutes(10);
  int message_bytes_max = 256 << 20;  // Of one request or reply; as the servers'.
  bool insecure_plaintext = false;    // Needed for servers beyond loopback.
};

// Connects lazily: nothing is sent before Open.
//   INVALID_ARGUMENT     no server, or an address that is not HOST:PORT or appears twice
//   FAILED_PRECONDITION  a server beyond loopback without insecure_plaintext
absl::StatusOr<std::unique_ptr<ParameterClient>> MakeGrpcClient(const GrpcClientOptions& options);

}  // namespace pagoda
