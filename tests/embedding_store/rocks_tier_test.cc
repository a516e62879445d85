#include "embedding_store/rocks_tier.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "embedding_store/file_system.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;

RocksTierOptions Options(const ScratchDirectory& scratch, bool create = true) {
  RocksTierOptions options;
  options.directory = scratch / "rocksdb";
  options.run_directory = scratch / "flush";
  options.create = create;
  return options;
}

std::unique_ptr<RocksTier> OpenTier(const RocksTierOptions& options) {
  auto tier = RocksTier::Open(options);
  INFO(tier.status());
  REQUIRE(tier.ok());
  return *std::move(tier);
}

using Rows = std::map<RowKey, std::string>;

void WriteRun(RocksTier& tier, const Rows& rows, uint64_t sequence, bool commit = true) {
  auto run = tier.NewRun();
  REQUIRE(run.ok());
  for (const auto& [key, value] : rows) REQUIRE((*run)->Add(key, value).ok());
  if (!commit) return;
  const absl::Status status = (*run)->Commit({sequence, sequence + 1, {rows.size(), 7}});
  INFO(status);
  REQUIRE(status.ok());
}

Rows AllRows(RocksTier& tier) {
  Rows rows;
  const absl::Status status = tier.Scan([&](const RowKey& key, absl::string_view value) {
    if (!rows.empty()) CHECK(rows.rbegin()->first < key);
    rows[key] = std::string(value);
    return true;
  });
  INFO(status);
  REQUIRE(status.ok());
  return rows;
}

Rows SomeRows(int count, const std::string& value) {
  Rows rows;
  for (int i = 0; i < count; ++i) {
    rows[RowKey::Of(static_cast<uint32_t>(i % 3), static_cast<FeatureId>(i))] =
        value + std::to_string(i);
  }
  return rows;
}

TEST_CASE("runs lie over one another, in key order, and survive reopening") {
  ScratchDirectory scratch;
  Rows expected = SomeRows(2000, "old");
  {
    auto tier = OpenTier(Options(scratch));
    CHECK(tier->meta().flushed_sequence == 0);
    CHECK(AllRows(*tier).empty());
    WriteRun(*tier, {}, 1);
    WriteRun(*tier, expected, 5);
    Rows newer = SomeRows(500, "new");
    WriteRun(*tier, newer, 9);
    newer.insert(expected.begin(), expected.end());
    expected = newer;
    CHECK(AllRows(*tier) == expected);
  }
  auto tier = OpenTier(Options(scratch, /*create=*/false));
  CHECK(AllRows(*tier) == expected);
  CHECK(tier->meta().flushed_sequence == 9);
  CHECK(tier->meta().highest_sequence == 10);
  CHECK(tier->meta().rows == std::vector<uint64_t>{500, 7});
  CHECK(tier->bytes_on_disk() > 0);
}

TEST_CASE("states of tables stand beside rows, by table and part, and are no rows") {
  ScratchDirectory scratch;
  using States = std::map<std::pair<uint32_t, uint32_t>, std::string>;
  const auto states_of = [](RocksTier& tier, uint32_t begin, uint32_t end) {
    States states;
    const absl::Status status =
        tier.ScanStates(begin, end, [&](uint32_t table, uint32_t part, absl::string_view value) {
          states[{table, part}] = std::string(value);
          return absl::OkStatus();
        });
    CHECK(status.ok());
    return states;
  };
  // The last row that a store can have, and the parts around every carry.
  Rows rows = SomeRows(100, "v");
  rows[RowKey{kNumBuckets - 1, kTablesMax - 1, ~FeatureId{0}}] = "last";
  States states = {{{0, 0}, "a"},
                   {{0, 255}, "b"},
                   {{0, 256}, "c"},
                   {{1, 65535}, "d"},
                   {{255, 1}, "e"},
                   {{256, 0}, "f"},
                   {{kTablesMax - 1, 65535}, ""}};
  {
    auto tier = OpenTier(Options(scratch));
    CHECK(states_of(*tier, 0, kTablesMax).empty());
    for (const char* round : {"old", "new"}) {
      auto run = tier->NewRun();
      REQUIRE(run.ok());
      for (const auto& [key, value] : rows) REQUIRE((*run)->Add(key, value).ok());
      for (auto& [key, value] : states) {
        if (!value.empty()) value = round;
        REQUIRE((*run)->AddState(key.first, key.second, value).ok());
      }
      REQUIRE((*run)->Commit({7, 7, {rows.size()}}).ok());
    }
  }
  auto tier = OpenTier(Options(scratch, /*create=*/false));
  CHECK(states_of(*tier, 0, kTablesMax) == states);
  CHECK(states_of(*tier, 1, 256) == States{{{1, 65535}, "new"}, {{255, 1}, "new"}});
  CHECK(tier->meta().flushed_sequence == 7);
  CHECK(AllRows(*tier) == rows);
  const std::unique_ptr<RocksTier::Cursor> cursor = tier->NewCursor();
  REQUIRE(cursor->SeekToLast().ok());
  REQUIRE(cursor->valid());
  CHECK(cursor->key() == rows.rbegin()->first);
  REQUIRE(cursor->Next().ok());
  CHECK_FALSE(cursor->valid());
  REQUIRE(tier->Compact().ok());
  CHECK(states_of(*tier, 0, kTablesMax) == states);
}

