#include "deploy/embedded_servers.h"

#include <filesystem>

#include "base/status_macros.h"
#include "deploy/in_process_client.h"

namespace pagoda {

absl::StatusOr<std::unique_ptr<EmbeddedServers>> EmbeddedServers::Open(
    const ParameterServiceOptions& options, const std::vector<std::string>& directories) {
  std::unique_ptr<EmbeddedServers> servers(new EmbeddedServers);
  std::vector<ParameterService*> services;
  for (const std::string& directory : directories) {
    ParameterServiceOptions shard = options;
    shard.data_dir = directory;
    absl::StatusOr<std::unique_ptr<ParameterService>> service = ParameterService::Open(shard);
    PAGODA_RETURN_IF_ERROR_CONTEXT(service.status(), directory);
    services.push_back(service->get());
    servers->services_.push_back(*std::move(service));
  }
  servers->client_ = MakeInProcessClient(services);
  return servers;
}

absl::StatusOr<std::unique_ptr<EmbeddedServers>> EmbeddedServers::OpenCut(
    const ParameterServiceOptions& options, const proto::JobCut& manifest) {
  std::vector<std::string> directories;
  for (const proto::JobCut::Server& server : manifest.servers()) {
    if (!std::filesystem::is_directory(server.directory())) {
      return absl::NotFoundError(
          absl::StrCat("the rows of the cut ", manifest.cut(), " that server ", server.address(),
                       " made are not on this machine: no directory ", server.directory()));
    }
    directories.push_back(server.directory());
  }
  ParameterServiceOptions read_only = options;
  read_only.read_only_cut = true;
  return Open(read_only, directories);
}

}  // namespace pagoda
