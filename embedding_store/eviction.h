// Which rows leave a table for good, and when. An evicted row reads as its seeded initial
// value again, and a later push starts from there.
//
// A row goes when any criterion that is set says so; then, when rows_max is set, the
// rows that are first by `order`, until at most so many are left. Among rows that are equal
// in it (of one step, beyond 65,536 steps of one 65,536th of them; of one number of pushes;
// with scores or norms within 0.4 %) a hash of the id decides.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/ids.h"

namespace pagoda {

// Which rows rows_max sends away first.
enum class EvictionOrder : uint8_t {
  kOldest = 0,         // Pushed to longest ago.
  kLeastFrequent = 1,  // Fewest pushes.
  kLowestScore = 2,
  kSmallest = 3,  // L2 norm of the weights.
};

//   INVALID_ARGUMENT  unknown (names the known ones)
absl::StatusOr<EvictionOrder> ParseEvictionOrder(const std::string& name);
// "oldest", "least_frequent", "lowest_score" or "smallest".
const char* EvictionOrderName(EvictionOrder order);

struct EvictionRule {
  Step now = 0;              // The step that ages are counted from; 0: the table's newest.
  int64_t unused_steps = 0;  // Not pushed to for more than so many steps. 0: any age stays.
  uint32_t updates_min = 0;  // Pushed to fewer times. 0: off.
  float norm_min = 0.0f;     // L2 norm of the weights below. 0: off.
  int64_t rows_max = 0;      // 0: no limit.
  // A row's score: its pushes, halved for every score_half_life steps without one.
  double score_min = 0.0;           // Score below. 0: off.
  int64_t score_half_life = 10000;  // Steps; >= 1.
  EvictionOrder order = EvictionOrder::kOldest;

  bool has_criteria() const {
    return unused_steps > 0 || updates_min > 0 || norm_min > 0.0f || score_min > 0.0;
  }
  bool sets_anything() const { return has_criteria() || rows_max > 0; }
  friend bool operator==(const EvictionRule&, const EvictionRule&) = default;
};

// When a store evicts by itself, in the background (shard_store_triggers.cc). May change
// between runs. Each limit is one store's.
struct EvictionPolicy {
  EvictionRule rule;           // Without `now`.
  int64_t every_steps = 0;     // At each multiple of so many steps. 0: never.
  int64_t every_seconds = 0;   // 0: never.
  int64_t bytes_disk_max = 0;  // Of the table's rows as stored, key and value. 0: no limit.

  bool triggers() const {
    return every_steps > 0 || every_seconds > 0 || rule.rows_max > 0 || bytes_disk_max > 0;
  }
  friend bool operator==(const EvictionPolicy&, const EvictionPolicy&) = default;
};

struct EvictionResult {
  uint64_t rows_before = 0;
  uint64_t evicted = 0;
};

// What the criteria look at.
struct RowFacts {
  Step last_step = 0;
  uint32_t updates = 0;
  double squared_norm = 0.0;
};

inline double ScoreOf(const EvictionRule& rule, const RowFacts& row) {
  const auto age = static_cast<double>(rule.now > row.last_step ? rule.now - row.last_step : 0);
  return row.updates * std::exp2(-age / static_cast<double>(rule.score_half_life));
}

// Whether a criterion but rows_max sends the row away. A NaN norm stays.
//   REQUIRES: rule.now is set, where ages count.
inline bool RuleEvicts(const EvictionRule& rule, const RowFacts& row) {
  if (rule.unused_steps > 0 && rule.now - row.last_step > rule.unused_steps) return true;
  if (rule.updates_min > 0 && row.updates < rule.updates_min) return true;
  if (rule.score_min > 0.0 && ScoreOf(rule, row) < rule.score_min) return true;
  return rule.norm_min > 0.0f && std::sqrt(row.squared_norm) < static_cast<double>(rule.norm_min);
}

// The row's place in rule.order: lower goes first. Few values, so that they can be counted.
uint32_t EvictionRank(const EvictionRule& rule, const RowFacts& row);
// Its place among rows of one rank, by a hash of the id.
inline constexpr size_t kEvictionTies = 65536;
uint32_t EvictionTie(FeatureId id);

// A rule made definite for the rows that a table has.
struct EvictionPlan {
  EvictionRule rule;    // With `now`.
  EvictionRule ranked;  // The same, with the newest step of all rows.
  int64_t below = 0;    // For rows_max: rows of ranks below go, and of this rank those
  uint32_t ties = 0;    // with ties below.

  bool Takes(FeatureId id, const RowFacts& row) const {
    if (RuleEvicts(rule, row)) return true;
    if (rule.rows_max == 0) return false;
    const int64_t rank = EvictionRank(ranked, row);
    return rank < below || (rank == below && EvictionTie(id) < ties);
  }
};

//   INVALID_ARGUMENT  no criterion is set, or one is negative or not finite
absl::Status CheckEvictionRule(const EvictionRule& rule);
//   INVALID_ARGUMENT  likewise; or there are criteria, but nothing that triggers them
absl::Status CheckEvictionPolicy(const EvictionPolicy& policy);

}  // namespace pagoda