TEST_CASE("a batch read finds what is there and says what is not") {
  ScratchDirectory scratch;
  auto tier = OpenTier(Options(scratch));
  const Rows rows = SomeRows(3000, "v");
  WriteRun(*tier, rows, 1);
  std::vector<RowKey> keys;
  for (int i = 0; i < 4000; ++i) {
    keys.push_back(RowKey::Of(static_cast<uint32_t>(i % 3), static_cast<FeatureId>(i)));
  }
  std::sort(keys.begin(), keys.end());
  size_t next = 0;
  const absl::Status status = tier->Read(keys, [&](size_t i, absl::string_view value) {
    CHECK(i == next++);
    const auto found = rows.find(keys[i]);
    CHECK(value == (found == rows.end() ? std::string() : found->second));
    return absl::OkStatus();
  });
  CHECK(status.ok());
  CHECK(next == keys.size());
  CHECK(absl::IsInternal(tier->Read(keys, [](size_t i, absl::string_view) {
    return i == 300 ? absl::InternalError("stop") : absl::OkStatus();
  })));
  CHECK(tier->Read({}, nullptr).ok());
}

TEST_CASE("a run that is not committed leaves no trace") {
  ScratchDirectory scratch;
  auto tier = OpenTier(Options(scratch));
  WriteRun(*tier, SomeRows(10, "v"), 3);
  WriteRun(*tier, SomeRows(2000, "lost"), 4, /*commit=*/false);
  CHECK(AllRows(*tier) == SomeRows(10, "v"));
  CHECK(tier->meta().flushed_sequence == 3);
  CHECK(std::filesystem::is_empty(scratch / "flush"));
}

TEST_CASE("a checkpoint is whole, and its checksums are those of its files") {
  ScratchDirectory scratch;
  auto tier = OpenTier(Options(scratch));
  for (uint64_t i = 1; i <= 6; ++i) {
    WriteRun(*tier, SomeRows(100 * static_cast<int>(i), std::to_string(i)), i);
  }
  auto checksums = tier->Checkpoint(scratch / "copy");
  INFO(checksums.status());
  REQUIRE(checksums.ok());
  int checked = 0;
  for (const auto& entry : std::filesystem::directory_iterator(scratch / "copy")) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(".sst")) continue;
    REQUIRE(checksums->contains(name));
    CHECK(*FileSystem::Real()->FileChecksum(entry.path().string()) == checksums->at(name));
    ++checked;
  }
  CHECK(checked > 0);
  const Rows expected = AllRows(*tier);
  WriteRun(*tier, SomeRows(1000, "later"), 8);
  RocksTierOptions options = Options(scratch, false);
  options.directory = scratch / "copy";
  options.read_only = true;
  auto copy = OpenTier(options);
  CHECK(AllRows(*copy) == expected);
  CHECK(copy->meta().flushed_sequence == 6);
}

TEST_CASE("a checkpoint is not made over another") {
  ScratchDirectory scratch;
  auto tier = OpenTier(Options(scratch));
  REQUIRE(tier->Checkpoint(scratch / "copy").ok());
  CHECK(absl::IsAlreadyExists(tier->Checkpoint(scratch / "copy").status()));
}

