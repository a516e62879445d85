// A table's own course of its learning rate, applied by the server from the step of each
// push: a factor beside the job's (worker), which multiplies it. The product is logged
// with each push, so a schedule may change between runs.
//
//    warm-up * curve, at least min_factor once the warm-up is over
//    warm-up        min(1, step / warmup_steps)
//    constant       1
//    cosine         min + (1 - min) (1 + cos(pi p)) / 2,
//                   p = (step - warmup_steps) / (total_steps - warmup_steps) in [0, 1]
//    inverse_sqrt   sqrt(max(1, warmup_steps) / step) after the warm-up
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/ids.h"

namespace pagoda {

enum class RateScheduleKind : uint8_t { kConstant = 0, kCosine = 1, kInverseSqrt = 2 };

struct RateSchedule {
  RateScheduleKind kind = RateScheduleKind::kConstant;
  int64_t warmup_steps = 0;
  int64_t total_steps = 0;  // cosine: where min_factor is reached.
  float min_factor = 0.0f;

  bool operator==(const RateSchedule&) const = default;
};

//   INVALID_ARGUMENT  unknown (names the known ones)
absl::StatusOr<RateScheduleKind> ParseRateSchedule(const std::string& name);
const char* RateScheduleName(RateScheduleKind kind);

//   INVALID_ARGUMENT  a member is out of its range (names member and range)
absl::Status CheckRateSchedule(const RateSchedule& schedule);

// `step` counts from 1.
float RateFactor(const RateSchedule& schedule, Step step);

}  // namespace pagoda
