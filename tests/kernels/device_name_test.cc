#include "kernels/device_name.h"

#include <catch2/catch.hpp>

namespace pagoda {
namespace {

TEST_CASE("devices are found by name, and named alike") {
  for (const char* name : {"cpu", "emulated", "cuda:0", "cuda:17"}) {
    const auto device = ParseDevice(name);
    INFO(name);
    REQUIRE(device.ok());
    CHECK(DeviceName(*device) == name);
  }
  CHECK(*ParseDevice("cuda") == Device{DeviceKind::kCuda, 0});
  const Device chosen = *ParseDevice("auto");
  CHECK((chosen.kind == DeviceKind::kCpu || chosen.kind == DeviceKind::kCuda));
}

TEST_CASE("launched workers go round the GPUs of their machine") {
  const Device second = {DeviceKind::kCuda, 1};
  CHECK(DeviceOfWorker(second, 0, {0, 1, 2}) == second);
  CHECK(DeviceOfWorker(second, 1, {0, 1, 2}) == Device{DeviceKind::kCuda, 2});
  CHECK(DeviceOfWorker(second, 2, {0, 1, 2}) == Device{DeviceKind::kCuda, 0});
  CHECK(DeviceOfWorker(second, 2, {1, 3}) == second);  // GPUs 0 and 2 are too old.
  CHECK(DeviceOfWorker(second, 1, {1, 3}) == Device{DeviceKind::kCuda, 3});
  CHECK(DeviceOfWorker(second, 5, {1}) == second);
  CHECK(DeviceOfWorker(second, 1, {0}) == second);  // Refused later, in words.
  CHECK(DeviceOfWorker(second, 1, {}) == second);
  CHECK(DeviceOfWorker({DeviceKind::kCpu, 0}, 3, {0, 1}) == Device{DeviceKind::kCpu, 0});
}

TEST_CASE("what is no device is refused in words") {
  for (const char* name :
       {"", "gpu", "cuda:", "cuda:-1", "cuda:01", "cuda:1024", "cuda:x", "CPU"}) {
    const auto device = ParseDevice(name);
    INFO(name);
    REQUIRE(absl::IsInvalidArgument(device.status()));
    CHECK_THAT(std::string(device.status().message()), Catch::Contains("cuda:N"));
  }
}

}  // namespace
}  // namespace pagoda
