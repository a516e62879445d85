// The items that negatives are drawn from, and the probability of each.
//
// Threads: immutable.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/ids.h"
#include "base/random.h"

namespace pagoda {

class ItemCatalogue {
 public:
  // Draws ids[i] with a probability in proportion to weights[i]; without weights, all
  // alike. Probabilities are multiples of 2^-64: a weight below 2^-53 of their sum may
  // never be drawn.
  //   INVALID_ARGUMENT  no ids, an id twice (named), not one weight per id, or a weight
  //                     that is not finite and > 0 (its id is named)
  static absl::StatusOr<ItemCatalogue> Create(std::vector<FeatureId> ids,
                                              const std::vector<double>& weights = {});

  int64_t size() const { return static_cast<int64_t>(ids_.size()); }
  const std::vector<FeatureId>& ids() const { return ids_; }

  // Draw number `counter` of stream `key`.
  FeatureId Draw(RandomKey key, uint64_t counter) const;
  // log of the probability that one draw gives `id`; -infinity when it never does.
  float LogQ(FeatureId id) const;
  bool Contains(FeatureId id) const { return places_.contains(id); }

 private:
  ItemCatalogue() = default;
  size_t PlaceOf(RandomKey key, uint64_t counter) const;

  std::vector<FeatureId> ids_;
  absl::flat_hash_map<FeatureId, int64_t> places_;
  // Item i is drawn by 64 random bits in [ends_[i - 1], ends_[i]); the last end, 2^64, is
  // not there. Empty: uniform.
  std::vector<uint64_t> ends_;
  std::vector<float> log_q_;  // Of the probability drawn with; empty: uniform.
};

}  // namespace pagoda