TEST_CASE("checkpoints are of one moment while runs come, merge and are removed") {
  ScratchDirectory scratch;
  auto tier = OpenTier(Options(scratch));
  WriteRun(*tier, SomeRows(1, ""), 1);
  std::atomic<uint64_t> written{1};
  std::atomic<bool> stop{false}, failed{false};
  // Run n has rows 0 .. n - 1, so that a copy's rows tell which run is its last.
  std::thread writer([&] {
    for (uint64_t n = 2; !stop; ++n) {
      auto run = tier->NewRun();
      const Rows rows = SomeRows(static_cast<int>(n), "");
      bool good = run.ok();
      for (const auto& [key, value] : rows) good = good && (*run)->Add(key, value).ok();
      if (!good || !(*run)->Commit({n, n + 1, {n, 0}}).ok()) failed = true;
      written = n;
    }
  });
  std::thread remover([&] {
    while (!stop) tier->RemoveReplaced();
  });
  for (int i = 0; i < 40; ++i) {
    const uint64_t before = written;
    const auto made = tier->Checkpoint(scratch / "copy");
    INFO(made.status());
    CHECK(made.ok());
    if (!made.ok()) break;
    RocksTierOptions options = Options(scratch, /*create=*/false);
    options.directory = scratch / "copy";
    options.read_only = true;
    {
      auto copy = OpenTier(options);
      const uint64_t last = copy->meta().flushed_sequence;
      CAPTURE(i, before, last);
      CHECK(last >= before);
      CHECK(AllRows(*copy) == SomeRows(static_cast<int>(last), ""));
    }
    std::filesystem::remove_all(scratch / "copy");
  }
  stop = true;
  writer.join();
  remover.join();
  CHECK_FALSE(failed);
}

TEST_CASE("a changed byte in a row file is DATA_LOSS, never a wrong row") {
  ScratchDirectory scratch;
  const Rows rows = SomeRows(3000, "value");
  {
    auto tier = OpenTier(Options(scratch));
    WriteRun(*tier, rows, 1);
  }
  std::string path;
  for (const auto& entry : std::filesystem::directory_iterator(scratch / "rocksdb")) {
    if (entry.path().extension() == ".sst") path = entry.path().string();
  }
  REQUIRE_FALSE(path.empty());
  const std::string bytes = *FileSystem::Real()->ReadAll(path);
  std::vector<RowKey> keys;
  for (const auto& [key, value] : rows) keys.push_back(key);
  int refused = 0;
  for (size_t at = 0; at < bytes.size(); at += bytes.size() / 23) {
    CAPTURE(at);
    std::string changed = bytes;
    changed[at] = static_cast<char>(changed[at] ^ 2);
    std::ofstream(path, std::ios::binary | std::ios::trunc) << changed;
    auto tier = RocksTier::Open(Options(scratch, false));
    absl::Status status = tier.status();
    if (tier.ok()) {
      status = (*tier)->Read(keys, [&](size_t i, absl::string_view value) {
        CHECK(value == rows.at(keys[i]));
        return absl::OkStatus();
      });
    }
    if (status.ok()) continue;  // A byte that no row needs.
    ++refused;
    CHECK(absl::IsDataLoss(status));
  }
  CHECK(refused > 15);
}

