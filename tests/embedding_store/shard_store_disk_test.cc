// The disk budget: pushes are refused before it is passed, and taken again when there is
// room, without a restart.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <thread>

#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/resource_watch.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;
using Kind = SparseOptimizerKind;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kBudget = 24 * kMiB;
constexpr size_t kDim = 16;
constexpr uint64_t kIdsPerPush = 500;

StoreOptions SmallStore(const ScratchDirectory& scratch) {
  StoreOptions options = MakeStore(scratch / "store");
  options.memory_bytes = 16 * kMiB;
  options.log_bytes_max = 2 * kMiB;
  options.disk_bytes_max = kBudget;
  return options;
}

std::vector<FeatureId> IdsOf(uint64_t number) {
  std::vector<FeatureId> ids;
  for (uint64_t i = 0; i < kIdsPerPush; ++i) ids.push_back(number * kIdsPerPush + i);
  return ids;
}

// New ids each time; at the step of its number.
absl::Status PushNumber(EmbeddingStore& store, uint64_t number) {
  const std::vector<FeatureId> ids = IdsOf(number);
  const std::vector<float> gradients(ids.size() * kDim, 0.5f);
  const StorePush push{0, ids, gradients};
  return store.Push({&push, 1}, static_cast<Step>(number), 1.0f);
}

// Pushes until one is refused; returns its number.
uint64_t Fill(EmbeddingStore& store, uint64_t number) {
  for (const uint64_t end = number + 5000; number < end; ++number) {
    const absl::Status status = PushNumber(store, number);
    if (status.ok()) continue;
    INFO(status);
    REQUIRE(absl::IsResourceExhausted(status));
    REQUIRE_THAT(std::string(status.message()), Contains("disk budget of"));
    return number;
  }
  FAIL("nothing was refused");
  return 0;
}

TEST_CASE("pushes beyond the disk budget are refused, and taken when there is room") {
  ScratchDirectory scratch;
  const StoreOptions options = SmallStore(scratch);
  auto store = OpenStore(options);
  OpenTableOf(*store, MakeTable("a", kDim, Kind::kAdagrad));
  uint64_t number = 0;
  {
    const ResourceWatch watch(options.path, 5);
    number = Fill(*store, 0);
    INFO(watch.disk_listing());
    CHECK(watch.disk() <= kBudget);
    CHECK(watch.disk() > kBudget / 4);
  }
  SECTION("a refused push changes nothing, and reads go on") {
    const uint64_t hash = HashOfStore(*store);
    for (int again = 0; again < 3; ++again) {
      CHECK(absl::IsResourceExhausted(PushNumber(*store, number)));
    }
    CHECK(HashOfStore(*store) == hash);
    CHECK(store->sequence() == number);
    CHECK(store->Stat()->at(0).rows == number * kIdsPerPush);
    const std::vector<float> first = PullRows(*store, 0, IdsOf(0));
    CHECK(store->Cut(scratch / "cut").ok());
    store.reset();
    store = OpenStore(options);
    OpenTableOf(*store, MakeTable("a", kDim, Kind::kAdagrad));
    CHECK(HashOfStore(*store) == hash);
    CHECK(PullRows(*store, 0, IdsOf(0)) == first);
    // Closing has written all rows, so that some more may fit.
    CHECK(Fill(*store, number) < number + 50);
  }
  SECTION("a raised budget takes more") {
    REQUIRE(store->SetDiskBytesMax(kBudget + 8 * kMiB).ok());
    const uint64_t more = Fill(*store, number);
    CHECK(more > number + 10);
    const auto use = store->DiskUse();
    REQUIRE(use.ok());
    CHECK(use->max == kBudget + 8 * kMiB);
    CHECK(use->rows > 0);
    CHECK(use->needed() <= use->max + 2 * kMiB);
    CHECK(store->SetDiskBytesMax(0).ok());
    CHECK(PushNumber(*store, more).ok());
    CHECK(absl::IsInvalidArgument(store->SetDiskBytesMax(-1)));
  }
  SECTION("evicted rows make room") {
    EvictionRule rule;
    rule.now = static_cast<Step>(number);
    rule.unused_steps = static_cast<int64_t>(number) / 3;
    const auto evicted = store->Evict(0, rule);
    REQUIRE(evicted.ok());
    CHECK(evicted->evicted > evicted->rows_before / 2);
    const ResourceWatch watch(options.path, 5);
    const uint64_t more = Fill(*store, number);
    CHECK(more > number + 10);
    INFO(watch.disk_listing());
    CHECK(watch.disk() <= kBudget);
  }
}

// A flush shortens the log: a push refused while one is under way would be taken a moment
// later.
TEST_CASE("a refused push stays refused where flushes are slow") {
  ScratchDirectory scratch;
  FaultyFileSystem files;
  StoreOptions options = SmallStore(scratch);
  options.log_bytes_max = kMiB;  // A flush is due every 15 pushes.
  options.file_system = &files;
  auto store = OpenStore(options);
  OpenTableOf(*store, MakeTable("a", kDim, Kind::kAdagrad));
  uint64_t number = Fill(*store, 0);
  files.SlowSyncs(50000);
  // Room for two more pushes each time, so that one of them makes a flush due.
  for (int64_t budget = kBudget; budget <= kBudget + 4 * kMiB; budget += kMiB / 2) {
    CAPTURE(budget);
    REQUIRE(store->SetDiskBytesMax(budget).ok());
    number = Fill(*store, number);
    const absl::StatusOr<StoreDiskUse> use = store->DiskUse();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    const absl::StatusOr<StoreDiskUse> later = store->DiskUse();
    REQUIRE((use.ok() && later.ok()));
    CHECK(use->log == later->log);
    CHECK(use->rows == later->rows);
    CHECK(absl::IsResourceExhausted(PushNumber(*store, number)));
  }
}

TEST_CASE("old versions of rows are merged away before a push is refused") {
  ScratchDirectory scratch;
  const StoreOptions options = SmallStore(scratch);
  auto store = OpenStore(options);
  OpenTableOf(*store, MakeTable("a", kDim, Kind::kAdagrad));
  // The same 10,000 rows over and over: 1.6 MB of rows, 100 MB of their versions.
  for (uint64_t round = 0; round < 64; ++round) {
    for (uint64_t n = 0; n < 20; ++n) {
      const absl::Status status = PushNumber(*store, n);
      INFO(status);
      REQUIRE(status.ok());
    }
  }
  CHECK(DirectoryBytes(options.path) <= kBudget);
}

TEST_CASE("a negative disk budget is refused") {
  ScratchDirectory scratch;
  StoreOptions options = SmallStore(scratch);
  options.disk_bytes_max = -1;
  CHECK(absl::IsInvalidArgument(EmbeddingStore::Open(options).status()));
}

}  // namespace
}  // namespace pagoda
