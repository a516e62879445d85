#include "algorithms/msnet/auxiliary_pairs.h"

#include <algorithm>
#include <unordered_map>

namespace pagoda {
namespace {

// From its random start a draw looks at so many events of the pool, one after another, before it
// gives up: a pool that one user fills must not cost its square.
constexpr size_t kProbesMax = 64;

// Limited events that may be drawn as others; places are positions in the stream's rows.
class Pool {
 public:
  explicit Pool(const LimitedEvents& events) : events_(events) {
    const nn::EventStream& stream = *events.stream;
    for (size_t i = 0; i + 1 < stream.offsets.size(); ++i) {
      for (int32_t r = stream.offsets[i]; r < stream.offsets[i + 1]; ++r) {
        users_.push_back(events.users[i]);
        all_.push_back(r);
        by_category_[Of(*events.categories, r)].push_back(r);
      }
    }
  }

  // An event, among all of the pool's samples, of another user and item, of the category if
  // there is any such; -1: none was found.
  int32_t Draw(FeatureId user, FeatureId item, FeatureId category, uint64_t random) const {
    const auto alike = by_category_.find(category);
    int32_t place = -1;
    if (alike != by_category_.end()) place = DrawFrom(alike->second, user, item, random);
    if (place < 0) place = DrawFrom(all_, user, item, random);
    return place < 0 ? -1 : events_.stream->rows[static_cast<size_t>(place)];
  }

 private:
  FeatureId Of(const std::vector<FeatureId>& column, int32_t place) const {
    return column[static_cast<size_t>(events_.stream->rows[static_cast<size_t>(place)])];
  }

  int32_t DrawFrom(const std::vector<int32_t>& places, FeatureId user, FeatureId item,
                   uint64_t random) const {
    if (places.empty()) return -1;
    const size_t start = random % places.size();
    for (size_t k = 0; k < std::min(places.size(), kProbesMax); ++k) {
      const int32_t place = places[(start + k) % places.size()];
      if (Of(*events_.items, place) != item && users_[static_cast<size_t>(place)] != user) {
        return place;
      }
    }
    return -1;
  }

  const LimitedEvents& events_;
  std::vector<FeatureId> users_;  // Per place.
  std::vector<int32_t> all_;      // Every place.
  std::unordered_map<FeatureId, std::vector<int32_t>> by_category_;
};

class Planner {
 public:
  Planner(const AuxiliaryInput& input, const AuxiliarySettings& settings)
      : input_(input), settings_(settings), pool_(input.pool) {}

  AuxiliaryPairs Draw() {
    for (size_t i = 0; i + 1 < input_.own.stream->offsets.size(); ++i) {
      const RandomKey key = settings_.key.Derive(input_.first_sample + i);
      uint64_t counter = 0;
      for (const int32_t term : DrawTerms(i, key, &counter)) {
        AddEarlier(i, term);
        AddComparisons(i, term, key, &counter);
      }
    }
    return std::move(pairs_);
  }

 private:
  // The deep events of sample i that come before event `row`: the end of their places.
  int32_t DeepEnd(size_t i, int32_t row) const {
    const nn::EventStream& deep = *input_.deep;
    const auto begin = deep.rows.begin() + deep.offsets[i];
    const auto end = deep.rows.begin() + deep.offsets[i + 1];
    return static_cast<int32_t>(std::lower_bound(begin, end, row) - deep.rows.begin());
  }

  std::vector<int32_t> DrawTerms(size_t i, RandomKey key, uint64_t* counter) const {
    const nn::EventStream& limited = *input_.own.stream;
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
    const int32_t limited_begin = input_.own.stream->offsets[i];
    for (int32_t r = std::max(limited_begin, term - window); r < term; ++r) {
      pairs_.earlier_limited.push_back(r);
    }
    const int32_t deep_end = DeepEnd(i, input_.own.stream->rows[static_cast<size_t>(term)]);
    const int32_t deep_begin = std::max(input_.deep->offsets[i], deep_end - window);
    for (int32_t r = deep_begin; r < deep_end; ++r) pairs_.earlier_deep.push_back(r);
    pairs_.limited_offsets.push_back(static_cast<int32_t>(pairs_.earlier_limited.size()));
    pairs_.deep_offsets.push_back(static_cast<int32_t>(pairs_.earlier_deep.size()));
    pairs_.terms.push_back(term);
  }

  void AddComparisons(size_t i, int32_t term, RandomKey key, uint64_t* counter) {
    const auto row = static_cast<size_t>(input_.own.stream->rows[static_cast<size_t>(term)]);
    for (int64_t r = 0; r < settings_.negatives; ++r) {
      const int32_t other =
          pool_.Draw(input_.own.users[i], (*input_.own.items)[row], (*input_.own.categories)[row],
                     RandomBits(key, (*counter)++));
      if (other < 0) continue;
      pairs_.other_term.push_back(static_cast<int32_t>(pairs_.terms.size()) - 1);
      pairs_.others.push_back(other);
    }
  }

  const AuxiliaryInput& input_;
  const AuxiliarySettings& settings_;
  const Pool pool_;
  AuxiliaryPairs pairs_;
};

}  // namespace

AuxiliaryPairs DrawAuxiliaryPairs(const AuxiliaryInput& input, const AuxiliarySettings& settings) {
  return Planner(input, settings).Draw();
}

}  // namespace pagoda
