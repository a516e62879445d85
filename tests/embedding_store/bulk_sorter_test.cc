#include "embedding_store/bulk_sorter.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <vector>

#include "base/hash.h"
#include "base/thread_pool.h"
#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

BulkSorter::Options OptionsIn(const ScratchDirectory& scratch, size_t row_floats, int64_t memory) {
  BulkSorter::Options options;
  options.file_system = FileSystem::Real();
  options.directory = scratch.path();
  options.row_floats = row_floats;
  options.memory_bytes = memory;
  return options;
}

void RunAlone(size_t count, const std::function<void(size_t)>& body) {
  for (size_t i = 0; i < count; ++i) body(i);
}

TEST_CASE("rows come out once each, by bucket and id, with their values") {
  const uint32_t seed = GENERATE(1u, 2u);
  const size_t count = GENERATE(size_t{0}, size_t{1}, size_t{7}, size_t{5000});
  const size_t width = GENERATE(size_t{1}, size_t{5});
  const int64_t memory = GENERATE(int64_t{1}, int64_t{5000}, int64_t{1} << 20);
  if (memory == 1 && count > 7) return;  // A file call a row.
  CAPTURE(seed, count, width, memory);
  ScratchDirectory scratch;
  std::mt19937_64 random(seed);
  std::map<FeatureId, float> expected;
  {
    BulkSorter sorter(OptionsIn(scratch, width, memory));
    for (size_t i = 0; i < count; ++i) {
      const FeatureId id = i == 3 ? 0 : i == 4 ? ~uint64_t{0} : random();
      if (!expected.emplace(id, static_cast<float>(i)).second) continue;
      auto floats = sorter.Add(id);
      REQUIRE(floats.ok());
      for (size_t c = 0; c < width; ++c) (*floats)[c] = static_cast<float>(i + c);
    }
    CHECK(sorter.rows() == expected.size());
    ThreadPool pool(3);
    const auto run = [&](size_t parts, const std::function<void(size_t)>& body) {
      pool.ParallelFor(static_cast<int64_t>(parts),
                       [&](int64_t i) { body(static_cast<size_t>(i)); });
    };
    std::vector<FeatureId> order;
    const absl::Status sorted = sorter.Sort(run, [&](FeatureId id, const float* floats) {
      order.push_back(id);
      for (size_t c = 0; c < width; ++c) {
        if (floats[c] != expected.at(id) + static_cast<float>(c)) {
          return absl::InternalError("another row's values");
        }
      }
      return absl::OkStatus();
    });
    REQUIRE(sorted.ok());
    REQUIRE(order.size() == expected.size());
    for (size_t i = 1; i < order.size(); ++i) {
      const auto before = std::pair(BucketOf(order[i - 1]), order[i - 1]);
      REQUIRE(before < std::pair(BucketOf(order[i]), order[i]));
    }
  }
  CHECK(FileSystem::Real()->List(scratch.path())->empty());
}

TEST_CASE("equal ids follow one another") {
  ScratchDirectory scratch;
  const int64_t memory = GENERATE(int64_t{200}, int64_t{1} << 20);
  BulkSorter sorter(OptionsIn(scratch, 1, memory));
  for (int i = 0; i < 100; ++i) **sorter.Add(static_cast<FeatureId>(i % 10)) = 1.0f;
  std::vector<FeatureId> order;
  REQUIRE(sorter
              .Sort(RunAlone,
                    [&](FeatureId id, const float*) {
                      order.push_back(id);
                      return absl::OkStatus();
                    })
              .ok());
  REQUIRE(order.size() == 100);
  for (size_t i = 0; i < order.size(); ++i) CHECK(order[i] == order[i / 10 * 10]);
}

TEST_CASE("what the visitor or the disk says ends a sort") {
  ScratchDirectory scratch;
  BulkSorter visited(OptionsIn(scratch, 1, 1 << 20));
  for (FeatureId id = 0; id < 10; ++id) **visited.Add(id) = 0.0f;
  int visits = 0;
  const absl::Status stopped = visited.Sort(RunAlone, [&](FeatureId, const float*) {
    return ++visits == 3 ? absl::AbortedError("enough") : absl::OkStatus();
  });
  CHECK(stopped.message() == "enough");
  CHECK(visits == 3);

  FaultyFileSystem full;
  full.SetSpace(3000);
  BulkSorter::Options options = OptionsIn(scratch, 1, 800);
  options.file_system = &full;
  BulkSorter sorter(options);
  absl::Status status;
  for (FeatureId id = 0; id < 1000 && status.ok(); ++id) status = sorter.Add(id).status();
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
}

TEST_CASE("a file that lost its end is noticed") {
  ScratchDirectory scratch;
  BulkSorter sorter(OptionsIn(scratch, 1, 800));
  for (FeatureId id = 0; id < 1000; ++id) **sorter.Add(id) = 0.0f;
  const auto file = FileSystem::Real()->OpenAppend(scratch / "load-17");
  REQUIRE(file.ok());
  REQUIRE((*file)->Truncate(5).ok());
  const absl::Status status =
      sorter.Sort(RunAlone, [](FeatureId, const float*) { return absl::OkStatus(); });
  CHECK(status.code() == absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace pagoda
