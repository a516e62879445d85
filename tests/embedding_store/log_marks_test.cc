#include "embedding_store/log_marks.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

bool Same(const LogMarks& a, const LogMarks& b) {
  return a.dropped_through == b.dropped_through && a.segment == b.segment &&
         a.durable_bytes == b.durable_bytes && a.durable_sequence == b.durable_sequence;
}

LogMarks Number(uint64_t n) {
  return {n, 10 * n, 100 * n, 1000 * n};
}

struct MarksFixture {
  ScratchDirectory scratch;
  FaultyFileSystem fs;
  const std::string path = scratch / "marks";
  LogMarksFile Open(bool read_only = false) { return LogMarksFile(&fs, path, read_only); }
};

TEST_CASE("the last mark written is the one that is read") {
  MarksFixture fixture;
  CHECK(Same(fixture.Open().marks(), LogMarks{}));
  {
    LogMarksFile file = fixture.Open();
    for (uint64_t n = 1; n <= 250; ++n) file.Write(Number(n), n % 10 == 0);
    CHECK(std::filesystem::file_size(fixture.path) <= 4000);
  }
  LogMarksFile again = fixture.Open();
  CHECK(Same(again.marks(), Number(250)));
  again.Write(Number(251), false);
  CHECK(Same(fixture.Open(true).marks(), Number(251)));
}

TEST_CASE("a torn or changed mark leaves the one before it") {
  MarksFixture fixture;
  {
    LogMarksFile file = fixture.Open();
    file.Write(Number(1), false);
    file.Write(Number(2), false);
  }
  std::filesystem::resize_file(fixture.path, 79);
  CHECK(Same(fixture.Open().marks(), Number(1)));
  {
    LogMarksFile file = fixture.Open();
    file.Write(Number(3), false);
  }
  CHECK(Same(fixture.Open().marks(), Number(3)));
}

TEST_CASE("a full disk and a lost machine cost marks, not order") {
  MarksFixture fixture;
  LogMarksFile file = fixture.Open();
  file.Write(Number(1), true);
  fixture.fs.SetSpace(17);
  file.Write(Number(2), true);
  CHECK(Same(fixture.Open().marks(), Number(1)));
  fixture.fs.SetSpace(-1);
  file.Write(Number(3), true);
  file.Write(Number(4), false);
  CHECK(Same(fixture.Open().marks(), Number(4)));
  REQUIRE(fixture.fs.SyncDirectory(fixture.scratch.path()).ok());
  fixture.fs.LosePower();
  CHECK(Same(fixture.Open().marks(), Number(3)));
}

TEST_CASE("without a path, and only reading, nothing is written") {
  MarksFixture fixture;
  LogMarksFile none(&fixture.fs, "", false);
  none.Write(Number(1), true);
  CHECK(Same(none.marks(), Number(1)));
  LogMarksFile reader = fixture.Open(true);
  reader.Write(Number(1), true);
  CHECK_FALSE(std::filesystem::exists(fixture.path));
}

}  // namespace
}  // namespace pagoda
