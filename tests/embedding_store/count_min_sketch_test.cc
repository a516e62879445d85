#include "embedding_store/count_min_sketch.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <set>

#include "base/hash.h"

namespace pagoda {
namespace {

// Counts without collisions, halved as periods begin.
class ExactCounts {
 public:
  uint32_t Of(FeatureId id, uint32_t period) const {
    const auto found = counts_.find(id);
    if (found == counts_.end()) return 0;
    const uint32_t times = period > found->second.period ? period - found->second.period : 0;
    return times > 31 ? 0 : found->second.count >> times;
  }
  void Count(FeatureId id, uint32_t period) {
    const uint32_t count = Of(id, period);
    Counted& counted = counts_[id];
    counted.period = std::max(counted.period, period);
    counted.count = std::min<uint32_t>(count + 1, 255);
  }

 private:
  struct Counted {
    uint32_t count = 0, period = 0;
  };
  std::map<FeatureId, Counted> counts_;
};

std::vector<FeatureId> DistinctIds(std::mt19937_64& random, size_t count, uint64_t range) {
  std::set<FeatureId> ids;
  while (ids.size() < count) ids.insert(random() % range);
  std::vector<FeatureId> shuffled(ids.begin(), ids.end());
  std::shuffle(shuffled.begin(), shuffled.end(), random);
  return shuffled;
}

// Ids of one bucket only, so that they share its few counters.
std::vector<FeatureId> IdsOfBucket(uint32_t bucket, size_t count) {
  std::vector<FeatureId> ids;
  for (FeatureId id = 0; ids.size() < count; ++id) {
    if (BucketOf(id) == bucket) ids.push_back(id);
  }
  return ids;
}

TEST_CASE("an estimate is never below the count, with any collisions and ageing") {
  const auto seed = static_cast<uint32_t>(std::random_device{}());
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const uint32_t width = GENERATE(1u, 3u, 4u, 64u);
  CAPTURE(width);
  CountMinSketch sketch(width);
  ExactCounts exact;
  const std::vector<FeatureId> ids = IdsOfBucket(17, 40);
  uint32_t period = 0;
  uint64_t above = 0;
  for (uint64_t push = 1; push <= 300; ++push) {
    std::vector<FeatureId> now = ids;
    std::shuffle(now.begin(), now.end(), random);
    now.resize(random() % 12);
    if (random() % 20 == 0) period += static_cast<uint32_t>(random() % 3);
    sketch.Count(now, period, push);
    for (const FeatureId id : now) exact.Count(id, period);
    for (const FeatureId id : ids) {
      const uint32_t estimate = sketch.Estimate(id, period);
      REQUIRE(estimate >= exact.Of(id, period));
      above += estimate - exact.Of(id, period);
      REQUIRE(sketch.Estimate(id, period + 1) >= exact.Of(id, period + 1));
    }
  }
  if (width <= 4) CHECK(above > 0);  // Collisions do happen.
  CHECK(sketch.Estimate(ids[0], period + 9) == 0);
}

TEST_CASE("a wide sketch counts exactly") {
  const auto seed = static_cast<uint32_t>(std::random_device{}());
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  CountMinSketch sketch(16);
  ExactCounts exact;
  for (uint64_t push = 1; push <= 200; ++push) {
    const std::vector<FeatureId> ids = DistinctIds(random, push % 50, 2000);
    const auto period = static_cast<uint32_t>(push / 60);
    sketch.Count(ids, period, push);
    for (const FeatureId id : ids) exact.Count(id, period);
  }
  uint64_t differ = 0;
  for (FeatureId id = 0; id < 2000; ++id) differ += sketch.Estimate(id, 3) != exact.Of(id, 3);
  // 2,000 ids in 65,536 buckets: some 30 pairs share one, and may share all four counters.
  CHECK(differ <= 2);
}

TEST_CASE("counts stop at 255, and zero or one id is no special case") {
  CountMinSketch sketch(4);
  sketch.Count({}, 0, 1);
  CHECK(sketch.TakeChanged().empty());
  const FeatureId id = ~FeatureId{0};
  for (uint64_t push = 1; push <= 300; ++push) sketch.Count({&id, 1}, 0, push);
  CHECK(sketch.Estimate(id, 0) == 255);
  CHECK(sketch.Estimate(id, 1) == 127);
  CHECK(sketch.Estimate(id, 7) == 1);
  CHECK(sketch.Estimate(id, 8) == 0);
  CHECK(sketch.TakeChanged() == std::vector<uint32_t>{CountMinSketch::PageOf(id)});
  CHECK(sketch.TakeChanged().empty());
  sketch.MarkChanged(3);
  CHECK(sketch.TakeChanged() == std::vector<uint32_t>{3});
}

TEST_CASE("the order of a push's ids does not matter") {
  std::mt19937_64 random(5);
  CountMinSketch forward(2), backward(2);
  const std::vector<FeatureId> all = IdsOfBucket(9, 30);
  for (uint64_t push = 1; push <= 60; ++push) {
    std::vector<FeatureId> ids = all;
    std::shuffle(ids.begin(), ids.end(), random);
    ids.resize(11);
    forward.Count(ids, 0, push);
    std::reverse(ids.begin(), ids.end());
    backward.Count(ids, 0, push);
  }
  const uint32_t page = 9 / CountMinSketch::kBucketsPerPage;
  CHECK(forward.EncodePage(page) == backward.EncodePage(page));
}

TEST_CASE("pages come back as they were, and do not count again what they hold") {
  std::mt19937_64 random(6);
  std::vector<std::vector<FeatureId>> pushes;
  for (int i = 0; i < 50; ++i) pushes.push_back(DistinctIds(random, 20, 300));
  CountMinSketch live(4), loaded(4);
  for (uint64_t push = 1; push <= 50; ++push) {
    live.Count(pushes[push - 1], static_cast<uint32_t>(push / 20), push);
    if (push != 30) continue;
    // Copied at different moments, as a flush beside pushes does.
    for (const uint32_t page : live.TakeChanged()) {
      if (page % 2 == 0) REQUIRE(loaded.DecodePage(page, live.EncodePage(page)).ok());
    }
  }
  for (uint64_t push = 1; push <= 50; ++push) {
    loaded.Count(pushes[push - 1], static_cast<uint32_t>(push / 20), push);
  }
  for (uint32_t page = 0; page < CountMinSketch::kPages; ++page) {
    REQUIRE(loaded.EncodePage(page) == live.EncodePage(page));
  }
}

TEST_CASE("the page of docs/formats.md is as it says") {
  CountMinSketch sketch(4);
  const FeatureId id = 42;
  CHECK(1 + CountMinSketch::PageOf(id) == 0x02f8);
  sketch.Count({&id, 1}, 7 / 1000, 9);
  std::string page = sketch.EncodePage(CountMinSketch::PageOf(id));
  CHECK(page.substr(0, 13) == std::string("\x01\x09\0\0\0\0\0\0\0\0\0\0\0", 13));
  REQUIRE(page.size() == 13 + 64 * 4 * 4);
  for (uint64_t row = 0; row < 4; ++row) {
    const uint64_t salt = row < 2 ? 0x8f1bbcdc5a827999 : 0xca62c1d66ed9eba1;
    const uint64_t hash = MixBits(id ^ salt);
    const uint64_t half = row % 2 == 0 ? hash >> 32 : hash & 0xffffffff;
    const size_t at = 13 + (0xbdd7 % 64 * 4 + row) * 4 + static_cast<size_t>(half * 4 >> 32);
    CHECK(page[at] == 1);
    page[at] = 0;
  }
  CHECK(page.find_first_not_of('\0', 13) == std::string::npos);
}

TEST_CASE("what is not a page is refused") {
  CountMinSketch sketch(4);
  const FeatureId id = 8;
  sketch.Count({&id, 1}, 0, 1);
  const uint32_t page = CountMinSketch::PageOf(id);
  const std::string bytes = sketch.EncodePage(page);
  CountMinSketch other(4);
  CHECK(absl::IsDataLoss(other.DecodePage(page, "")));
  CHECK(absl::IsDataLoss(other.DecodePage(page, bytes.substr(1))));
  CHECK(absl::IsDataLoss(other.DecodePage(page, bytes + "x")));
  CHECK(absl::IsDataLoss(other.DecodePage(CountMinSketch::kPages, bytes)));
  CHECK(absl::IsFailedPrecondition(other.DecodePage(page, "\x02" + bytes.substr(1))));
  CHECK(other.Estimate(id, 0) == 0);
  CHECK(absl::IsDataLoss(CountMinSketch(5).DecodePage(page, bytes)));
  REQUIRE(other.DecodePage(page, bytes).ok());
  CHECK(other.Estimate(id, 0) == 1);
}

TEST_CASE("counts move with their buckets, and come back") {
  std::mt19937_64 random(7);
  CountMinSketch whole(4);
  std::vector<CountMinSketch> parts;
  for (int i = 0; i < 3; ++i) parts.emplace_back(4);
  for (uint64_t push = 1; push <= 40; ++push) {
    // Periods differ between the parts: not every part sees every push.
    const std::vector<FeatureId> ids = DistinctIds(random, 7, 500);
    const auto period = static_cast<uint32_t>(push / 10);
    whole.Count(ids, period, push);
    for (uint32_t s = 0; s < 3; ++s) {
      std::vector<FeatureId> mine;
      for (const FeatureId id : ids) {
        if (ShardOf(id, 3) == s) mine.push_back(id);
      }
      parts[s].Count(mine, period, push);
    }
  }
  CountMinSketch joined(4);
  for (const CountMinSketch& part : parts) joined.Merge(part, 0, kNumBuckets);
  CountMinSketch middle(4);
  middle.Merge(joined, 20000, 40000);
  for (FeatureId id = 0; id < 500; ++id) {
    for (const uint32_t period : {4u, 5u}) {
      REQUIRE(joined.Estimate(id, period) == whole.Estimate(id, period));
      const bool in = BucketOf(id) >= 20000 && BucketOf(id) < 40000;
      REQUIRE(middle.Estimate(id, period) == (in ? whole.Estimate(id, period) : 0));
    }
  }
}

}  // namespace
}  // namespace pagoda
