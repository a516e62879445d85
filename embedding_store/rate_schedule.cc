#include "embedding_store/rate_schedule.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace pagoda {
namespace {

constexpr const char* kNames[] = {"constant", "cosine", "inverse_sqrt"};
constexpr double kPi = 3.14159265358979323846;

}  // namespace

absl::StatusOr<RateScheduleKind> ParseRateSchedule(const std::string& name) {
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (name == kNames[i]) return static_cast<RateScheduleKind>(i);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown schedule \"", name, "\"; known: ", absl::StrJoin(kNames, ", ")));
}

const char* RateScheduleName(RateScheduleKind kind) {
  const auto i = static_cast<size_t>(kind);
  return i < std::size(kNames) ? kNames[i] : "unknown";
}

absl::Status CheckRateSchedule(const RateSchedule& s) {
  if (s.warmup_steps < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("warmup_steps is ", s.warmup_steps, ", but must be >= 0"));
  }
  if (!(s.min_factor >= 0.0f && s.min_factor <= 1.0f)) {
    return absl::InvalidArgumentError(
        absl::StrCat("min_factor is ", s.min_factor, ", but must be in [0, 1]"));
  }
  if (s.kind == RateScheduleKind::kCosine && s.total_steps <= s.warmup_steps) {
    return absl::InvalidArgumentError(absl::StrCat(
        "total_steps is ", s.total_steps, ", but must be above warmup_steps = ", s.warmup_steps,
        " with the cosine schedule"));
  }
  return absl::OkStatus();
}

float RateFactor(const RateSchedule& s, Step step) {
  const auto at = static_cast<double>(step);
  const auto warmup = static_cast<double>(s.warmup_steps);
  if (step < s.warmup_steps) return static_cast<float>(at / warmup);
  if (s.kind == RateScheduleKind::kConstant) return 1.0f;
  const double least = s.min_factor;
  if (s.kind == RateScheduleKind::kInverseSqrt) {
    return static_cast<float>(
        std::max(least, std::sqrt(std::max(1.0, warmup) / std::max(1.0, at))));
  }
  const double p = std::min(1.0, (at - warmup) / (static_cast<double>(s.total_steps) - warmup));
  return static_cast<float>(least + (1.0 - least) * 0.5 * (1.0 + std::cos(kPi * p)));
}

}  // namespace pagoda
