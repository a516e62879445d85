// The log with sync_records: what a lost machine leaves, how many syncs it takes, and
// what the marks add to it.
#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <mutex>
#include <thread>

#include "embedding_store/push_log.h"
#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;

struct SyncedLog {
  ScratchDirectory scratch;
  FaultyFileSystem fs;
  FilePushLogOptions options;
  std::vector<uint64_t> replayed;

  SyncedLog() {
    options.file_system = &fs;
    options.directory = scratch / "log";
    options.marks_path = scratch / "log_marks";
    options.sync_records = true;
    std::filesystem::create_directories(options.directory);
  }

  absl::StatusOr<std::unique_ptr<PushLog>> Open() {
    replayed.clear();
    return OpenFilePushLog(options, [this](const PushRecord& record) {
      replayed.push_back(record.sequence);
      return absl::OkStatus();
    });
  }

  static absl::Status Append(PushLog& log, uint64_t sequence) {
    const std::vector<FeatureId> ids = {sequence, sequence + 1};
    const std::vector<float> gradients(2, static_cast<float>(sequence));
    PushRecord record;
    record.sequence = sequence;
    record.tables.push_back({0, 1, 0.1f, ids, gradients});
    return log.Append(record);
  }

  void LosePower(uint64_t seed) {
    fs.LosePower(seed);
    fs.StopAfter(-1);
  }

  std::string LastSegment() const {
    std::string last;
    for (const auto& entry : std::filesystem::directory_iterator(options.directory)) {
      last = std::max(last, entry.path().string());
    }
    return last;
  }
};

TEST_CASE("what Sync covered survives the machine, wherever it dies") {
  const int64_t segment_bytes = GENERATE(int64_t{1}, int64_t{300}, int64_t{1} << 20);
  bool all = false;
  for (int64_t calls = 0; calls < 300 && !all; ++calls) {
    CAPTURE(segment_bytes, calls);
    SyncedLog log;
    log.options.segment_bytes = segment_bytes;
    uint64_t acknowledged = 0;
    uint64_t appended = 0;
    {
      auto opened = log.Open();
      REQUIRE(opened.ok());
      log.fs.StopAfter(calls);
      while (appended < 12 && SyncedLog::Append(**opened, appended + 1).ok()) {
        ++appended;
        if (appended % 3 == 0 && (*opened)->Sync(appended).ok()) acknowledged = appended;
      }
      all = acknowledged == 12;
      log.fs.StopAfter(0);
    }
    log.LosePower(static_cast<uint64_t>(calls % 3));
    auto opened = log.Open();
    INFO(opened.status());
    REQUIRE(opened.ok());
    REQUIRE(log.replayed.size() >= acknowledged);
    REQUIRE(log.replayed.size() <= appended + 1);
    REQUIRE(SyncedLog::Append(**opened, log.replayed.size() + 1).ok());
  }
  CHECK(all);
}

TEST_CASE("what was read at opening is as durable as what is appended") {
  SyncedLog log;
  log.options.sync_records = false;
  {
    auto opened = log.Open();
    for (uint64_t s = 1; s <= 5; ++s) REQUIRE(SyncedLog::Append(**opened, s).ok());
  }
  log.options.sync_records = true;
  {
    auto opened = log.Open();
    REQUIRE(opened.ok());
    REQUIRE(SyncedLog::Append(**opened, 6).ok());
    REQUIRE((*opened)->Sync(6).ok());
    log.fs.StopAfter(0);
  }
  log.LosePower(0);
  REQUIRE(log.Open().ok());
  CHECK(log.replayed.size() == 6);
}

TEST_CASE("callers that wait at the same time share one sync") {
  SyncedLog log;
  log.fs.SlowSyncs(2000);
  auto opened = log.Open();
  REQUIRE(opened.ok());
  PushLog& pushes = **opened;
  constexpr int kThreads = 8;
  constexpr int kPushes = 25;
  std::mutex order;
  uint64_t sequence = 0;
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kPushes; ++i) {
        uint64_t mine = 0;
        {
          std::lock_guard<std::mutex> lock(order);
          mine = ++sequence;
          failed += SyncedLog::Append(pushes, mine).ok() ? 0 : 1;
        }
        failed += pushes.Sync(mine).ok() ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failed == 0);
  // One each would be 200; the fewest is one for every round of eight.
  CHECK(log.fs.syncs() >= kPushes);
  CHECK(log.fs.syncs() <= kPushes * kThreads / 2);
  const int64_t before = log.fs.syncs();
  CHECK(pushes.Sync(sequence).ok());  // There already.
  CHECK(log.fs.syncs() == before);
  log.fs.LosePower();
  REQUIRE(log.Open().ok());
  CHECK(log.replayed.size() == kThreads * kPushes);
}

