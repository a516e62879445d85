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
