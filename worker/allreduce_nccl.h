// Sums over the workers of a job by NCCL, one process a GPU. NCCL's unique id goes from
// worker 0 to the others by the host's allreduce; no other rendezvous.
//
// A peer that dies leaves NCCL's kernels waiting for ever. So Finish looks at them from
// the host, and at the job's health (AllReduce::Health), and aborts the communicator.
//
// NOT RUN: no machine with GPUs was at hand; this file was compiled and reviewed. What
// surrounds it is tested with MakeHostDeviceAllReduce in its place.
//
// NCCL's traffic is neither encrypted nor authenticated: it needs a trusted network.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/context.h"
#include "worker/allreduce.h"
#include "worker/device_allreduce.h"

namespace pagoda {

struct NcclOptions {
  absl::Duration connect_timeout = absl::Seconds(60);
  absl::Duration call_deadline = absl::Minutes(10);
};

// Collective. `ctx` (of a CUDA device) and `allreduce` must outlive the result.
//   UNIMPLEMENTED                   this build has no NCCL
//   UNAVAILABLE, DEADLINE_EXCEEDED  NCCL's error, in its words; or a peer did not come
absl::StatusOr<std::unique_ptr<DeviceAllReduce>> MakeNcclAllReduce(Context& ctx,
                                                                   AllReduce* allreduce,
                                                                   const NcclOptions& options = {});

// For `pagoda doctor`: "2.28.3", or empty in a build without NCCL.
std::string NcclVersion();

}  // namespace pagoda
