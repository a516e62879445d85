// `pagoda doctor`: what this build and this machine have, and what is wrong.
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "deploy/commands.h"
#include "kernels/gpu_device.h"
#include "worker/allreduce_nccl.h"

namespace pagoda {
namespace {

// The value of the first "NAME : VALUE" line of /proc/cpuinfo; "" when there is none.
std::string CpuInfo(absl::string_view name) {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (absl::StripAsciiWhitespace(parts.first) == name) {
      return std::string(absl::StripAsciiWhitespace(parts.second));
    }
  }
  return "";
}

// Those of the processor's features that operators are faster with.
std::string Features() {
  const std::string flags = absl::StrCat(" ", CpuInfo("flags"), " ");
  std::string found;
  for (const char* flag : {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}) {
    if (absl::StrContains(flags, absl::StrCat(" ", flag, " "))) {
      absl::StrAppend(&found, found.empty() ? "" : " ", flag);
    }
  }
  return found.empty() ? "no AVX2" : found;
}

void Line(const char* name, const std::string& value) {
  std::printf("%-10s %s\n", name, value.c_str());
}

}  // namespace

absl::StatusOr<int> RunDoctor() {
  Line("build", VersionText());
  Line("processor",
       absl::StrCat(CpuInfo("model name"), ", ", std::max(1u, std::thread::hardware_concurrency()),
                    " threads, ", Features()));
  struct sysinfo memory = {};
  if (::sysinfo(&memory) == 0) {
    const double unit = memory.mem_unit;
    char text[64];
    std::snprintf(text, sizeof(text), "%.1f GiB",
                  static_cast<double>(memory.totalram) * unit / (1 << 30));
    Line("memory", text);
  }
  const GpuReport gpu = DescribeGpus();
  Line("kernels",
       absl::StrCat("cpu", gpu.kernels == "none" ? "" : absl::StrCat(", ", gpu.kernels)));
  if (!gpu.driver.empty()) Line("driver", gpu.driver);
  for (size_t i = 0; i < gpu.devices.size(); ++i) {
    Line(absl::StrCat("gpu ", i).c_str(), gpu.devices[i]);
  }
  const std::string nccl = NcclVersion();
  if (gpu.kernels != "none" && gpu.kernels != "emulated") {
    Line("nccl", nccl.empty() ? "not in this build: gradients go by way of the host" : nccl);
  }
  if (gpu.problem.empty()) {
    std::printf("nothing is wrong\n");
  } else {
    std::printf("no GPU can be used: %s\n", gpu.problem.c_str());
  }
  return 0;
}

}  // namespace pagoda
