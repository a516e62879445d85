// What the workers of a job tell one another beside gradients: one worker's bytes to
// all, one worker's failure to all, and that all hold the same dense parameters.
//
// Every function is collective: all workers call it, in the same order, or wait
// until the allreduce's deadline. With one worker each is free.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/allreduce.h"

namespace pagoda {

// Worker 0's `bytes` on every worker; the others' argument is ignored.
absl::StatusOr<std::string> BroadcastBytes(AllReduce& allreduce, const std::string& bytes);

// OK when `mine` is OK on every worker; else this worker's own error, or ABORTED
// "worker 1 could not WHAT" where only others failed.
absl::Status AgreeOnStatus(AllReduce& allreduce, const absl::Status& mine, const std::string& what);

// Checks that every worker has the same 64-bit value.
//   INTERNAL  two workers differ: names them and WHAT
absl::Status CheckSameEverywhere(AllReduce& allreduce, uint64_t value, const std::string& what);

}  // namespace pagoda
