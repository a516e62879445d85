#include "server/gradient_merge.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/hash.h"

namespace pagoda {
namespace {

// Parts of the id space: enough to keep a few threads busy, few enough that a part
// of a typical push (1e5 rows) still amortises its own small hash table. Fixed, so
// that the grouping never depends on the machine.
constexpr int kParts = 64;
constexpr uint32_t kEmpty = ~uint32_t{0};

// Middle bits of the hash: a shard owns a range of the top bits, so those are skewed.
int PartOf(uint64_t hash) {
  return static_cast<int>((hash >> 24) % kParts);
}

// One contribution's row positions, grouped by part (counting sort).
struct Grouped {
  std::array<uint32_t, kParts + 1> begin{};
  std::vector<uint32_t> position;  // Of the row in the contribution.
  std::vector<uint32_t> target;    // Row in the part's result; same index as `position`.
};

Grouped GroupByPart(const GradientRows& rows) {
  Grouped grouped;
  for (const FeatureId id : rows.ids) ++grouped.begin[PartOf(MixBits(id)) + 1];
  for (int part = 0; part < kParts; ++part) grouped.begin[part + 1] += grouped.begin[part];
  std::array<uint32_t, kParts> next{};
  std::copy_n(grouped.begin.begin(), kParts, next.begin());
  grouped.position.resize(rows.ids.size());
  grouped.target.resize(rows.ids.size());
  for (uint32_t i = 0; i < rows.ids.size(); ++i) {
    grouped.position[next[PartOf(MixBits(rows.ids[i]))]++] = i;
  }
  return grouped;
}

// Gives every id of the part its row in the part's result; returns the distinct ids.
std::vector<FeatureId> AssignTargets(std::span<const GradientRows> contributions,
                                     std::vector<Grouped>& grouped, int part) {
  size_t total = 0;
  for (const Grouped& g : grouped) total += g.begin[part + 1] - g.begin[part];
  std::vector<FeatureId> ids;
  if (total == 0) return ids;
  ids.reserve(total);
  const size_t capacity = std::bit_ceil(2 * total);
  std::vector<uint32_t> slots(capacity, kEmpty);
  for (size_t c = 0; c < contributions.size(); ++c) {
    Grouped& g = grouped[c];
    for (uint32_t k = g.begin[part]; k < g.begin[part + 1]; ++k) {
      const FeatureId id = contributions[c].ids[g.position[k]];
      size_t slot = MixBits(id) & (capacity - 1);
      while (slots[slot] != kEmpty && ids[slots[slot]] != id) slot = (slot + 1) & (capacity - 1);
      if (slots[slot] == kEmpty) {
        slots[slot] = static_cast<uint32_t>(ids.size());
        ids.push_back(id);
      }
      g.target[k] = slots[slot];
    }
  }
  return ids;
}

// Writes the sums of the part's rows to `sums` [rows, dim].
void SumPart(std::span<const GradientRows> contributions, const std::vector<Grouped>& grouped,
             int part, int64_t rows, int64_t dim, float* sums) {
  std::vector<bool> written(static_cast<size_t>(rows), false);
  for (size_t c = 0; c < contributions.size(); ++c) {
    const Grouped& g = grouped[c];
    const float* gradients = contributions[c].gradients.data();
    for (uint32_t k = g.begin[part]; k < g.begin[part + 1]; ++k) {
      const float* from = gradients + int64_t{g.position[k]} * dim;
      float* to = sums + int64_t{g.target[k]} * dim;
      if (!written[g.target[k]]) {
        written[g.target[k]] = true;
        std::memcpy(to, from, static_cast<size_t>(dim) * sizeof(float));
      } else {
        for (int64_t column = 0; column < dim; ++column) to[column] += from[column];
      }
    }
  }
}

}  // namespace

MergedGradients MergeGradients(std::span<const GradientRows> contributions, int64_t dim,
                               ThreadPool* pool) {
  std::vector<Grouped> grouped(contributions.size());
  pool->ParallelFor(static_cast<int64_t>(contributions.size()),
                    [&](int64_t c) { grouped[c] = GroupByPart(contributions[c]); });
  std::array<std::vector<FeatureId>, kParts> ids;
  pool->ParallelFor(kParts, [&](int64_t part) {
    ids[part] = AssignTargets(contributions, grouped, static_cast<int>(part));
  });
  std::array<size_t, kParts + 1> begin{};
  for (int part = 0; part < kParts; ++part) begin[part + 1] = begin[part] + ids[part].size();
  MergedGradients merged;
  merged.ids.resize(begin[kParts]);
  merged.gradients.resize(begin[kParts] * static_cast<size_t>(dim));
  pool->ParallelFor(kParts, [&](int64_t part) {
    std::copy(ids[part].begin(), ids[part].end(), merged.ids.begin() + begin[part]);
    SumPart(contributions, grouped, static_cast<int>(part), static_cast<int64_t>(ids[part].size()),
            dim, merged.gradients.data() + begin[part] * static_cast<size_t>(dim));
  });
  return merged;
}

}  // namespace pagoda
