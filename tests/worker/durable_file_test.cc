#include "worker/durable_file.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>

#include "tests/worker/temporary_directory.h"

namespace pagoda {
namespace {

TEST_CASE("whole files go out and come back, at sizes around the read chunk") {
  TemporaryDirectory dir;
  for (const size_t size :
       {size_t{0}, size_t{1}, (size_t{1} << 20) - 1, size_t{1} << 20, (size_t{1} << 20) + 1}) {
    CAPTURE(size);
    std::string bytes(size, 'x');
    if (size > 0) bytes.back() = '\0';
    REQUIRE(WriteFileDurably(dir / "file", bytes).ok());
    const auto back = ReadWholeFile(dir / "file");
    REQUIRE(back.ok());
    REQUIRE(*back == bytes);
  }
}

TEST_CASE("replacing leaves no temporary file") {
  TemporaryDirectory dir;
  REQUIRE(ReplaceFileDurably(dir / "file", "old").ok());
  REQUIRE(ReplaceFileDurably(dir / "file", "new").ok());
  REQUIRE(*ReadWholeFile(dir / "file") == "new");
  REQUIRE_FALSE(std::filesystem::exists(dir / "file.tmp"));
}

TEST_CASE("errors name the path and carry the cause's code") {
  TemporaryDirectory dir;
  const auto missing = ReadWholeFile(dir / "missing");
  REQUIRE(absl::IsNotFound(missing.status()));
  REQUIRE(std::string(missing.status().message()).find(dir / "missing") != std::string::npos);
  REQUIRE(absl::IsNotFound(WriteFileDurably(dir / "no/file", "x")));
  REQUIRE(absl::IsNotFound(SyncDirectory(dir / "no")));
  REQUIRE_FALSE(MakeDirectories("/proc/no/place").ok());
  const absl::Status full = WriteFileDurably("/dev/full", "x");
  REQUIRE(absl::IsResourceExhausted(full));
}

}  // namespace
}  // namespace pagoda
