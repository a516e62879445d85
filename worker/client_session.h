// What every ParameterClient does alike: presents its session, checks the caller's
// tables, and turns one answer per server into one.
//
// Threads: free functions are pure; FanIn takes any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "worker/parameter_client.h"

namespace pagoda {

// A number for this client that is higher than those of all earlier clients on
// this machine: nanoseconds of the clock, never twice in one process.
uint64_t NewIncarnation();

// The words with which the session is opened on server `shard` of `num_shards`.
proto::HelloRequest MakeHello(const SessionOptions& options, uint32_t shard, uint32_t num_shards,
                              uint64_t incarnation);

//   INVALID_ARGUMENT     a table index is out of range
absl::Status CheckPulls(std::span<const TablePull> tables, const SessionOptions& options);
//   INVALID_ARGUMENT     a table index is out of range, or a gradient is not finite
//                        (names table and id)
//   FAILED_PRECONDITION  the session only reads
absl::Status CheckPushes(std::span<const TablePush> tables, const SessionOptions& options);

// Calls `done` once, when each of `parts` has finished: OK when all are, else the
// error of the first part in order, one that is a cause before one that is a
// consequence (ABORTED, CANCELLED).
class FanIn {
 public:
  FanIn(size_t parts, ParameterClient::Done done);
  // REQUIRES: part < parts; once for each part.
  void Finish(size_t part, absl::Status status);

 private:
  std::mutex mutex_;
  size_t left_;
  std::vector<absl::Status> statuses_;
  ParameterClient::Done done_;
};

}  // namespace pagoda
