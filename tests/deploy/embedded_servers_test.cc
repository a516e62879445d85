#include "deploy/embedded_servers.h"

#include <catch2/catch.hpp>

#include "tests/deploy/scratch_directory.h"

using namespace pagoda;

namespace {

ParameterServiceOptions SmallService() {
  ParameterServiceOptions options;
  options.memory_bytes = 16 << 20;
  return options;
}

}  // namespace

TEST_CASE("one client over as many embedded servers as directories") {
  ScratchDirectory scratch;
  const auto servers =
      EmbeddedServers::Open(SmallService(), {scratch.File("server-0"), scratch.File("server-1")});
  INFO(servers.status());
  REQUIRE(servers.ok());
  CHECK((*servers)->client().num_servers() == 2);
}

TEST_CASE("a directory in use is named") {
  ScratchDirectory scratch;
  const auto first = EmbeddedServers::Open(SmallService(), {scratch.File("server-0")});
  REQUIRE(first.ok());
  const absl::Status second =
      EmbeddedServers::Open(SmallService(), {scratch.File("server-0")}).status();
  REQUIRE_FALSE(second.ok());
  CHECK(std::string(second.message()).find(scratch.File("server-0")) != std::string::npos);
}

TEST_CASE("a cut whose rows are elsewhere is refused, naming the directory") {
  proto::JobCut manifest;
  manifest.set_cut("step-000000001");
  proto::JobCut::Server* server = manifest.add_servers();
  server->set_address("10.0.0.1:7000");
  server->set_directory("/far/away");
  const absl::Status status = EmbeddedServers::OpenCut(SmallService(), manifest).status();
  CHECK(absl::IsNotFound(status));
  CHECK(std::string(status.message()).find("/far/away") != std::string::npos);
  CHECK(std::string(status.message()).find("10.0.0.1:7000") != std::string::npos);
}
