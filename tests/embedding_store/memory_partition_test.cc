#include "embedding_store/memory_partition.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <map>
#include <random>
#include <set>

namespace pagoda {
namespace {

constexpr int64_t kSlab = 4096;
using Slot = MemoryPartition::Slot;
using Key = std::pair<uint32_t, FeatureId>;

struct PartitionFixture {
  std::vector<MemoryTable> tables = {{32, 0, 16}, {144, 1, 64}, {32, 0, 8}};
  std::unique_ptr<RowArena> arena;
  std::unique_ptr<MemoryPartition> partition;

  explicit PartitionFixture(int64_t budget) {
    auto created = RowArena::Create(budget, kSlab);
    REQUIRE(created.ok());
    arena = *std::move(created);
    partition = std::make_unique<MemoryPartition>(arena.get(), &tables);
  }

  // Low bits that collide often, to make long probe runs.
  static uint32_t Hash(const Key& key) { return MemoryPartition::HashOf(key.second, key.first); }
  Slot* Find(const Key& key) { return partition->Find(key.first, key.second, Hash(key)); }
  Slot* Insert(const Key& key) {
    Slot* slot = partition->Insert(key.first, key.second, Hash(key));
    if (slot == nullptr) return nullptr;
    const uint64_t stamp = Stamp(key);
    std::memcpy(partition->RowOf(*slot), &stamp, sizeof(stamp));
    return slot;
  }
  static uint64_t Stamp(const Key& key) { return MixBits(key.second) + key.first; }
  bool Intact(const Slot& slot, const Key& key) const {
    uint64_t stamp = 0;
    std::memcpy(&stamp, partition->RowOf(slot), sizeof(stamp));
    return stamp == Stamp(key);
  }
};

TEST_CASE("a row is found near where it was, though slots move") {
  const uint32_t seed = GENERATE(1u, 2u, 3u);
  CAPTURE(seed);
  PartitionFixture fixture(int64_t{8} << 20);
  std::mt19937_64 random(seed);
  std::map<Key, uint32_t> places;
  for (int i = 0; i < 20000; ++i) {
    const Key key(static_cast<uint32_t>(random() % 3), random() % 4000);
    Slot* slot = fixture.Find(key);
    if (slot == nullptr) {
      slot = fixture.Insert(key);
      REQUIRE(slot != nullptr);
      places[key] = fixture.partition->PlaceOf(slot);
    } else if (random() % 2 == 0) {
      fixture.partition->Erase(slot);
      REQUIRE(fixture.partition->FindNear(places[key], key.first, key.second) == nullptr);
      places.erase(key);
    } else {
      REQUIRE(fixture.partition->FindNear(places[key], key.first, key.second) == slot);
    }
  }
  int moved = 0;
  for (const auto& [key, place] : places) {
    Slot* slot = fixture.partition->FindNear(place, key.first, key.second);
    REQUIRE(slot == fixture.Find(key));
    moved += fixture.partition->PlaceOf(slot) != place ? 1 : 0;
  }
  CHECK(moved > 0);
}

TEST_CASE("a partition agrees with a map through inserts, erases and growth") {
  const uint32_t seed = GENERATE(1u, 2u, 3u);
  CAPTURE(seed);
  PartitionFixture fixture(int64_t{8} << 20);
  std::mt19937_64 random(seed);
  std::set<Key> present;
  for (int i = 0; i < 20000; ++i) {
    const Key key(static_cast<uint32_t>(random() % 3), random() % 4000 - 2);
    Slot* slot = fixture.Find(key);
    REQUIRE((slot != nullptr) == present.contains(key));
    if (slot != nullptr) {
      REQUIRE(fixture.Intact(*slot, key));
      REQUIRE(MemoryPartition::TableOf(*slot) == key.first);
    }
    if (slot != nullptr && random() % 3 == 0) {
      fixture.partition->Erase(slot);
      present.erase(key);
    } else if (slot == nullptr) {
      REQUIRE(fixture.Insert(key) != nullptr);
      present.insert(key);
    }
  }
  std::map<uint32_t, int64_t> rows;
  std::set<const char*> places;
  for (const Key& key : present) {
    Slot* slot = fixture.Find(key);
    REQUIRE(slot != nullptr);
    REQUIRE(fixture.Intact(*slot, key));
    REQUIRE(places.insert(fixture.partition->RowOf(*slot)).second);
    ++rows[key.first];
  }
  for (uint32_t t = 0; t < 3; ++t) CHECK(fixture.partition->rows_of_table(t) == rows[t]);
  CHECK(fixture.partition->rows_of_table(99) == 0);
  CHECK(fixture.arena->used_bytes() <= fixture.arena->budget_bytes());
}

TEST_CASE("a full partition evicts clean rows, never held ones, and stays in its budget") {
  const uint64_t held = GENERATE(uint64_t{kRowDirty}, uint64_t{kRowWriting}, uint64_t{kRowPinned});
  PartitionFixture fixture(int64_t{256} << 10);
  std::set<Key> kept;
  std::mt19937_64 random(4);
  for (uint64_t i = 0; i < 30000; ++i) {
    const Key key(static_cast<uint32_t>(random() % 3), i);
    Slot* slot = fixture.Insert(key);
    REQUIRE(slot != nullptr);
    if (i % 300 == 0) {
      slot->word |= held;
      kept.insert(key);
    }
    REQUIRE(fixture.arena->used_bytes() <= fixture.arena->budget_bytes());
  }
  for (const Key& key : kept) {
    Slot* slot = fixture.Find(key);
    REQUIRE(slot != nullptr);
    REQUIRE(fixture.Intact(*slot, key));
  }
  int64_t rows = 0;
  for (const Slot& slot : *fixture.partition) rows += slot.word != 0 ? 1 : 0;
  CHECK(rows == fixture.partition->rows_of_table(0) + fixture.partition->rows_of_table(1) +
                    fixture.partition->rows_of_table(2));
  CHECK(rows > 1000);
}

TEST_CASE("with everything held there is no room, until rows become clean") {
  PartitionFixture fixture(int64_t{128} << 10);
  std::vector<Key> keys;
  for (uint64_t i = 0;; ++i) {
    const Key key(1, i);
    Slot* slot = fixture.Insert(key);
    if (slot == nullptr) break;
    slot->word |= kRowDirty;
    keys.push_back(key);
  }
  REQUIRE(keys.size() > 100);
  CHECK(fixture.Insert({1, 1000000}) == nullptr);
  CHECK(fixture.Insert({0, 1000000}) == nullptr);
  CHECK(fixture.Find({1, 1000000}) == nullptr);
  for (const Key& key : keys) fixture.Find(key)->word &= ~uint64_t{kRowDirty};
  fixture.partition->RowsBecameClean();
  CHECK(fixture.Insert({1, 1000000}) != nullptr);
}

TEST_CASE("rows in use outlive rows that are not") {
  PartitionFixture fixture(int64_t{256} << 10);
  const std::vector<Key> hot = {{1, 1}, {1, 2}, {1, 3}};
  for (const Key& key : hot) fixture.Insert(key);
  for (uint64_t i = 100; i < 20000; ++i) {
    fixture.Insert({1, i});
    for (const Key& key : hot) {
      Slot* slot = fixture.Find(key);
      REQUIRE(slot != nullptr);
      slot->word |= kRowReferenced;
    }
  }
}

TEST_CASE("evicting a modified row is counted, a clean copy is not") {
  PartitionFixture fixture(int64_t{128} << 10);
  for (uint64_t i = 0; i < 5000; ++i) fixture.Insert({1, i});
  CHECK(fixture.partition->modified_evictions() == 0);
  for (uint64_t i = 5000; i < 5100; ++i) fixture.Insert({1, i})->word |= kRowModified;
  for (uint64_t i = 6000; i < 12000; ++i) fixture.Insert({1, i});
  CHECK(fixture.partition->modified_evictions() == 100);
}

TEST_CASE("a row size that comes late gets its share of a full partition") {
  PartitionFixture fixture(int64_t{256} << 10);
  for (uint64_t i = 0; i < 20000; ++i) REQUIRE(fixture.Insert({1, i}) != nullptr);
  for (uint64_t i = 0; i < 20000; ++i) REQUIRE(fixture.Insert({0, i}) != nullptr);
  CHECK(fixture.partition->rows_of_table(0) >= 256 * 1024 / 8 / 2 / 32);
  CHECK(fixture.partition->rows_of_table(1) > 100);
  for (Slot& slot : *fixture.partition) {
    if (slot.word == 0) continue;
    const Key key(MemoryPartition::TableOf(slot), slot.id);
    REQUIRE(fixture.Intact(slot, key));
    REQUIRE(fixture.Find(key) == &slot);
  }
}

}  // namespace
}  // namespace pagoda
