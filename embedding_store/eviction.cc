#include "embedding_store/eviction.h"

#include <algorithm>
#include <bit>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr const char* kOrderNames[] = {"oldest", "least_frequent", "lowest_score", "smallest"};
constexpr int kStepBits = 16;

absl::Status Bad(const char* member, double value) {
  return absl::InvalidArgumentError(
      absl::StrCat("eviction: ", member, " is ", value, ", but must be finite and >= 0"));
}

// Rises with x >= 0; exponent and eight bits of the mantissa. NaN is last.
uint32_t RankOfNumber(double x) {
  if (std::isnan(x)) return 0xffff;
  const auto number = static_cast<float>(x);
  return number > 0.0f ? std::bit_cast<uint32_t>(number) >> 15 : 0;
}

absl::Status CheckMembers(const EvictionRule& rule) {
  if (rule.now < 0) return Bad("now", static_cast<double>(rule.now));
  if (rule.unused_steps < 0) return Bad("unused_steps", static_cast<double>(rule.unused_steps));
  if (rule.rows_max < 0) return Bad("rows_max", static_cast<double>(rule.rows_max));
  if (!(std::isfinite(rule.norm_min) && rule.norm_min >= 0.0f)) {
    return Bad("norm_min", static_cast<double>(rule.norm_min));
  }
  if (!(std::isfinite(rule.score_min) && rule.score_min >= 0.0)) {
    return Bad("score_min", rule.score_min);
  }
  if (rule.score_half_life < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "eviction: score_half_life is ", rule.score_half_life, ", but must be at least 1"));
  }
  if (static_cast<size_t>(rule.order) >= std::size(kOrderNames)) {
    return absl::InvalidArgumentError(
        absl::StrCat("eviction: there is no order ", static_cast<int>(rule.order)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<EvictionOrder> ParseEvictionOrder(const std::string& name) {
  for (size_t i = 0; i < std::size(kOrderNames); ++i) {
    if (name == kOrderNames[i]) return static_cast<EvictionOrder>(i);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown order of eviction \"", name,
                   "\"; known: oldest, least_frequent, lowest_score, smallest"));
}

const char* EvictionOrderName(EvictionOrder order) {
  const auto i = static_cast<size_t>(order);
  return i < std::size(kOrderNames) ? kOrderNames[i] : "unknown";
}

uint32_t EvictionRank(const EvictionRule& rule, const RowFacts& row) {
  switch (rule.order) {
    case EvictionOrder::kOldest: {
      const auto newest = static_cast<uint64_t>(std::max<Step>(rule.now, 0));
      const int shift = std::max(0, static_cast<int>(std::bit_width(newest)) - kStepBits);
      return static_cast<uint32_t>(static_cast<uint64_t>(row.last_step) >> shift);
    }
    // Exact up to 65,535 pushes.
    case EvictionOrder::kLeastFrequent: return std::min<uint32_t>(row.updates, 0xffff);
    case EvictionOrder::kLowestScore: return RankOfNumber(ScoreOf(rule, row));
    case EvictionOrder::kSmallest: return RankOfNumber(std::sqrt(row.squared_norm));
  }
  return 0;
}

uint32_t EvictionTie(FeatureId id) {
  constexpr uint64_t kSalt = 0x5851f42d4c957f2d;  // Buckets and shards hash ids, too.
  return static_cast<uint32_t>(MixBits(id ^ kSalt) >> 48);
}

absl::Status CheckEvictionRule(const EvictionRule& rule) {
  PAGODA_RETURN_IF_ERROR(CheckMembers(rule));
  if (rule.sets_anything()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "eviction: no criterion is set: unused_steps, updates_min, norm_min, score_min or rows_max");
}

absl::Status CheckEvictionPolicy(const EvictionPolicy& policy) {
  PAGODA_RETURN_IF_ERROR(CheckMembers(policy.rule));
  if (policy.every_steps < 0) return Bad("every_steps", static_cast<double>(policy.every_steps));
  if (policy.every_seconds < 0) {
    return Bad("every_seconds", static_cast<double>(policy.every_seconds));
  }
  if (policy.bytes_disk_max < 0) {
    return Bad("bytes_disk_max", static_cast<double>(policy.bytes_disk_max));
  }
  if (policy.rule.has_criteria() && !policy.triggers()) {
    return absl::InvalidArgumentError(
        "eviction: there are criteria, but nothing makes the store look: set every_steps, "
        "every_seconds, rows_max or a limit of bytes on disk");
  }
  const bool timed = policy.every_steps > 0 || policy.every_seconds > 0;
  if (timed && !policy.rule.has_criteria() && policy.rule.rows_max == 0 &&
      policy.bytes_disk_max == 0) {
    return absl::InvalidArgumentError(
        "eviction: every_steps or every_seconds is set, but no criterion for what to evict");
  }
  return absl::OkStatus();
}

}  // namespace pagoda
