// RocksDB on a file system that is full, or forgets: what the wrapper passes on is what
// the rows' files live by.
#include "embedding_store/rocks_file_system.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "embedding_store/rocks_tier.h"
#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

struct TierFixture {
  ScratchDirectory scratch;
  FaultyFileSystem fs;
  RocksTierOptions options;

  TierFixture() {
    options.directory = scratch / "rocksdb";
    options.run_directory = scratch / "flush";
    options.create = true;
    options.file_system = &fs;
  }

  std::unique_ptr<RocksTier> Open() {
    auto tier = RocksTier::Open(options);
    INFO(tier.status());
    REQUIRE(tier.ok());
    options.create = false;
    REQUIRE(fs.SyncDirectory(scratch.path()).ok());
    return *std::move(tier);
  }

  // Adds `count` rows with the value `number`.
  static absl::Status Add(RocksTier& tier, uint64_t number, size_t count) {
    auto run = tier.NewRun();
    if (!run.ok()) return run.status();
    std::vector<RowKey> keys;
    for (size_t i = 0; i < count; ++i) keys.push_back(RowKey::Of(0, i));
    std::sort(keys.begin(), keys.end());
    for (const RowKey& key : keys) {
      const absl::Status added = (*run)->Add(key, std::string(200, static_cast<char>(number)));
      if (!added.ok()) return added;
    }
    RocksMeta meta;
    meta.flushed_sequence = meta.highest_sequence = number;
    meta.rows = {count};
    return (*run)->Commit(meta);
  }

  static size_t Count(RocksTier& tier, uint64_t number) {
    size_t count = 0;
    const absl::Status scanned =
        tier.Scan([&](const RowKey&, absl::string_view value) -> absl::StatusOr<bool> {
          count += value == std::string(200, static_cast<char>(number)) ? 1 : 0;
          return true;
        });
    INFO(scanned);
    REQUIRE(scanned.ok());
    return count;
  }
};

TEST_CASE("an added run survives the loss of power, an unfinished one leaves nothing") {
  TierFixture fixture;
  const uint64_t seed = GENERATE(0, 1, 2, 3);
  {
    auto tier = fixture.Open();
    REQUIRE(TierFixture::Add(*tier, 1, 2000).ok());
    REQUIRE(TierFixture::Add(*tier, 2, 500).ok());
    auto unfinished = tier->NewRun();
    REQUIRE((*unfinished)->Add(RowKey::Of(0, 7), "unfinished").ok());
    fixture.fs.StopAfter(0);
  }
  fixture.fs.LosePower(seed);
  fixture.fs.StopAfter(-1);
  auto tier = fixture.Open();
  CHECK(tier->meta().flushed_sequence == 2);
  CHECK(TierFixture::Count(*tier, 1) == 1500);
  CHECK(TierFixture::Count(*tier, 2) == 500);
}

TEST_CASE("wherever the machine dies, a run is there or not, whole") {
  bool done = false;
  for (int64_t calls = 0; calls < 200 && !done; ++calls) {
    CAPTURE(calls);
    TierFixture fixture;
    {
      auto tier = fixture.Open();
      REQUIRE(TierFixture::Add(*tier, 1, 100).ok());
      fixture.fs.StopAfter(calls);
      done = TierFixture::Add(*tier, 2, 100).ok();
      fixture.fs.StopAfter(0);
    }
    fixture.fs.LosePower(static_cast<uint64_t>(calls % 2));
    fixture.fs.StopAfter(-1);
    auto tier = fixture.Open();
    const uint64_t now = tier->meta().flushed_sequence;
    REQUIRE((now == 1 || now == 2));
    if (done) REQUIRE(now == 2);
    REQUIRE(TierFixture::Count(*tier, now) == 100);
  }
  CHECK(done);
}

TEST_CASE("a full disk refuses a run in words, and a later one goes through") {
  TierFixture fixture;
  auto tier = fixture.Open();
  REQUIRE(TierFixture::Add(*tier, 1, 100).ok());
  for (const int64_t space : {0, 100, 5000, 18000}) {
    CAPTURE(space);
    fixture.fs.SetSpace(space);
    const absl::Status full = TierFixture::Add(*tier, 2, 100);
    CAPTURE(full);
    CHECK(absl::IsResourceExhausted(full));
    fixture.fs.SetSpace(-1);
    CHECK(TierFixture::Count(*tier, 1) == 100);
  }
  REQUIRE(TierFixture::Add(*tier, 3, 100).ok());
  CHECK(TierFixture::Count(*tier, 3) == 100);
  CHECK(std::filesystem::is_empty(fixture.scratch / "flush"));
}

TEST_CASE("a checkpoint's files survive the loss of power once its directories are synced") {
  TierFixture fixture;
  {
    auto tier = fixture.Open();
    REQUIRE(TierFixture::Add(*tier, 1, 300).ok());
    REQUIRE(tier->Checkpoint(fixture.scratch / "copy").ok());
    REQUIRE(fixture.fs.SyncDirectory(fixture.scratch / "copy").ok());
    REQUIRE(fixture.fs.SyncDirectory(fixture.scratch.path()).ok());
    REQUIRE(TierFixture::Add(*tier, 2, 300).ok());
    fixture.fs.StopAfter(0);
  }
  fixture.fs.LosePower();
  fixture.fs.StopAfter(-1);
  fixture.options.directory = fixture.scratch / "copy";
  fixture.options.read_only = true;
  auto copy = RocksTier::Open(fixture.options);
  INFO(copy.status());
  REQUIRE(copy.ok());
  CHECK(TierFixture::Count(**copy, 1) == 300);
}

}  // namespace
}  // namespace pagoda