TEST_CASE("reads screened by the filter give the same rows, also after opening again") {
  ScratchDirectory scratch;
  RocksTierOptions options = Options(scratch);
  options.filter_bytes = 1 << 14;
  const Rows rows = SomeRows(3000, "value");
  std::vector<RowKey> keys;
  for (uint32_t t = 0; t < 3; ++t) {
    for (FeatureId id = 0; id < 4000; ++id) keys.push_back(RowKey::Of(t, id));
  }
  std::sort(keys.begin(), keys.end());
  const auto check = [&](RocksTier& tier) {
    size_t next = 0;
    const absl::Status status = tier.Read(keys, [&](size_t i, absl::string_view value) {
      REQUIRE(i == next++);
      const auto found = rows.find(keys[i]);
      CHECK(value == (found == rows.end() ? std::string() : found->second));
      return absl::OkStatus();
    });
    INFO(status);
    CHECK(status.ok());
    CHECK(next == keys.size());
    for (const size_t count : {0, 1, 2}) {
      size_t answers = 0;
      const absl::Status few = tier.Read({keys.data(), count}, [&](size_t, absl::string_view) {
        ++answers;
        return absl::OkStatus();
      });
      CHECK(few.ok());
      CHECK(answers == count);
    }
  };
  {
    auto tier = OpenTier(options);
    CHECK(tier->filter_is_complete());
    WriteRun(*tier, rows, 1);
    check(*tier);
  }
  options.create = false;
  auto tier = OpenTier(options);
  check(*tier);  // Most likely before all rows were gone through.
  for (int i = 0; i < 1000 && !tier->filter_is_complete(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  REQUIRE(tier->filter_is_complete());
  check(*tier);
}

TEST_CASE("what rows take on disk is told by level, with what a merge may need") {
  ScratchDirectory scratch;
  auto tier = OpenTier(Options(scratch));
  CHECK(tier->disk_use().files == 0);
  CHECK(tier->disk_use().MergeBytesMax(0) == 0);
  WriteRun(*tier, SomeRows(3000, "value"), 1);
  WriteRun(*tier, SomeRows(3000, "other"), 2);
  const RocksDiskUse two = tier->disk_use();
  CHECK(two.files == tier->bytes_on_disk());
  CHECK(two.level0 > 0);
  CHECK(two.level0 + two.below <= two.files);
  CHECK(two.MergeBytesMax(100) >= two.level0 + 100);
  CHECK(tier->run_bytes_added() == two.files);
  CHECK(tier->rows_removed() == 0);
  REQUIRE(tier->Compact().ok());
  CHECK(tier->disk_use().level0 == 0);
  CHECK(tier->disk_use().files < two.files);
  CHECK(tier->Resume().ok());
  RocksDiskUse large = two;
  large.files = int64_t{1} << 40;
  CHECK(large.MergeBytesMax(5) == large.merge);
  CHECK(large.merge <= int64_t{4} << 30);
}

TEST_CASE("files that a merge replaced count until they are gone") {
  ScratchDirectory scratch;
  auto tier = OpenTier(Options(scratch));
  WriteRun(*tier, SomeRows(4000, "first"), 1);
  WriteRun(*tier, SomeRows(4000, "other"), 2);
  const int64_t before = tier->disk_use().files;
  CHECK(before > 0);
  CHECK(tier->disk_use().replaced == 0);
  auto reader = tier->NewCursor();
  REQUIRE(reader->Seek({0, 0, 0}).ok());
  REQUIRE(tier->Compact().ok());
  const RocksDiskUse held = tier->disk_use();
  CHECK(held.files < before);
  CHECK(held.replaced == before);
  tier->RemoveReplaced();
  CHECK(tier->disk_use().replaced == before);
  reader.reset();
  tier->RemoveReplaced();
  CHECK(tier->disk_use().replaced == 0);
  CHECK(tier->disk_use().files == held.files);
}

TEST_CASE("a merge waits for replaced files, not for ever") {
  ScratchDirectory scratch;
  auto tier = OpenTier(Options(scratch));
  WriteRun(*tier, SomeRows(4000, "first"), 1);
  auto reader = tier->NewCursor();
  REQUIRE(reader->Seek({0, 0, 0}).ok());
  WriteRun(*tier, SomeRows(4000, "other"), 2);
  REQUIRE(tier->Compact().ok());
  REQUIRE(tier->disk_use().replaced > 0);
  WriteRun(*tier, SomeRows(4000, "third"), 3);
  tier->SetBytesMax(1);
  std::atomic<bool> merged{false};
  std::thread merger([&] {
    (void)tier->Compact();
    merged = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  CHECK(!merged);
  SECTION("it goes on when they are gone") {
    reader.reset();
    const auto begin = std::chrono::steady_clock::now();
    merger.join();
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(3));
  }
  SECTION("a reader that never ends does not stop it") {
    merger.join();
    CHECK(reader->valid());
  }
  CHECK(AllRows(*tier) == SomeRows(4000, "third"));
}

TEST_CASE("missing and lost databases are told apart from new ones") {
  ScratchDirectory scratch;
  CHECK(absl::IsDataLoss(RocksTier::Open(Options(scratch, /*create=*/false)).status()));
  auto tier = OpenTier(Options(scratch));
  const absl::Status second = RocksTier::Open(Options(scratch)).status();
  CHECK(absl::IsFailedPrecondition(second));
}

}  // namespace
}  // namespace pagoda
