// Builds without GPU kernels.
#include "kernels/copy_queue.h"
#include "kernels/gpu_device.h"

namespace pagoda {

absl::StatusOr<std::shared_ptr<Allocator>> CreateGpuAllocator(Device, const GpuOptions&) {
  return absl::UnimplementedError("this build of Pagoda has no GPU kernels: use device = \"cpu\"");
}

absl::StatusOr<std::unique_ptr<CopyQueue>> CreateGpuCopyQueue(Context&) {
  return absl::UnimplementedError("this build of Pagoda has no GPU kernels");
}

std::vector<int> UsableGpus(DeviceKind) {
  return {};
}

std::string GpuIdentity(Device) {
  return "";
}

int CountGpus(DeviceKind) {
  return 0;
}

GpuReport DescribeGpus() {
  GpuReport report;
  report.kernels = "none";
  report.problem =
      "this build has no GPU kernels: the CUDA toolkit (nvcc 12.8 or later) was not "
      "found when it was configured, or PAGODA_CUDA was OFF";
  return report;
}

}  // namespace pagoda
