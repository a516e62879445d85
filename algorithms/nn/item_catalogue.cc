#include "algorithms/nn/item_catalogue.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr double kTwo64 = 18446744073709551616.0;

absl::Status CheckWeights(const std::vector<FeatureId>& ids, const std::vector<double>& weights) {
  if (weights.empty()) return absl::OkStatus();
  if (weights.size() != ids.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(weights.size(), " weights were given for ", ids.size(), " items"));
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (std::isfinite(weights[i]) && weights[i] > 0.0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the weight of item ", ids[i], " is ", weights[i], "; it must be above 0"));
  }
  return absl::OkStatus();
}

// Where each item's share of the 2^64 values ends, but for the last, in exact integers
// from sums in item order.
std::vector<uint64_t> EndsOf(const std::vector<double>& weights) {
  double total = 0.0;
  for (const double weight : weights) total += weight;
  std::vector<uint64_t> ends;
  double sum = 0.0;
  for (size_t i = 0; i + 1 < weights.size(); ++i) {
    sum += weights[i];
    const double end = std::min(sum / total, 1.0) * kTwo64;
    ends.push_back(end >= kTwo64 ? std::numeric_limits<uint64_t>::max()
                                 : static_cast<uint64_t>(end));
  }
  return ends;
}

}  // namespace

absl::StatusOr<ItemCatalogue> ItemCatalogue::Create(std::vector<FeatureId> ids,
                                                    const std::vector<double>& weights) {
  if (ids.empty()) return absl::InvalidArgumentError("a catalogue without items");
  PAGODA_RETURN_IF_ERROR(CheckWeights(ids, weights));
  ItemCatalogue catalogue;
  catalogue.ids_ = std::move(ids);
  catalogue.places_.reserve(catalogue.ids_.size());
  for (size_t i = 0; i < catalogue.ids_.size(); ++i) {
    if (catalogue.places_.emplace(catalogue.ids_[i], static_cast<int64_t>(i)).second) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("item ", catalogue.ids_[i], " is in the catalogue twice"));
  }
  if (weights.empty()) return catalogue;
  catalogue.ends_ = EndsOf(weights);
  uint64_t begin = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const bool last = i + 1 == weights.size();
    // 2^64 - begin wraps to the right count, but for 0, where the item has all of it.
    const uint64_t count = (last ? 0 : catalogue.ends_[i]) - begin;
    const double share = last && begin == 0 ? 1.0 : static_cast<double>(count) / kTwo64;
    catalogue.log_q_.push_back(static_cast<float>(std::log(share)));
    if (!last) begin = catalogue.ends_[i];
  }
  return catalogue;
}

size_t ItemCatalogue::PlaceOf(RandomKey key, uint64_t counter) const {
  if (log_q_.empty()) return static_cast<size_t>(RandomBelow(key, counter, ids_.size()));
  const uint64_t bits = RandomBits(key, counter);
  return static_cast<size_t>(std::upper_bound(ends_.begin(), ends_.end(), bits) - ends_.begin());
}

FeatureId ItemCatalogue::Draw(RandomKey key, uint64_t counter) const {
  return ids_[PlaceOf(key, counter)];
}

float ItemCatalogue::LogQ(FeatureId id) const {
  const auto place = places_.find(id);
  if (place == places_.end()) return -std::numeric_limits<float>::infinity();
  if (!log_q_.empty()) return log_q_[static_cast<size_t>(place->second)];
  return static_cast<float>(-std::log(static_cast<double>(ids_.size())));
}

}  // namespace pagoda
