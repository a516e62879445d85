#include "embedding_store/file_system.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "base/hash.h"
#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;

std::string Text(const std::string& path) {
  auto text = FileSystem::Real()->ReadAll(path);
  return text.ok() ? *text : "<" + text.status().ToString() + ">";
}

TEST_CASE("a file grows piece by piece, is cut, and read back") {
  ScratchDirectory scratch;
  FileSystem* fs = FileSystem::Real();
  const std::string path = scratch / "file";
  {
    auto file = fs->Create(path);
    REQUIRE(file.ok());
    const std::vector<absl::string_view> pieces = {"one ", "", "two ", "three"};
    REQUIRE((*file)->Append(pieces).ok());
    REQUIRE((*file)->Append({}).ok());
    REQUIRE((*file)->Sync().ok());
    REQUIRE((*file)->Truncate(7).ok());
    const absl::string_view more = "!";
    REQUIRE((*file)->Append({&more, 1}).ok());
  }
  CHECK(Text(path) == "one two!");
  auto reader = fs->OpenRead(path);
  REQUIRE(reader.ok());
  CHECK((*reader)->size() == 8);
  CHECK(*(*reader)->ReadAt(4, 3) == "two");
  CHECK(*(*reader)->ReadAt(6, 100) == "o!");
  CHECK(*(*reader)->ReadAt(100, 5) == "");
  CHECK(*fs->FileChecksum(path) == HashBytes("one two!"));
}

TEST_CASE("more pieces than one system call takes") {
  ScratchDirectory scratch;
  std::vector<std::string> words;
  std::string all;
  for (int i = 0; i < 3000; ++i) {
    words.push_back(std::to_string(i));
    all += words.back();
  }
  const std::vector<absl::string_view> pieces(words.begin(), words.end());
  auto file = FileSystem::Real()->Create(scratch / "file");
  REQUIRE(file.ok());
  REQUIRE((*file)->Append(pieces).ok());
  CHECK(Text(scratch / "file") == all);
}

TEST_CASE("errors name the path and have the right code") {
  ScratchDirectory scratch;
  FileSystem* fs = FileSystem::Real();
  const absl::Status missing = fs->OpenRead(scratch / "no").status();
  CHECK(absl::IsNotFound(missing));
  CHECK_THAT(std::string(missing.message()), Contains(scratch / "no"));
  std::ofstream(scratch / "there") << "x";
  CHECK(absl::IsAlreadyExists(fs->Create(scratch / "there").status()));
  CHECK(absl::IsNotFound(fs->Rename(scratch / "no", scratch / "to")));
  CHECK(absl::IsNotFound(fs->List(scratch / "no").status()));
  CHECK(absl::IsNotFound(fs->Remove(scratch / "no")));
  CHECK(*fs->Exists(scratch / "there"));
  CHECK_FALSE(*fs->Exists(scratch / "no"));
  if (std::filesystem::exists("/dev/full")) {
    auto full = fs->OpenAppend("/dev/full");
    REQUIRE(full.ok());
    const absl::string_view piece = "x";
    CHECK(absl::IsResourceExhausted((*full)->Append({&piece, 1})));
  }
}

TEST_CASE("locks exclude, in one process too, and end with their holder") {
  ScratchDirectory scratch;
  FileSystem* fs = FileSystem::Real();
  const std::string path = scratch / "LOCK";
  CHECK(absl::IsNotFound(fs->Lock(path, /*exclusive=*/false).status()));
  {
    auto lock = fs->Lock(path, true);
    REQUIRE(lock.ok());
    CHECK(absl::IsFailedPrecondition(fs->Lock(path, true).status()));
    CHECK(absl::IsFailedPrecondition(fs->Lock(path, false).status()));
  }
  auto reader = fs->Lock(path, false);
  REQUIRE(reader.ok());
  CHECK(fs->Lock(path, false).ok());
  CHECK(absl::IsFailedPrecondition(fs->Lock(path, true).status()));
}

TEST_CASE("directories, links and copies") {
  ScratchDirectory scratch;
  FileSystem* fs = FileSystem::Real();
  REQUIRE(fs->CreateDirectory(scratch / "a/b/c").ok());
  REQUIRE(fs->CreateDirectory(scratch / "a/b/c").ok());
  std::ofstream(scratch / "a/b/file") << "content";
  CHECK(*fs->List(scratch / "a/b") == std::vector<std::string>{"c", "file"});
  REQUIRE(fs->LinkOrCopy(scratch / "a/b/file", scratch / "linked").ok());
  REQUIRE(fs->CopyFile(scratch / "a/b/file", scratch / "copied").ok());
  CHECK(std::filesystem::hard_link_count(scratch / "linked") == 2);
  CHECK(std::filesystem::hard_link_count(scratch / "copied") == 1);
  CHECK(Text(scratch / "copied") == "content");
  REQUIRE(fs->RemoveDirectory(scratch / "a").ok());
  CHECK_FALSE(*fs->Exists(scratch / "a"));
  CHECK(fs->RemoveDirectory(scratch / "a").ok());
  CHECK(Text(scratch / "linked") == "content");
  CHECK(ParentDirectory("a/b") == "a");
  CHECK(ParentDirectory("/a/") == "/");
  CHECK(ParentDirectory("a") == ".");
}

TEST_CASE("a replaced file is the old one or the new one, wherever power is lost") {
  for (int64_t calls = 0; calls < 20; ++calls) {
    CAPTURE(calls);
    ScratchDirectory scratch;
    const std::string path = scratch / "file";
    std::ofstream(path) << "old";
    FaultyFileSystem fs;
    fs.StopAfter(calls);
    const bool done = fs.ReplaceFile(path, "new").ok();
    fs.LosePower();
    const std::string text = Text(path);
    CHECK((text == "old" || text == "new"));
    if (done) CHECK(text == "new");
    // A leftover of the crash is no obstacle.
    REQUIRE(FileSystem::Real()->ReplaceFile(path, "later").ok());
    CHECK(Text(path) == "later");
    if (done) return;
  }
  FAIL("ReplaceFile never ended");
}

}  // namespace
}  // namespace pagoda