TEST_CASE("a sync that fails stops the log until it is reopened") {
  SyncedLog log;
  {
    auto opened = log.Open();
    REQUIRE(SyncedLog::Append(**opened, 1).ok());
    REQUIRE((*opened)->Sync(1).ok());
    REQUIRE(SyncedLog::Append(**opened, 2).ok());
    log.fs.StopAfter(0);
    CHECK(absl::IsUnavailable((*opened)->Sync(2)));
    log.fs.StopAfter(-1);
    CHECK(absl::IsUnavailable((*opened)->Sync(2)));
    CHECK(absl::IsUnavailable(SyncedLog::Append(**opened, 3)));
  }
  auto opened = log.Open();
  REQUIRE(opened.ok());
  CHECK(log.replayed.size() == 2);
  CHECK(SyncedLog::Append(**opened, 3).ok());
}

TEST_CASE("a log shorter than the marks say is DATA_LOSS") {
  SyncedLog log;
  {
    auto opened = log.Open();
    for (uint64_t s = 1; s <= 4; ++s) REQUIRE(SyncedLog::Append(**opened, s).ok());
    REQUIRE((*opened)->Sync(4).ok());
    REQUIRE(SyncedLog::Append(**opened, 5).ok());
  }
  const std::string path = log.LastSegment();
  const auto size = std::filesystem::file_size(path);
  const auto record = (size - 40) / 5;
  // The fifth was never said to be on the disk, the fourth was.
  SECTION("a torn record above them is cut") {
    std::filesystem::resize_file(path, size - 1);
    REQUIRE(log.Open().ok());
    CHECK(log.replayed.size() == 4);
  }
  SECTION("one below is refused") {
    std::filesystem::resize_file(path, size - record - 1);
    const absl::Status status = log.Open().status();
    CHECK(absl::IsDataLoss(status));
    CHECK_THAT(std::string(status.message()), Contains(path) && Contains("on the disk"));
    CHECK(std::filesystem::file_size(path) == size - record - 1);
  }
  SECTION("so is an end at a whole record") {
    std::filesystem::resize_file(path, size - 2 * record);
    CHECK(absl::IsDataLoss(log.Open().status()));
  }
  SECTION("and a file with nothing in it") {
    std::filesystem::resize_file(path, 0);
    CHECK(absl::IsDataLoss(log.Open().status()));
    CHECK(std::filesystem::exists(path));
  }
  SECTION("and none at all, unless the rows have it") {
    std::filesystem::remove(path);
    CHECK(absl::IsDataLoss(log.Open().status()));
    log.options.flushed_sequence = log.options.highest_sequence = 4;
    CHECK(log.Open().ok());
  }
}

TEST_CASE("rows that lost a flush which the log was dropped for are DATA_LOSS") {
  SyncedLog log;
  log.options.sync_records = GENERATE(true, false);
  {
    auto opened = log.Open();
    for (uint64_t s = 1; s <= 4; ++s) REQUIRE(SyncedLog::Append(**opened, s).ok());
    (*opened)->Seal();
    REQUIRE((*opened)->DropThrough(4).ok());
  }
  const absl::Status status = log.Open().status();
  CHECK(absl::IsDataLoss(status));
  CHECK_THAT(std::string(status.message()), Contains("push 4") && Contains("flush"));
  log.options.flushed_sequence = log.options.highest_sequence = 4;
  CHECK(log.Open().ok());
}

TEST_CASE("segments that the rows cover are not read, and may miss what was never synced") {
  SyncedLog log;
  log.options.segment_bytes = 1;
  {
    auto opened = log.Open();
    for (uint64_t s = 1; s <= 6; ++s) REQUIRE(SyncedLog::Append(**opened, s).ok());
  }
  std::filesystem::resize_file(log.options.directory + "/00000000000000000002.log", 50);
  CHECK(absl::IsDataLoss(log.Open().status()));
  log.options.flushed_sequence = log.options.highest_sequence = 3;
  auto opened = log.Open();
  INFO(opened.status());
  REQUIRE(opened.ok());
  CHECK(log.replayed == std::vector<uint64_t>{4, 5, 6});
  REQUIRE((*opened)->DropThrough(5).ok());
  CHECK((*opened)->last_sequence() == 6);
}

}  // namespace
}  // namespace pagoda
