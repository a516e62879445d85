#include "embedding_store/push_log.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/hash.h"
#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;

constexpr size_t kSegmentHeaderBytes = 40;

// Records of 1 to 5 rows of one table, told apart by their sequence.
struct LogFixture {
  ScratchDirectory scratch;
  FaultyFileSystem fs;
  FilePushLogOptions options;
  std::vector<uint64_t> replayed;

  LogFixture() {
    options.file_system = &fs;
    options.directory = scratch.path();
  }

  absl::StatusOr<std::unique_ptr<PushLog>> Open() {
    replayed.clear();
    return OpenFilePushLog(options, [this](const PushRecord& record) {
      const size_t rows = record.tables.at(0).ids.size();
      CHECK(rows == record.sequence % 5 + 1);
      CHECK(record.tables[0].gradients.size() == 3 * rows);
      CHECK(record.tables[0].ids[rows - 1] == record.sequence * 100 + rows - 1);
      replayed.push_back(record.sequence);
      return absl::OkStatus();
    });
  }

  static absl::Status Append(PushLog& log, uint64_t sequence) {
    const size_t rows = sequence % 5 + 1;
    std::vector<FeatureId> ids;
    for (size_t i = 0; i < rows; ++i) ids.push_back(sequence * 100 + i);
    const std::vector<float> gradients(3 * rows, static_cast<float>(sequence));
    PushRecord record;
    record.sequence = sequence;
    record.step = static_cast<Step>(sequence);
    record.tables.push_back({0, 3, 0.1f, ids, gradients});
    return log.Append(record);
  }

  // Writes records first..last with a fresh log object.
  void Write(uint64_t first, uint64_t last) {
    auto log = Open();
    INFO(log.status());
    REQUIRE(log.ok());
    for (uint64_t s = first; s <= last; ++s) REQUIRE(Append(**log, s).ok());
  }

  std::vector<std::string> Segments() const {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(scratch.path())) {
      paths.push_back(entry.path().string());
    }
    std::sort(paths.begin(), paths.end());
    return paths;
  }
};

std::vector<uint64_t> Range(uint64_t first, uint64_t last) {
  std::vector<uint64_t> range;
  for (uint64_t s = first; s <= last; ++s) range.push_back(s);
  return range;
}

std::string Bytes(const std::string& path) {
  return *FileSystem::Real()->ReadAll(path);
}

