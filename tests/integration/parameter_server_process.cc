// A parameter server as a process of its own, for tests that kill it:
//   parameter_server_process DATA_DIR
// prints its port on the first line and serves until it is killed.
#include <unistd.h>

#include <cstdio>

#include "server/parameter_server_grpc.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  pagoda::ParameterServiceOptions options;
  options.data_dir = argv[1];
  options.memory_bytes = 32 << 20;
  auto service = pagoda::ParameterService::Open(options);
  if (!service.ok()) {
    std::fprintf(stderr, "%s\n", service.status().ToString().c_str());
    return 1;
  }
  auto server = pagoda::StartGrpcServer({}, service->get());
  if (!server.ok()) {
    std::fprintf(stderr, "%s\n", server.status().ToString().c_str());
    return 1;
  }
  std::printf("%d\n", (*server)->port());
  std::fflush(stdout);
  for (;;) pause();
}
