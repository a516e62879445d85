#include "worker/shard_split.h"

#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/hash.h"

namespace pagoda {

std::vector<ShardRows> SplitIds(std::span<const FeatureId> ids, uint32_t num_shards) {
  std::vector<ShardRows> shards(num_shards);
  for (ShardRows& shard : shards) {
    shard.ids.reserve(ids.size() / num_shards + ids.size() / 16 + 8);
    shard.positions.reserve(shard.ids.capacity());
  }
  for (uint32_t i = 0; i < ids.size(); ++i) {
    ShardRows& shard = shards[ShardOf(ids[i], num_shards)];
    shard.ids.push_back(ids[i]);
    shard.positions.push_back(i);
  }
  return shards;
}

WantedRows FindWanted(std::span<const uint32_t> positions, std::span<const uint32_t> wanted) {
  WantedRows found;
  size_t w = 0;
  for (size_t i = 0; i < positions.size() && w < wanted.size(); ++i) {
    while (w < wanted.size() && wanted[w] < positions[i]) ++w;
    if (w == wanted.size() || wanted[w] != positions[i]) continue;
    found.in_shard.push_back(static_cast<uint32_t>(i));
    found.in_wanted.push_back(static_cast<uint32_t>(w));
  }
  return found;
}

void GatherRows(const float* rows, std::span<const uint32_t> positions, int64_t dim, float* out) {
  const size_t row_bytes = static_cast<size_t>(dim) * sizeof(float);
  for (size_t i = 0; i < positions.size(); ++i) {
    std::memcpy(out + static_cast<int64_t>(i) * dim, rows + int64_t{positions[i]} * dim, row_bytes);
  }
}

void ScatterRows(const char* in, std::span<const uint32_t> positions, int64_t dim, float* rows) {
  ScatterBytes(in, positions, static_cast<size_t>(dim) * sizeof(float), rows);
}

void ScatterBytes(const char* in, std::span<const uint32_t> positions, size_t row_bytes,
                  void* rows) {
  char* out = static_cast<char*>(rows);
  for (size_t i = 0; i < positions.size(); ++i) {
    std::memcpy(out + positions[i] * row_bytes, in + i * row_bytes, row_bytes);
  }
}

absl::Status CheckFinite(std::span<const FeatureId> ids, const float* gradients, int64_t dim,
                         const std::string& table) {
  const int64_t count = static_cast<int64_t>(ids.size()) * dim;
  // x * 0 is 0 for a finite x and NaN for any other: one pass without a branch,
  // in eight chains so that it runs at the speed of memory.
  float zero[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int lane = 0; lane < 8; ++lane) zero[lane] += gradients[i + lane] * 0.0f;
  }
  for (; i < count; ++i) zero[0] += gradients[i] * 0.0f;
  float sum = 0;
  for (const float lane : zero) sum += lane;
  if (sum == 0) return absl::OkStatus();
  int64_t bad = 0;
  while (std::isfinite(gradients[bad])) ++bad;
  return absl::InvalidArgumentError(absl::StrCat("table '", table, "': the gradient of id ",
                                                 ids[static_cast<size_t>(bad / dim)],
                                                 " is not finite"));
}

}  // namespace pagoda
