#include "algorithms/msnet/auxiliary_pairs.h"

#include <algorithm>
#include <unordered_map>

namespace pagoda {
namespace {

// From its random start a draw looks at so many events of the pool, one after another, before it
// gives up: a pool that one user fills must not cost its square.
constexpr size_t kProbesMax = 64;

class Planner {
 public:
  Planner(const AuxiliaryInput& input, const AuxiliarySettings& settings)
      : input_(input), settings_(settings) {
    const nn::EventStream& limited = *input.limited;
    sample_of_.resize(limited.rows.size());
    for (size_t i = 0; i + 1 < limited.offsets.size(); ++i) {
      for (int32_t r = limited.offsets[i]; r < limited.offsets[i + 1]; ++r) {
        sample_of_[static_cast<size_t>(r)] = static_cast<int32_t>(i);
        all_.push_back(r);
        by_category_[Of(*input.categories, r)].push_back(r);
      }
    }
  }

  AuxiliaryPairs Draw() {
    for (size_t i = 0; i + 1 < input_.limited->offsets.size(); ++i) {
      const RandomKey key = settings_.key.Derive(input_.first_sample + i);
      uint64_t counter = 0;
      for (const int32_t term : DrawTerms(i, key, &counter)) {
        AddEarlier(i, term);
        AddComparisons(term, key, &counter);
      }
    }
    return std::move(pairs_);
  }

 private:
  // A column's value of an event of the limited stream.
  FeatureId Of(const std::vector<FeatureId>& column, int32_t place) const {
    return column[static_cast<size_t>(input_.limited->rows[static_cast<size_t>(place)])];
  }
  FeatureId UserOf(int32_t place) const {
    return input_.users[static_cast<size_t>(sample_of_[static_cast<size_t>(place)])];
  }

  // The deep events of sample i that come before event `row`: the end of their places.
  int32_t DeepEnd(size_t i, int32_t row) const {
    const nn::EventStream& deep = *input_.deep;
    const auto begin = deep.rows.begin() + deep.offsets[i];
    const auto end = deep.rows.begin() + deep.offsets[i + 1];
    return static_cast<int32_t>(std::lower_bound(begin, end, row) - deep.rows.begin());
  }

  std::vector<int32_t> DrawTerms(size_t i, RandomKey key, uint64_t* counter) const {
    const nn::EventStream& limited = *input_.limited;
    std::vector<int32_t> candidates;
    for (int32_t r = limited.offsets[i]; r < limited.offsets[i + 1]; ++r) {
      const bool first = r == limited.offsets[i];
      const int32_t row = limited.rows[static_cast<size_t>(r)];
      if (!first || DeepEnd(i, row) > input_.deep->offsets[i]) candidates.push_back(r);
    }
    const auto wanted = static_cast<size_t>(settings_.events);
    if (candidates.size() <= wanted) return candidates;
    for (size_t k = 0; k < wanted; ++k) {
      const size_t other = k + RandomBelow(key, (*counter)++, candidates.size() - k);
      std::swap(candidates[k], candidates[other]);
    }
    candidates.resize(wanted);
    std::sort(candidates.begin(), candidates.end());
    return candidates;
  }

  void AddEarlier(size_t i, int32_t term) {
    const auto window = static_cast<int32_t>(settings_.window);
    const int32_t limited_begin = input_.limited->offsets[i];
    for (int32_t r = std::max(limited_begin, term - window); r < term; ++r) {
      pairs_.earlier_limited.push_back(r);
    }
    const int32_t deep_end = DeepEnd(i, input_.limited->rows[static_cast<size_t>(term)]);
    const int32_t deep_begin = std::max(input_.deep->offsets[i], deep_end - window);
    for (int32_t r = deep_begin; r < deep_end; ++r) pairs_.earlier_deep.push_back(r);
    pairs_.limited_offsets.push_back(static_cast<int32_t>(pairs_.earlier_limited.size()));
    pairs_.deep_offsets.push_back(static_cast<int32_t>(pairs_.earlier_deep.size()));
    pairs_.terms.push_back(term);
  }

  // An event of `pool` of another user and item than the term's; -1: none was found.
  int32_t DrawOther(const std::vector<int32_t>& pool, int32_t term, uint64_t random) const {
    const size_t start = random % pool.size();
    for (size_t k = 0; k < std::min(pool.size(), kProbesMax); ++k) {
      const int32_t other = pool[(start + k) % pool.size()];
      const bool same_item = Of(*input_.items, other) == Of(*input_.items, term);
      if (!same_item && UserOf(other) != UserOf(term)) return other;
    }
    return -1;
  }

  void AddComparisons(int32_t term, RandomKey key, uint64_t* counter) {
    AddPair(term, 1.0f, 1.0f);
    const std::vector<int32_t>& alike = by_category_.at(Of(*input_.categories, term));
    for (int64_t r = 0; r < settings_.negatives; ++r) {
      const uint64_t random = RandomBits(key, (*counter)++);
      int32_t other = DrawOther(alike, term, random);
      if (other < 0) other = DrawOther(all_, term, random);
      if (other >= 0) AddPair(other, 0.0f, 1.0f / static_cast<float>(settings_.negatives));
    }
  }

  void AddPair(int32_t event, float label, float weight) {
    pairs_.pair_term.push_back(static_cast<int32_t>(pairs_.terms.size()) - 1);
    pairs_.pair_event.push_back(event);
    pairs_.pair_label.push_back(label);
    pairs_.pair_weight.push_back(weight);
  }

  const AuxiliaryInput& input_;
  const AuxiliarySettings& settings_;
  std::vector<int32_t> sample_of_;  // Per place of the limited stream.
  std::vector<int32_t> all_;        // Every place.
  std::unordered_map<FeatureId, std::vector<int32_t>> by_category_;
  AuxiliaryPairs pairs_;
};

}  // namespace

AuxiliaryPairs DrawAuxiliaryPairs(const AuxiliaryInput& input, const AuxiliarySettings& settings) {
  return Planner(input, settings).Draw();
}

}  // namespace pagoda
