#include "embedding_store/row_filter.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <thread>
#include <vector>

#include "base/random.h"

namespace pagoda {
namespace {

RowKey KeyOf(uint64_t number, uint32_t table) {
  return RowKey::Of(table, RandomBits(RandomKey{9}, number));
}

TEST_CASE("a filter never denies a row that was added, and denies most others") {
  // Bits a row, and the share that passes by the header's formula.
  for (const double bits : {3.2, 6.7, 13.0}) {
    CAPTURE(bits);
    constexpr uint64_t kRows = 100000;
    RowFilter filter(static_cast<int64_t>(bits * kRows / 8));
    CHECK(filter.bytes() <= static_cast<int64_t>(bits * kRows / 8));
    for (uint64_t i = 0; i < kRows; ++i) filter.Add(KeyOf(i, i % 3));
    uint64_t passed = 0;
    for (uint64_t i = 0; i < kRows; ++i) {
      REQUIRE(filter.MayHold(KeyOf(i, i % 3)));
      filter.Prefetch(KeyOf(i, 0));
      if (filter.MayHold(KeyOf(kRows + i, i % 3))) ++passed;
    }
    const double expected = std::pow(1 - std::exp(-3 / bits), 3);
    // Blocks do not all get equally many rows, which lets some more pass.
    CHECK(static_cast<double>(passed) / kRows < 1.6 * expected + 0.002);
    CHECK(static_cast<double>(passed) / kRows > 0.5 * expected);
  }
}

TEST_CASE("an id of one table says nothing of the same id in another") {
  RowFilter filter(1 << 16);
  for (uint64_t i = 0; i < 1000; ++i) filter.Add(KeyOf(i, 1));
  int passed = 0;
  for (uint64_t i = 0; i < 1000; ++i) passed += filter.MayHold(KeyOf(i, 2)) ? 1 : 0;
  CHECK(passed < 20);
}

TEST_CASE("an empty filter holds nothing, a filter of one block works") {
  RowFilter filter(RowFilter::kBlockBytes);
  CHECK(filter.bytes() == RowFilter::kBlockBytes);
  for (const FeatureId id : {FeatureId{0}, FeatureId{1}, ~FeatureId{0}}) {
    CHECK_FALSE(filter.MayHold(RowKey::Of(0, id)));
    filter.Add(RowKey::Of(0, id));
    CHECK(filter.MayHold(RowKey::Of(0, id)));
  }
}

TEST_CASE("threads that add at the same time lose no row") {
  RowFilter filter(1 << 12);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&filter, t] {
      for (uint64_t i = t; i < 4000; i += 4) filter.Add(KeyOf(i, 0));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (uint64_t i = 0; i < 4000; ++i) REQUIRE(filter.MayHold(KeyOf(i, 0)));
}

}  // namespace
}  // namespace pagoda
