// Parameter servers in this process and a client over them: for `pagoda train`, and,
// opened on a cut, for everything that reads a trained job.
//
// Threads: Open and destruction from one thread; client() as ParameterClient says.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/job_cut.pb.h"
#include "server/parameter_service.h"
#include "worker/parameter_client.h"

namespace pagoda {

class EmbeddedServers {
 public:
  // Opens one service per directory, in shard order, each with `options`.
  //   whatever ParameterService::Open returns, with the directory named
  static absl::StatusOr<std::unique_ptr<EmbeddedServers>> Open(
      const ParameterServiceOptions& options, const std::vector<std::string>& directories);

  // Opens the servers' cuts that a job's cut names, for reading only.
  //   NOT_FOUND  a server's cut is not on this machine (named)
  static absl::StatusOr<std::unique_ptr<EmbeddedServers>> OpenCut(
      const ParameterServiceOptions& options, const proto::JobCut& manifest);

  ParameterClient& client() { return *client_; }

 private:
  EmbeddedServers() = default;
  std::vector<std::unique_ptr<ParameterService>> services_;
  std::unique_ptr<ParameterClient> client_;
};

}  // namespace pagoda
