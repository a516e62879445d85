#include "kernels/device_name.h"

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
    const int gpu = FirstUsableGpu(DeviceKind::kCuda);
    return gpu < 0 ? Device{DeviceKind::kCpu, 0} : Device{DeviceKind::kCuda, gpu};
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

Device DeviceOfWorker(Device first, int rank, int num_gpus) {
  if (first.kind == DeviceKind::kCuda && num_gpus > 0) {
    first.index = (first.index + rank) % num_gpus;
  }
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
