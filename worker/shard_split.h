// Splits a batch's rows over the parameter servers by ShardOf (base/hash.h) and
// brings the answers back to their places.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/ids.h"

namespace pagoda {

// The part of one table's rows that one shard owns, in the batch's order.
struct ShardRows {
  std::vector<FeatureId> ids;
  std::vector<uint32_t> positions;  // In the batch; same index as `ids`.
};

// One entry per shard. REQUIRES: num_shards >= 1; fewer than 2^32 ids.
std::vector<ShardRows> SplitIds(std::span<const FeatureId> ids, uint32_t num_shards);

// Of the batch's rows at `wanted` (ascending) those that a shard owns: where they are in
// the shard's part, and in `wanted`.
struct WantedRows {
  std::vector<uint32_t> in_shard;
  std::vector<uint32_t> in_wanted;
};
WantedRows FindWanted(std::span<const uint32_t> positions, std::span<const uint32_t> wanted);

// out[i] = rows[positions[i]] for rows of `dim` floats.
void GatherRows(const float* rows, std::span<const uint32_t> positions, int64_t dim, float* out);

// rows[positions[i]] = in[i]; `in` need not be aligned.
void ScatterRows(const char* in, std::span<const uint32_t> positions, int64_t dim, float* rows);

// The same for rows of any kind, `row_bytes` each.
void ScatterBytes(const char* in, std::span<const uint32_t> positions, size_t row_bytes,
                  void* rows);

// INVALID_ARGUMENT, naming table and id, when a gradient is not finite. Checked by
// the client before any server gets its part, so that no server applies a step
// which another refuses.
absl::Status CheckFinite(std::span<const FeatureId> ids, const float* gradients, int64_t dim,
                         const std::string& table);

}  // namespace pagoda
