#include "server/data_directory.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "tests/worker/temporary_directory.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

absl::Status WriteMarker(const std::string& directory, const std::string& text) {
  fs::create_directories(directory);
  std::ofstream(directory + "/marker") << text;
  return absl::OkStatus();
}

std::string ReadMarker(const std::string& directory) {
  std::ifstream file(directory + "/marker");
  std::string text;
  std::getline(file, text);
  return text;
}

std::vector<std::string> Names(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

TEST_CASE("a cut appears whole, under its name only") {
  const TemporaryDirectory temporary;
  const auto directory = DataDirectory::Open(temporary.path(), false).value();
  REQUIRE(directory
              .MakeCut("step-1",
                       [&](const std::string& path) {
                         CHECK_FALSE(fs::exists(path));
                         CHECK_FALSE(fs::exists(directory.CutPath("step-1")));
                         return WriteMarker(path, "one");
                       })
              .ok());
  CHECK(ReadMarker(directory.CutPath("step-1")) == "one");
  CHECK(Names(temporary.path() + "/cuts") == std::vector<std::string>{"step-1"});
}

TEST_CASE("a cut of the same name replaces the former one") {
  const TemporaryDirectory temporary;
  const auto directory = DataDirectory::Open(temporary.path(), false).value();
  for (const char* text : {"one", "two"}) {
    REQUIRE(directory.MakeCut("a", [&](const std::string& path) { return WriteMarker(path, text); })
                .ok());
  }
  CHECK(ReadMarker(directory.CutPath("a")) == "two");
  CHECK(Names(temporary.path() + "/cuts") == std::vector<std::string>{"a"});
}

TEST_CASE("a cut that fails leaves no trace, and the former one whole") {
  const TemporaryDirectory temporary;
  const auto directory = DataDirectory::Open(temporary.path(), false).value();
  REQUIRE(directory.MakeCut("a", [&](const std::string& path) { return WriteMarker(path, "one"); })
              .ok());
  const absl::Status failed = directory.MakeCut("a", [&](const std::string& path) {
    (void)WriteMarker(path, "two");
    return absl::ResourceExhaustedError("no space");
  });
  CHECK(failed == absl::ResourceExhaustedError("no space"));
  CHECK(ReadMarker(directory.CutPath("a")) == "one");
  CHECK(Names(temporary.path() + "/cuts") == std::vector<std::string>{"a"});
}

TEST_CASE("unfinished cuts are swept when the server starts") {
  const TemporaryDirectory temporary;
  (void)DataDirectory::Open(temporary.path(), false).value();
  (void)WriteMarker(temporary.path() + "/cuts/.partial-x", "half");
  (void)WriteMarker(temporary.path() + "/cuts/whole", "whole");
  (void)DataDirectory::Open(temporary.path(), false).value();
  CHECK(Names(temporary.path() + "/cuts") == std::vector<std::string>{"whole"});
}

TEST_CASE("dropping a cut deletes it, and is no error when there is none") {
  const TemporaryDirectory temporary;
  const auto directory = DataDirectory::Open(temporary.path(), false).value();
  (void)WriteMarker(directory.CutPath("a"), "one");
  CHECK(directory.DropCut("a").ok());
  CHECK(Names(temporary.path() + "/cuts").empty());
  CHECK(directory.DropCut("a").ok());
}

TEST_CASE("names that could leave the directory are refused") {
  for (const char* name : {"", ".", "..", "../x", "a/b", ".hidden", "a b", "ä"}) {
    CAPTURE(name);
    CHECK(DataDirectory::CheckName(name).code() == absl::StatusCode::kInvalidArgument);
  }
  CHECK(DataDirectory::CheckName(std::string(129, 'x')).code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(DataDirectory::CheckName("step-000000200").ok());
  CHECK(DataDirectory::CheckName("Best_1.0").ok());
  CHECK(DataDirectory::CheckName(std::string(128, 'x')).ok());
}

TEST_CASE("the shard's place is remembered, and goes with every cut") {
  const TemporaryDirectory temporary;
  const auto directory = DataDirectory::Open(temporary.path(), false).value();
  CHECK_FALSE(directory.ReadShardPlace().value().has_value());
  REQUIRE(directory.WriteShardPlace({1, 4}).ok());
  CHECK(directory.ReadShardPlace().value().value() == ShardPlace{1, 4});
  REQUIRE(
      directory.MakeCut("a", [](const std::string& path) { return WriteMarker(path, "x"); }).ok());
  const auto cut = DataDirectory::Open(directory.CutPath("a"), true).value();
  CHECK(cut.ReadShardPlace().value().value() == ShardPlace{1, 4});
}

TEST_CASE("a damaged SHARD file is told, not guessed") {
  const TemporaryDirectory temporary;
  const auto directory = DataDirectory::Open(temporary.path(), false).value();
  std::ofstream(temporary.path() + "/SHARD") << "pagoda shard 4 of 4\n";
  CHECK(directory.ReadShardPlace().status().code() == absl::StatusCode::kDataLoss);
}

TEST_CASE("opening what is no directory is refused") {
  const TemporaryDirectory temporary;
  CHECK_FALSE(DataDirectory::Open(temporary.path() + "/absent", true).ok());
  std::ofstream(temporary.path() + "/file") << "x";
  CHECK_FALSE(DataDirectory::Open(temporary.path() + "/file", false).ok());
}

}  // namespace
}  // namespace pagoda
