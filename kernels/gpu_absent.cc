// Builds without GPU kernels.
#include "kernels/gpu_device.h"

namespace pagoda {

absl::StatusOr<std::shared_ptr<Allocator>> CreateGpuAllocator(Device, const GpuOptions&) {
  return absl::UnimplementedError("this build of Pagoda has no GPU kernels: use device = \"cpu\"");
}

int CountGpus(DeviceKind) {
  return 0;
}

}  // namespace pagoda
