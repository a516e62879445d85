#include "worker/shard_split.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <limits>

#include "base/hash.h"
#include "base/random.h"

namespace pagoda {
namespace {

std::vector<FeatureId> RandomIds(size_t count) {
  std::vector<FeatureId> ids;
  for (size_t i = 0; i < count; ++i) ids.push_back(RandomBits(RandomKey{3}, i));
  return ids;
}

TEST_CASE("wanted rows are found in each shard, and each once") {
  const std::vector<FeatureId> ids = RandomIds(1001);
  std::vector<uint32_t> wanted;
  for (uint32_t i = 3; i < 1001; i += 7) wanted.push_back(i);
  for (const uint32_t shards : {1u, 3u}) {
    std::vector<int> seen(wanted.size());
    for (const ShardRows& rows : SplitIds(ids, shards)) {
      const WantedRows found = FindWanted(rows.positions, wanted);
      REQUIRE(found.in_shard.size() == found.in_wanted.size());
      for (size_t i = 0; i < found.in_shard.size(); ++i) {
        CHECK(rows.positions[found.in_shard[i]] == wanted[found.in_wanted[i]]);
        ++seen[found.in_wanted[i]];
      }
    }
    CHECK(seen == std::vector<int>(wanted.size(), 1));
  }
  CHECK(FindWanted({}, wanted).in_shard.empty());
  CHECK(FindWanted(std::vector<uint32_t>{1, 2}, {}).in_shard.empty());
}

TEST_CASE("every id goes to its owner, once, in the batch's order") {
  for (const size_t count : {0u, 1u, 2u, 1001u}) {
    for (const uint32_t shards : {1u, 2u, 3u, 7u}) {
      CAPTURE(count, shards);
      const std::vector<FeatureId> ids = RandomIds(count);
      const std::vector<ShardRows> split = SplitIds(ids, shards);
      REQUIRE(split.size() == shards);
      std::vector<int> seen(count);
      for (uint32_t shard = 0; shard < shards; ++shard) {
        REQUIRE(split[shard].ids.size() == split[shard].positions.size());
        for (size_t i = 0; i < split[shard].ids.size(); ++i) {
          const uint32_t position = split[shard].positions[i];
          CHECK(ids[position] == split[shard].ids[i]);
          CHECK(ShardOf(ids[position], shards) == shard);
          CHECK((i == 0 || split[shard].positions[i - 1] < position));
          ++seen[position];
        }
      }
      for (const int times : seen) CHECK(times == 1);
    }
  }
}

TEST_CASE("what is gathered and scattered again is what it was") {
  for (const int64_t dim : {1, 3, 16}) {
    const std::vector<FeatureId> ids = RandomIds(501);
    std::vector<float> rows;
    for (size_t i = 0; i < ids.size() * static_cast<size_t>(dim); ++i) {
      rows.push_back(static_cast<float>(i));
    }
    std::vector<float> back(rows.size(), -1.0f);
    for (const ShardRows& shard : SplitIds(ids, 4)) {
      // One byte off, as in the middle of a message.
      std::vector<char> bytes(shard.ids.size() * static_cast<size_t>(dim) * sizeof(float) + 1);
      std::vector<float> part(shard.ids.size() * static_cast<size_t>(dim));
      GatherRows(rows.data(), shard.positions, dim, part.data());
      std::memcpy(bytes.data() + 1, part.data(), bytes.size() - 1);
      ScatterRows(bytes.data() + 1, shard.positions, dim, back.data());
    }
    CHECK(back == rows);
  }
}

TEST_CASE("a gradient that is not finite is found wherever it stands, and named") {
  const std::vector<FeatureId> ids = {10, 20, 30, 40, 50};
  const int64_t dim = 5;
  std::vector<float> gradients(25, 1.0f);
  gradients[0] = std::numeric_limits<float>::max();
  gradients[1] = std::numeric_limits<float>::denorm_min();
  CHECK(CheckFinite(ids, gradients.data(), dim, "user").ok());
  CHECK(CheckFinite({}, nullptr, dim, "user").ok());
  for (size_t bad = 0; bad < gradients.size(); ++bad) {
    for (const float value :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
      std::vector<float> spoiled = gradients;
      spoiled[bad] = value;
      const absl::Status status = CheckFinite(ids, spoiled.data(), dim, "user");
      CHECK(status.code() == absl::StatusCode::kInvalidArgument);
      CHECK(std::string(status.message()) ==
            "table 'user': the gradient of id " + std::to_string(ids[bad / 5]) + " is not finite");
    }
  }
}

}  // namespace
}  // namespace pagoda
