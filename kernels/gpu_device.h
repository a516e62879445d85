// One GPU as a context sees it: a stream, memory, cuBLAS. In builds without GPU kernels
// Create is all there is, and refuses.
//
// Everything a context does goes to one stream, so that work runs in the order of the
// calls; copies may go on beside it (copy_queue.h). Memory comes from the driver's stream-ordered
// pool (cudaMallocAsync), which keeps what is freed, under a budget of bytes; the emulated device
// gives each tensor memory of its own, so that sanitizers see its ends.
//
// Errors name the kernel. A kernel runs after its call has returned: an error found by a
// later call names the last kernel launched before it. After one every call fails.
//
// Threads: as Context, one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/context.h"

namespace pagoda {

struct GpuOptions {
  int64_t memory_bytes = 0;  // Of all tensors together; 0: what the device has.
};

//   UNIMPLEMENTED       this build has no kernels for such a device
//   UNAVAILABLE         no GPU, or no driver (says which)
//   INVALID_ARGUMENT    there is no device of this index
//   FAILED_PRECONDITION it is older than sm_80
absl::StatusOr<std::shared_ptr<Allocator>> CreateGpuAllocator(Device device,
                                                              const GpuOptions& options = {});

class CopyQueue;
// Of a GPU's context; see copy_queue.h.
absl::StatusOr<std::unique_ptr<CopyQueue>> CreateGpuCopyQueue(Context& ctx);

// The indices of those that the kernels run on.
std::vector<int> UsableGpus(DeviceKind kind);
// What tells a CUDA device from all others, whatever index processes see it under; empty:
// nothing does.
std::string GpuIdentity(Device device);
// How many devices of this kind the machine and this build have; 0 when in doubt.
int CountGpus(DeviceKind kind);

// For `pagoda doctor`.
struct GpuReport {
  std::string kernels;               // What this build has: "none", "emulated", "CUDA 13.0"
  std::string driver;                // "supports CUDA 13.0", or "not found"; empty: not asked.
  std::vector<std::string> devices;  // "NVIDIA H100 80GB HBM3, sm_90, 79.1 GiB"
  std::string problem;               // What keeps GPUs from being used; empty: nothing.
};
GpuReport DescribeGpus();

}  // namespace pagoda