void Put(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// The offset at which the record of each sequence starts.
std::vector<size_t> RecordOffsets(const std::string& bytes) {
  std::vector<size_t> offsets;
  for (size_t at = kSegmentHeaderBytes; at < bytes.size();) {
    offsets.push_back(at);
    at += static_cast<size_t>(ReadRecordFrame(absl::string_view(bytes).substr(at)).record_bytes);
  }
  return offsets;
}

TEST_CASE("the log replays what was appended, over reopenings and segments") {
  LogFixture log;
  log.options.segment_bytes = GENERATE(int64_t{1}, int64_t{400}, int64_t{1} << 20);
  log.Write(1, 9);
  log.Write(10, 10);
  log.Write(11, 20);
  auto opened = log.Open();
  REQUIRE(opened.ok());
  CHECK(log.replayed == Range(1, 20));
  CHECK((*opened)->last_sequence() == 20);
  int64_t bytes = 0;
  for (const std::string& path : log.Segments()) {
    bytes += static_cast<int64_t>(std::filesystem::file_size(path));
  }
  CHECK((*opened)->bytes() == bytes);
}

TEST_CASE("what a flush covers is skipped, and dropped segment by segment") {
  LogFixture log;
  log.options.segment_bytes = 1;  // A segment a record.
  log.Write(1, 10);
  log.options.flushed_sequence = 4;
  log.options.highest_sequence = 4;
  auto opened = log.Open();
  REQUIRE(opened.ok());
  CHECK(log.replayed == Range(5, 10));
  REQUIRE((*opened)->DropThrough(7).ok());
  CHECK(log.Segments().size() == 3);
  REQUIRE(LogFixture::Append(**opened, 11).ok());
  // The open segment stays, even when it is covered, until it is sealed.
  REQUIRE((*opened)->DropThrough(11).ok());
  CHECK(log.Segments().size() == 1);
  (*opened)->Seal();
  REQUIRE((*opened)->DropThrough(11).ok());
  CHECK(log.Segments().empty());
  CHECK((*opened)->bytes() == 0);
  // With nothing left any later sequence may follow.
  REQUIRE(LogFixture::Append(**opened, 50).ok());
}

TEST_CASE("a last record cut at any byte is dropped, and the log goes on behind it") {
  LogFixture log;
  log.Write(1, 3);
  const std::string path = log.Segments().at(0);
  const std::string bytes = Bytes(path);
  const size_t last = RecordOffsets(bytes).at(2);
  for (size_t size = last; size < bytes.size(); ++size) {
    CAPTURE(size);
    Put(path, bytes.substr(0, size));
    {
      auto opened = log.Open();
      INFO(opened.status());
      REQUIRE(opened.ok());
      REQUIRE(log.replayed == Range(1, 2));
      REQUIRE(LogFixture::Append(**opened, 3).ok());
    }
    REQUIRE(log.Open().ok());
    REQUIRE(log.replayed == Range(1, 3));
    for (const std::string& segment : log.Segments()) std::filesystem::remove(segment);
  }
}

TEST_CASE("a segment killed at its first record disappears") {
  LogFixture log;
  log.Write(1, 2);
  log.Write(3, 3);
  REQUIRE(log.Segments().size() == 2);
  const std::string path = log.Segments()[1];
  const std::string bytes = Bytes(path);
  for (size_t size = 0; size < bytes.size(); size += 3) {
    CAPTURE(size);
    Put(path, bytes.substr(0, size));
    REQUIRE(log.Open().ok());
    REQUIRE(log.replayed == Range(1, 2));
    REQUIRE_FALSE(std::filesystem::exists(path));
  }
}

TEST_CASE("a log that was only a torn record takes any next sequence") {
  LogFixture log;
  log.options.flushed_sequence = log.options.highest_sequence = 4;
  log.Write(5, 5);
  const std::string path = log.Segments().at(0);
  Put(path, Bytes(path).substr(0, Bytes(path).size() - 1));
  // Rows on disk are ahead of the log, as after a loss of power.
  log.options.flushed_sequence = log.options.highest_sequence = 9;
  auto opened = log.Open();
  REQUIRE(opened.ok());
  CHECK((*opened)->last_sequence() == 0);
  CHECK(LogFixture::Append(**opened, 10).ok());
}

TEST_CASE("a changed bit anywhere is DATA_LOSS that names file and byte") {
  LogFixture log;
  log.Write(1, 3);
  const std::string path = log.Segments().at(0);
  const std::string bytes = Bytes(path);
  const std::vector<size_t> offsets = RecordOffsets(bytes);
  for (size_t at = 0; at < bytes.size(); ++at) {
    CAPTURE(at);
    std::string changed = bytes;
    changed[at] = static_cast<char>(changed[at] ^ 4);
    Put(path, changed);
    const absl::Status status = log.Open().status();
    CAPTURE(status);
    REQUIRE(absl::IsDataLoss(status));
    REQUIRE_THAT(std::string(status.message()), Contains(path) && Contains("byte "));
    size_t record = 0;
    for (size_t offset : offsets) record = offset <= at ? offset : record;
    REQUIRE_THAT(std::string(status.message()), Contains("byte " + std::to_string(record) + ":"));
    REQUIRE(Bytes(path) == changed);  // Refusing changes nothing.
  }
}

TEST_CASE("after a reboot a damaged last record is a torn tail, one before it is not") {
  LogFixture log;
  log.Write(1, 3);
  const std::string path = log.Segments().at(0);
  std::string bytes = Bytes(path);
  const std::vector<size_t> offsets = RecordOffsets(bytes);
  const uint64_t other_boot = 12345;
  std::memcpy(bytes.data() + 24, &other_boot, sizeof(other_boot));
  const uint64_t checksum = HashBytes(absl::string_view(bytes).substr(0, 32));
  std::memcpy(bytes.data() + 32, &checksum, sizeof(checksum));
  std::string changed = bytes;
  changed[offsets[1] + 50] ^= 1;
  Put(path, changed);
  CHECK(absl::IsDataLoss(log.Open().status()));
  changed = bytes;
  std::fill(changed.begin() + static_cast<std::ptrdiff_t>(offsets[2]), changed.end(), '\0');
  Put(path, changed);
  REQUIRE(log.Open().ok());
  CHECK(log.replayed == Range(1, 2));
  CHECK(std::filesystem::file_size(path) == offsets[2]);
}

TEST_CASE("missing segments and torn ones before the last are DATA_LOSS") {
  LogFixture log;
  log.options.segment_bytes = 1;
  log.Write(1, 4);
  const std::vector<std::string> segments = log.Segments();
  SECTION("the first") {
    std::filesystem::remove(segments[0]);
    CHECK(absl::IsDataLoss(log.Open().status()));
    log.options.flushed_sequence = log.options.highest_sequence = 1;
    CHECK(log.Open().ok());
  }
  SECTION("a middle one") {
    std::filesystem::remove(segments[1]);
    const absl::Status status = log.Open().status();
    CHECK(absl::IsDataLoss(status));
    CHECK_THAT(std::string(status.message()), Contains(segments[2]));
  }
  SECTION("a torn one before the last") {
    Put(segments[1], Bytes(segments[1]).substr(0, 90));
    const absl::Status status = log.Open().status();
    CHECK(absl::IsDataLoss(status));
    CHECK_THAT(std::string(status.message()), Contains(segments[1]));
  }
  SECTION("one under another's name") {
    std::filesystem::rename(segments[3], log.scratch / "00000000000000000009.log");
    CHECK(absl::IsDataLoss(log.Open().status()));
  }
}

TEST_CASE("other format versions are refused in words") {
  LogFixture log;
  log.Write(1, 1);
  const std::string path = log.Segments().at(0);
  std::string bytes = Bytes(path);
  bytes[8] = 2;
  const uint64_t checksum = HashBytes(absl::string_view(bytes).substr(0, 32));
  std::memcpy(bytes.data() + 32, &checksum, sizeof(checksum));
  Put(path, bytes);
  const absl::Status status = log.Open().status();
  CHECK(absl::IsFailedPrecondition(status));
  CHECK_THAT(std::string(status.message()), Contains("version 2"));
}

TEST_CASE("a full disk refuses the record and keeps the log in order") {
  // Space for part of a record in an open segment, or in a new one.
  const int64_t segment_bytes = GENERATE(int64_t{1} << 20, int64_t{1});
  for (int64_t space = 0; space < 144; space += 7) {
    CAPTURE(segment_bytes, space);
    LogFixture log;
    log.options.segment_bytes = segment_bytes;
    {
      auto opened = log.Open();
      REQUIRE(opened.ok());
      REQUIRE(LogFixture::Append(**opened, 1).ok());
      const int64_t before = (*opened)->bytes();
      log.fs.SetSpace(space);
      REQUIRE(absl::IsResourceExhausted(LogFixture::Append(**opened, 2)));
      CHECK((*opened)->bytes() == before);
      log.fs.SetSpace(-1);
      REQUIRE(LogFixture::Append(**opened, 2).ok());
      REQUIRE(LogFixture::Append(**opened, 3).ok());
    }
    REQUIRE(log.Open().ok());
    CHECK(log.replayed == Range(1, 3));
  }
}

TEST_CASE("a write that fails and cannot be taken back stops the log until reopened") {
  LogFixture log;
  {
    auto opened = log.Open();
    REQUIRE(opened.ok());
    REQUIRE(LogFixture::Append(**opened, 1).ok());
    log.fs.SetSpace(30);
    log.fs.FailTruncate(true);
    CHECK(absl::IsResourceExhausted(LogFixture::Append(**opened, 2)));
    log.fs.SetSpace(-1);
    CHECK(absl::IsUnavailable(LogFixture::Append(**opened, 2)));
  }
  log.fs.FailTruncate(false);
  auto opened = log.Open();
  REQUIRE(opened.ok());
  CHECK(log.replayed == Range(1, 1));
  CHECK(LogFixture::Append(**opened, 2).ok());
}

TEST_CASE("reading only changes nothing, and an error of the replay is passed on") {
  LogFixture log;
  log.Write(1, 2);
  const std::string path = log.Segments().at(0);
  const std::string torn = Bytes(path).substr(0, Bytes(path).size() - 5);
  Put(path, torn);
  log.options.read_only = true;
  REQUIRE(log.Open().ok());
  CHECK(log.replayed == Range(1, 1));
  CHECK(Bytes(path) == torn);
  const auto failed = OpenFilePushLog(
      log.options, [](const PushRecord&) { return absl::InternalError("no more"); });
  CHECK(absl::IsInternal(failed.status()));
  CHECK_THAT(std::string(failed.status().message()), Contains(path) && Contains("no more"));
}

}  // namespace
}  // namespace pagoda
