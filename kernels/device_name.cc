#include "kernels/device_name.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "kernels/gpu_device.h"

namespace pagoda {

absl::StatusOr<Device> ParseDevice(const std::string& name) {
  if (name == "cpu") return Device{DeviceKind::kCpu, 0};
  if (name == "emulated") return Device{DeviceKind::kEmulated, 0};
  if (name == "cuda") return Device{DeviceKind::kCuda, 0};
  if (name == "auto") {
    const std::vector<int> gpus = UsableGpus(DeviceKind::kCuda);
    return gpus.empty() ? Device{DeviceKind::kCpu, 0} : Device{DeviceKind::kCuda, gpus[0]};
  }
  absl::string_view rest = name;
  int index = 0;
  constexpr int kIndexMax = 1023;
  if (absl::ConsumePrefix(&rest, "cuda:") && absl::SimpleAtoi(rest, &index) && index >= 0 &&
      index <= kIndexMax && absl::StrCat(index) == rest) {
    return Device{DeviceKind::kCuda, index};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", name, "\" is no device: there are auto, cpu, cuda, cuda:N and emulated"));
}

Device DeviceOfWorker(Device first, int rank, const std::vector<int>& gpus) {
  const auto found = std::find(gpus.begin(), gpus.end(), first.index);
  if (first.kind != DeviceKind::kCuda || found == gpus.end()) return first;
  const auto place = static_cast<size_t>(found - gpus.begin()) + static_cast<size_t>(rank);
  first.index = gpus[place % gpus.size()];
  return first;
}

std::string DeviceName(Device device) {
  switch (device.kind) {
    case DeviceKind::kCpu: return "cpu";
    case DeviceKind::kFake: return "fake";
    case DeviceKind::kEmulated: return "emulated";
    case DeviceKind::kCuda: return absl::StrCat("cuda:", device.index);
  }
  return "?";
}

}  // namespace pagoda
