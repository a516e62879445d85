// Sums over the workers of a job by Gloo, over TCP. Workers find one another on
// the rendezvous board of the first parameter server; no shared folder, no other
// service.
//
// Results: ring algorithm; every worker ends with the same bits, which depend on
// the values, the number of workers and nothing else.
//
// How long a call may take: as long as the others live, for a barrier also waits
// for a worker that writes a cut. What ends it:
//   UNAVAILABLE        a peer's connection broke (its process died: at once; its
//                      host was cut off: after `peer_timeout`), naming the worker;
//                      or the job has failed: ParameterClient::Health, its cause
//   DEADLINE_EXCEEDED  a peer did not come to the rendezvous within
//                      `connect_timeout`, or a call took longer than `call_deadline`
// After any error the object is dead: every later call returns the same.
//
// With more than one worker the process ignores SIGPIPE from then on.
//
// Gloo's traffic is neither encrypted nor authenticated: it needs a trusted network.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "worker/allreduce.h"
#include "worker/parameter_client.h"

namespace pagoda {

struct GlooOptions {
  std::string job;  // Keeps the jobs that use one board apart.
  int rank = 0;
  int num_workers = 1;
  // Address, host name or network interface on which the others reach this worker.
  // Empty: 127.0.0.1 when all `servers` are on loopback, else the local address of
  // the route to the first of them.
  std::string host;
  std::vector<std::string> servers;  // HOST:PORT of the parameter servers.
  absl::Duration connect_timeout = absl::Seconds(60);
  absl::Duration peer_timeout = absl::Seconds(8);
  absl::Duration call_deadline = absl::Minutes(10);
};

// Connects at its first call; `client` need not be open for that, and must outlive
// the result. With one worker, nothing is connected at all.
std::unique_ptr<AllReduce> MakeGlooAllReduce(const GlooOptions& options, ParameterClient* client);

// The address this worker will be reached at; see GlooOptions::host.
//   INVALID_ARGUMENT  no server is named, or one is not HOST:PORT
//   UNAVAILABLE       there is no route to the first server
absl::StatusOr<std::string> ChooseGlooHost(const GlooOptions& options);

}  // namespace pagoda
