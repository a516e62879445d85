// What a store promises of acknowledged pushes: across the loss of power, once for each
// origin, with a log that stays within its ceiling and rows that do not stay unwritten.
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <thread>

#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;
using Kind = SparseOptimizerKind;
namespace stdfs = std::filesystem;

const std::vector<TableOptions>& Tables() {
  static const std::vector<TableOptions> tables = {MakeTable("a", 16, Kind::kAdagrad),
                                                   MakeTable("b", 3, Kind::kAdam)};
  return tables;
}

std::unique_ptr<EmbeddingStore> OpenWithTables(const StoreOptions& options) {
  auto store = OpenStore(options);
  for (const TableOptions& table : Tables()) OpenTableOf(*store, table);
  return store;
}

absl::Status ApplyOnce(EmbeddingStore& store, const PushOrigin& origin, const TestPush& push) {
  std::vector<StorePush> parts;
  for (const TestPush::Part& part : push.parts) {
    parts.push_back({part.table, part.ids, part.gradients});
  }
  return store.PushOnce(origin, parts, push.step, push.learning_rate_factor);
}

TestPush PushNumber(uint64_t n) {
  return RandomPush(Tables(), 4, n, 100, 2000);
}

TEST_CASE("with durability machine acknowledged pushes survive the loss of power") {
  const uint64_t seed = GENERATE(0, 1, 2);
  const bool flushed = GENERATE(false, true);
  CAPTURE(seed, flushed);
  ScratchDirectory scratch;
  FaultyFileSystem fs;
  StoreOptions options = MakeStore(scratch / "store");
  options.file_system = &fs;
  options.durability = Durability::kMachine;
  StoreOracle oracle(Tables());
  for (uint64_t round = 0; round < 4; ++round) {
    {
      auto store = OpenWithTables(options);
      for (uint64_t n = 10 * round + 1; n <= 10 * round + 10; ++n) {
        REQUIRE(Apply(*store, PushNumber(n)).ok());
        oracle.Push(PushNumber(n));
        if (flushed && n % 10 == 7) REQUIRE(store->Cut(scratch / std::to_string(n)).ok());
      }
      fs.StopAfter(0);
      CHECK_FALSE(Apply(*store, PushNumber(1000)).ok());
    }
    fs.LosePower(seed);
    fs.StopAfter(-1);
    auto store = OpenStore(options);
    REQUIRE(store->sequence() == 10 * round + 10);
    REQUIRE(oracle.Compare(*store) == "");
    if (flushed) {
      REQUIRE(EmbeddingStore::VerifyCut(scratch / std::to_string(10 * round + 7)).ok());
    }
  }
}

TEST_CASE("wherever the machine dies, whole pushes are there: all acknowledged ones") {
  bool all = false;
  for (int64_t calls = 0; calls < 600 && !all; calls += 7) {
    CAPTURE(calls);
    ScratchDirectory scratch;
    FaultyFileSystem fs;
    StoreOptions options = MakeStore(scratch / "store");
    options.file_system = &fs;
    options.durability = Durability::kMachine;
    StoreOracle oracle(Tables());
    uint64_t acknowledged = 0;
    {
      auto store = OpenWithTables(options);
      fs.StopAfter(calls);
      for (uint64_t n = 1; n <= 12 && Apply(*store, PushNumber(n)).ok(); ++n) {
        acknowledged = n;
        if (n % 4 == 0 && !store->Cut(scratch / std::to_string(n)).ok()) break;
      }
      all = acknowledged == 12;
      fs.StopAfter(0);
    }
    fs.LosePower(static_cast<uint64_t>(calls % 2));
    fs.StopAfter(-1);
    auto store = OpenStore(options);
    REQUIRE(store->sequence() >= acknowledged);
    REQUIRE(store->sequence() <= acknowledged + 1);
    for (uint64_t n = 1; n <= store->sequence(); ++n) oracle.Push(PushNumber(n));
    REQUIRE(oracle.Compare(*store) == "");
  }
  CHECK(all);
}

TEST_CASE("wherever the machine dies while it creates a store, that is not taken for a loss") {
  const uint64_t seed = GENERATE(0, 1, 2);
  CAPTURE(seed);
  bool created = false;
  int not_yet = 0;
  for (int64_t calls = 0; calls < 200 && !created; ++calls) {
    CAPTURE(calls);
    ScratchDirectory scratch;
    FaultyFileSystem fs;
    StoreOptions options = MakeStore(scratch / "store");
    options.file_system = &fs;
    fs.StopAfter(calls);
    {
      const auto store = EmbeddingStore::Open(options);
      created = store.ok() && (*store)->OpenTable(Tables()[0]).ok();
    }
    fs.LosePower(seed);
    fs.StopAfter(-1);
    options.read_only = true;
    {
      const auto reader = EmbeddingStore::Open(options);
      INFO(reader.status());
      CHECK((reader.ok() || absl::IsNotFound(reader.status())));
      not_yet += reader.ok() ? 0 : 1;
    }
    options.read_only = false;
    OpenTableOf(*OpenStore(options), Tables()[0]);
  }
  CHECK(created);
  CHECK(not_yet > 5);
}

