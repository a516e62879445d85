// Which rows leave a table for good. An evicted row reads as its seeded initial value
// again, and a later push starts from there.
//
// A row goes when any criterion that is set says so; then, when rows_max is set, the
// rows that were pushed to longest ago, until at most so many are left (rows of one
// step go together, so it may be fewer).
#pragma once

#include <cmath>
#include <cstdint>

#include "absl/status/status.h"
#include "base/ids.h"

namespace pagoda {

struct EvictionRule {
  Step now = 0;              // The step that ages are counted from.
  int64_t unused_steps = 0;  // Not pushed to for more than so many steps. 0: any age stays.
  uint32_t updates_min = 0;  // Pushed to fewer times. 0: off.
  float norm_min = 0.0f;     // L2 norm of the weights below. 0: off.
  int64_t rows_max = 0;      // 0: no limit.

  bool sets_anything() const {
    return unused_steps > 0 || updates_min > 0 || norm_min > 0.0f || rows_max > 0;
  }
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

// Whether a criterion but rows_max sends the row away. A NaN norm stays.
inline bool RuleEvicts(const EvictionRule& rule, const RowFacts& row) {
  if (rule.unused_steps > 0 && rule.now - row.last_step > rule.unused_steps) return true;
  if (rule.updates_min > 0 && row.updates < rule.updates_min) return true;
  return rule.norm_min > 0.0f && std::sqrt(row.squared_norm) < static_cast<double>(rule.norm_min);
}

//   INVALID_ARGUMENT  no criterion is set, or one is negative or not finite
absl::Status CheckEvictionRule(const EvictionRule& rule);

}  // namespace pagoda
