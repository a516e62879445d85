// Devices by name, as job files and messages have them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/tensor.h"

namespace pagoda {

// "cpu", "emulated", "cuda" (the first), "cuda:N", or "auto": cuda:0 where this build and
// this machine have one, else cpu.
//   INVALID_ARGUMENT  anything else (names what there is)
absl::StatusOr<Device> ParseDevice(const std::string& name);

// The device of worker `rank` of those that `pagoda launch` starts on one machine: the one
// `rank` places after `first` among the indices `gpus`, going round. `first` when it is
// none of them.
Device DeviceOfWorker(Device first, int rank, const std::vector<int>& gpus);

// "cpu", "cuda:1".
std::string DeviceName(Device device);

}  // namespace pagoda
