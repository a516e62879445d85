// A parameter service on the network: gRPC with raw little-endian payloads
// (docs/wire_format.md), the standard health service ("" and
// "pagoda.proto.ParameterServer") and reflection.
//
// Requests run on threads of their own and in the order of arrival; heartbeats and
// the rendezvous board are answered by the network threads, so a busy store never
// makes the server look dead.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/parameter_service.h"

namespace pagoda {

struct GrpcServerOptions {
  std::string listen = "127.0.0.1:0";  // Port 0: any free one, see port().
  // Nothing is encrypted yet; listening beyond loopback must be asked for by name.
  bool insecure_plaintext = false;
  int num_threads = 4;              // For requests; at least 1.
  int requests_waiting_max = 4096;  // Beyond it: RESOURCE_EXHAUSTED at once.
  // Of one request or reply. 1e5 rows of 64 floats are 27 MB; protobuf ends at 2 GiB.
  int message_bytes_max = 256 << 20;
};

// Threads: any method, any thread.
class GrpcServer {
 public:
  virtual ~GrpcServer() = default;  // Shutdown with no grace, unless it has been.
  virtual int port() const = 0;
  virtual std::string address() const = 0;  // HOST:PORT
  // Takes no new calls, gives those under way up to `grace`, fails the rest with
  // `cause` (through ParameterService::Shutdown), and returns when all are answered.
  virtual void Shutdown(const absl::Status& cause, absl::Duration grace) = 0;
};

// `service` must outlive the server.
//   INVALID_ARGUMENT     an option is out of range, or `listen` is not HOST:PORT
//   FAILED_PRECONDITION  not a loopback address, and not insecure_plaintext
//   ALREADY_EXISTS       "127.0.0.1:7000: address already in use"
//   UNAVAILABLE          the address cannot be listened on (says why)
absl::StatusOr<std::unique_ptr<GrpcServer>> StartGrpcServer(const GrpcServerOptions& options,
                                                            ParameterService* service);

}  // namespace pagoda