TEST_CASE("pushes of several threads share a sync") {
  ScratchDirectory scratch;
  FaultyFileSystem fs;
  StoreOptions options = MakeStore(scratch / "store");
  options.file_system = &fs;
  options.durability = Durability::kMachine;
  auto store = OpenWithTables(options);
  fs.SlowSyncs(2000);
  const int64_t before = fs.syncs();
  constexpr int kThreads = 8;
  constexpr int kPushes = 20;
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPushes; ++i) {
        const auto n = static_cast<uint64_t>(t * kPushes + i + 1);
        failed += Apply(*store, PushNumber(n)).ok() ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failed == 0);
  CHECK(store->sequence() == kThreads * kPushes);
  CHECK(fs.syncs() - before <= kThreads * kPushes / 2);
}

TEST_CASE("a push sent again is answered again and applied once, also after a crash") {
  const bool flushed = GENERATE(false, true);
  CAPTURE(flushed);
  ScratchDirectory scratch;
  StoreOracle oracle(Tables());
  StoreOptions options = MakeStore(scratch / "store");
  {
    auto store = OpenWithTables(options);
    CHECK(absl::IsInvalidArgument(ApplyOnce(*store, {1, 1, 0}, PushNumber(1))));
    for (uint64_t n = 1; n <= 8; ++n) {
      REQUIRE(ApplyOnce(*store, {n % 2, 5, n}, PushNumber(n)).ok());
      REQUIRE(ApplyOnce(*store, {n % 2, 5, n}, PushNumber(n)).ok());
      oracle.Push(PushNumber(n));
      if (n == 6 && flushed) REQUIRE(store->Cut(scratch / "cut").ok());
    }
    CHECK(store->sequence() == 8);
    // A refused push may be sent again as new.
    TestPush bad = PushNumber(9);
    bad.parts[0].ids.assign(2, 5);
    bad.parts[0].gradients.assign(32, 1.0f);
    CHECK(absl::IsInvalidArgument(ApplyOnce(*store, {1, 5, 9}, bad)));
    stdfs::copy(scratch / "store", scratch / "killed", stdfs::copy_options::recursive);
  }
  options.path = scratch / "killed";
  auto store = OpenStore(options);
  for (uint64_t n = 1; n <= 8; ++n) {
    REQUIRE(ApplyOnce(*store, {n % 2, 5, n}, PushNumber(n)).ok());
  }
  CHECK(store->sequence() == 8);
  CHECK(oracle.Compare(*store) == "");
  CHECK(ApplyOnce(*store, {1, 5, 9}, PushNumber(9)).ok());
  oracle.Push(PushNumber(9));
  CHECK(ApplyOnce(*store, {1, 6, 1}, PushNumber(10)).ok());
  oracle.Push(PushNumber(10));
  const absl::Status older = ApplyOnce(*store, {1, 5, 10}, PushNumber(11));
  CHECK(absl::IsFailedPrecondition(older));
  CHECK_THAT(std::string(older.message()), Contains("client 1"));
  CHECK(ApplyOnce(*store, {1, 6, 1 + ClientWindows::kWidth}, PushNumber(11)).ok());
  oracle.Push(PushNumber(11));
  CHECK(absl::IsResourceExhausted(ApplyOnce(*store, {1, 6, 1}, PushNumber(10))));
  CHECK(oracle.Compare(*store) == "");
  // A store restored from a cut knows what the cut's rows hold, and no more.
  if (!flushed) return;
  REQUIRE(store->Restore(scratch / "cut", "").ok());
  StoreOracle at_cut(Tables());
  for (uint64_t n = 1; n <= 7; ++n) {
    at_cut.Push(PushNumber(n));
    REQUIRE(ApplyOnce(*store, {n % 2, 5, n}, PushNumber(n)).ok());
  }
  CHECK(store->sequence() == 7);
  CHECK(at_cut.Compare(*store) == "");
}

TEST_CASE("a push longer than the log may be is refused") {
  ScratchDirectory scratch;
  StoreOptions options = MakeStore(scratch / "store");
  options.log_bytes_max = int64_t{1} << 20;
  auto store = OpenWithTables(options);
  TestPush push;
  push.step = 1;
  push.parts.emplace_back();
  for (uint64_t id = 0; id < 20000; ++id) push.parts[0].ids.push_back(id);
  push.parts[0].gradients.assign(20000 * 16, 0.5f);
  const absl::Status status = Apply(*store, push);
  CHECK(absl::IsResourceExhausted(status));
  CHECK_THAT(std::string(status.message()), Contains("log_bytes_max"));
  CHECK(store->sequence() == 0);
}

TEST_CASE("rows do not stay unwritten for longer than their age") {
  ScratchDirectory scratch;
  StoreOptions options = MakeStore(scratch / "store");
  options.flush_age_seconds = 0;
  CHECK(absl::IsInvalidArgument(EmbeddingStore::Open(options).status()));
  options.flush_age_seconds = 1;
  auto store = OpenWithTables(options);
  REQUIRE(Apply(*store, PushNumber(1)).ok());
  CHECK_FALSE(stdfs::is_empty(scratch / "store/state-000001/log"));
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!stdfs::is_empty(scratch / "store/state-000001/log") &&
         std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  CHECK(stdfs::is_empty(scratch / "store/state-000001/log"));
}

}  // namespace
}  // namespace pagoda
