#include "base/host_port.h"

#include <catch2/catch.hpp>

namespace pagoda {
namespace {

TEST_CASE("addresses are taken apart") {
  CHECK(ParseHostPort("worker-3:7000").value().host == "worker-3");
  CHECK(ParseHostPort("worker-3:7000").value().port == 7000);
  CHECK(ParseHostPort("[::1]:0").value().host == "::1");
  CHECK(ParseHostPort("[::1]:0").value().port == 0);
  CHECK(ParseHostPort("0.0.0.0:65535").value().port == 65535);
}

TEST_CASE("what is no HOST:PORT is refused, with the reason") {
  for (const char* text :
       {"", "host", ":7000", "host:", "host:x", "host:7000x", "host:65536", "host:-1", "host:+1",
        "host: 1", "::1:7000", "[::1:7000", "[]:7000", "host:999999999999"}) {
    CAPTURE(text);
    const auto parsed = ParseHostPort(text);
    CHECK(parsed.status().code() == absl::StatusCode::kInvalidArgument);
    CHECK_THAT(std::string(parsed.status().message()), Catch::Contains("is not HOST:PORT"));
  }
}

TEST_CASE("loopback is what cannot leave the machine") {
  for (const char* host : {"localhost", "LOCALHOST", "127.0.0.1", "127.9.8.7", "::1"}) {
    CAPTURE(host);
    CHECK(IsLoopbackHost(host));
  }
  for (const char* host : {"0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "worker-3", "localhost.evil",
                           "127.0.0.1.evil", ""}) {
    CAPTURE(host);
    CHECK_FALSE(IsLoopbackHost(host));
  }
}

}  // namespace
}  // namespace pagoda
