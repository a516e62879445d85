// Ends with 0 when this build can use a CUDA device of this machine, else with 77, saying why.
#include <cstdio>

#include "kernels/gpu_device.h"

int main() {
  if (pagoda::CountGpus(pagoda::DeviceKind::kCuda) > 0) return 0;
  const std::string problem = pagoda::DescribeGpus().problem;
  std::printf("no CUDA device: %s\n",
              problem.empty() ? "this build has no CUDA kernels" : problem.c_str());
  return 77;
}
