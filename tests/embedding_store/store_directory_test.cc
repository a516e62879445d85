#include "embedding_store/store_directory.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "embedding_store/table_registry.h"
#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;
namespace stdfs = std::filesystem;

absl::StatusOr<std::unique_ptr<StoreDirectory>> Open(const std::string& path,
                                                     bool read_only = false) {
  return StoreDirectory::Open(FileSystem::Real(), path, read_only);
}

void Mark(const std::string& state, const std::string& text) {
  stdfs::create_directories(state);
  std::ofstream(state + "/mark") << text;
}
std::string MarkOf(const std::string& state) {
  auto text = FileSystem::Real()->ReadAll(state + "/mark");
  return text.ok() ? *text : "";
}

TEST_CASE("a new directory gets its first state, an old one is found again") {
  ScratchDirectory scratch;
  {
    auto directory = Open(scratch / "deep/store");
    INFO(directory.status());
    REQUIRE(directory.ok());
    CHECK((*directory)->is_new());
    CHECK_FALSE((*directory)->is_cut());
    CHECK((*directory)->state_path() == scratch / "deep/store/state-000001");
    CHECK(stdfs::exists((*directory)->registry_path()));
    CHECK(absl::IsFailedPrecondition(Open(scratch / "deep/store").status()));
    CHECK(absl::IsFailedPrecondition(Open(scratch / "deep/store", true).status()));
  }
  {
    auto again = Open(scratch / "deep/store");
    REQUIRE(again.ok());
    CHECK_FALSE((*again)->is_new());
  }
  auto reader = Open(scratch / "deep/store", true);
  REQUIRE(reader.ok());
  CHECK(Open(scratch / "deep/store", true).ok());
  CHECK(absl::IsFailedPrecondition(Open(scratch / "deep/store").status()));
}

TEST_CASE("what is not a store is refused in words") {
  ScratchDirectory scratch;
  CHECK(absl::IsNotFound(Open(scratch / "none", true).status()));
  CHECK_FALSE(stdfs::exists(scratch / "none"));

  stdfs::create_directories(scratch / "home");
  std::ofstream(scratch / "home/letter.txt") << "dear";
  const absl::Status other = Open(scratch / "home").status();
  CHECK(absl::IsFailedPrecondition(other));
  CHECK_THAT(std::string(other.message()), Contains("letter.txt"));

  stdfs::create_directories(scratch / "cut");
  std::ofstream(scratch / "cut/MANIFEST") << "x";
  const absl::Status cut = Open(scratch / "cut").status();
  CHECK(absl::IsFailedPrecondition(cut));
  CHECK_THAT(std::string(cut.message()), Contains("is a cut"));
  auto reader = Open(scratch / "cut", true);
  REQUIRE(reader.ok());
  CHECK((*reader)->is_cut());
  CHECK((*reader)->state_path() == scratch / "cut");
}

TEST_CASE("a damaged, later or dangling CURRENT is refused") {
  ScratchDirectory scratch;
  REQUIRE(Open(scratch / "store").ok());
  const std::string current = scratch / "store/CURRENT";
  const std::string good = *FileSystem::Real()->ReadAll(current);
  auto status_with = [&](const std::string& text) {
    std::ofstream(current, std::ios::trunc) << text;
    return Open(scratch / "store").status();
  };
  for (size_t at = 0; at < good.size(); ++at) {
    std::string changed = good;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    const absl::Status status = status_with(changed);
    CAPTURE(at, status);
    REQUIRE((absl::IsDataLoss(status) || absl::IsFailedPrecondition(status)));
  }
  CHECK(absl::IsFailedPrecondition(status_with(WithChecksumLine("pagoda-store 2\nstate x\n"))));
  const absl::Status missing =
      status_with(WithChecksumLine("pagoda-store 1\nstate state-000009\n"));
  CHECK(absl::IsDataLoss(missing));
  CHECK_THAT(std::string(missing.message()), Contains("state-000009"));
  CHECK(absl::IsDataLoss(status_with(WithChecksumLine("pagoda-store 1\n"))));
  CHECK(status_with(good).ok());
}

TEST_CASE("a lost CURRENT never costs the state it named") {
  ScratchDirectory scratch;
  REQUIRE(Open(scratch / "store").ok());
  Mark(scratch / "store/state-000001", "rows");
  stdfs::remove(scratch / "store/CURRENT");
  auto adopted = Open(scratch / "store");
  REQUIRE(adopted.ok());
  CHECK(MarkOf((*adopted)->state_path()) == "rows");
  adopted->reset();
  Mark(scratch / "store/state-000002", "more");
  stdfs::remove(scratch / "store/CURRENT");
  CHECK(absl::IsDataLoss(Open(scratch / "store").status()));
}

TEST_CASE("a change of state is done or not done, wherever the process dies") {
  const bool aside = GENERATE(false, true);
  bool reached_end = false;
  for (int64_t calls = 0; calls < 60 && !reached_end; ++calls) {
    const bool power = calls % 2 == 0;
    CAPTURE(aside, calls);
    ScratchDirectory scratch;
    REQUIRE(Open(scratch / "store").ok());
    Mark(scratch / "store/state-000001", "old");
    FaultyFileSystem fs;
    bool committed = false;
    {
      auto directory = StoreDirectory::Open(&fs, scratch / "store", false);
      REQUIRE(directory.ok());
      const auto prepared = (*directory)->PrepareState();
      REQUIRE(prepared.ok());
      Mark(*prepared, "new");
      fs.StopAfter(calls);
      committed = (*directory)->CommitState(aside ? scratch / "aside" : "").ok();
      reached_end = fs.changing_calls() < calls;
      CHECK(MarkOf((*directory)->state_path()) == (committed ? "new" : "old"));
    }
    if (power) fs.LosePower();
    auto directory = Open(scratch / "store");
    INFO(directory.status());
    REQUIRE(directory.ok());
    const std::string mark = MarkOf((*directory)->state_path());
    REQUIRE((mark == "old" || mark == "new"));
    if (committed) REQUIRE(mark == "new");
    // The other state is where it should be, and nowhere else.
    int states = 0;
    for (const auto& entry : stdfs::directory_iterator(scratch / "store")) {
      states += entry.path().filename().string().starts_with("state-") ? 1 : 0;
    }
    CHECK(states == 1);
    if (aside && mark == "new") {
      auto old = Open(scratch / "aside");
      INFO(old.status());
      REQUIRE(old.ok());
      CHECK(MarkOf((*old)->state_path()) == "old");
    }
  }
  CHECK(reached_end);
}

TEST_CASE("setting aside needs an empty place on the same file system") {
  ScratchDirectory scratch;
  auto directory = Open(scratch / "store");
  REQUIRE(directory.ok());
  REQUIRE((*directory)->PrepareState().ok());
  std::ofstream(scratch / "file") << "x";
  stdfs::create_directories(scratch / "full/something");
  CHECK(absl::IsAlreadyExists((*directory)->CommitState(scratch / "full")));
  if (stdfs::exists("/dev/shm")) {
    const std::string elsewhere = "/dev/shm/pagoda-test-aside";
    const absl::Status status = (*directory)->CommitState(elsewhere);
    stdfs::remove_all(elsewhere);
    if (!status.ok()) CHECK_THAT(std::string(status.message()), Contains("file system"));
  }
  CHECK(stdfs::exists(scratch / "store/state-000001"));
}

}  // namespace
}  // namespace pagoda
