#include "algorithms/msnet/auxiliary_pairs.h"

#include <algorithm>
#include <set>

#include <catch2/catch.hpp>

namespace pagoda {
namespace {

// Samples with random histories: what DrawAuxiliaryPairs reads, and who owns each event. All of
// them are the pool.
struct World {
  explicit World(uint64_t seed, size_t samples, uint64_t num_users, uint64_t num_categories) {
    const RandomKey key{seed};
    uint64_t draw = 0;
    std::vector<int32_t> offsets = {0};
    for (size_t i = 0; i < samples; ++i) {
      users.push_back(RandomBelow(key, draw++, num_users));
      const uint64_t length = RandomBelow(key, draw++, 20);
      for (uint64_t j = 0; j < length; ++j) {
        items.push_back(RandomBelow(key, draw++, 40));
        categories.push_back(items.back() % num_categories);
        is_limited.push_back(RandomBelow(key, draw++, 2) == 1);
        owner.push_back(i);
      }
      offsets.push_back(static_cast<int32_t>(items.size()));
    }
    const auto chosen = [&](bool wanted) {
      return nn::SelectEvents(
          offsets, [&](int32_t p) { return is_limited[static_cast<size_t>(p)] == wanted; }, 50);
    };
    limited = chosen(true);
    deep = chosen(false);
  }
  AuxiliaryInput Input() const {
    AuxiliaryInput input;
    input.own = input.pool = {&limited, &items, &categories, users};
    input.deep = &deep;
    input.first_sample = 70;
    return input;
  }
  // Of a place in the limited stream.
  size_t RowOf(int32_t place) const {
    return static_cast<size_t>(limited.rows[static_cast<size_t>(place)]);
  }
  // Places among all events.
  bool MayOppose(size_t other, size_t term) const {
    return is_limited[other] && items[other] != items[term] &&
           users[owner[other]] != users[owner[term]];
  }

  std::vector<FeatureId> items, categories, users;
  std::vector<bool> is_limited;
  std::vector<size_t> owner;
  nn::EventStream limited, deep;
};

AuxiliarySettings Settings() {
  AuxiliarySettings settings;
  settings.window = 3;
  settings.key = RandomKey{11};
  return settings;
}

// What of a sample's events comes before `row`, at most `window` of each kind, by brute force.
std::vector<size_t> Before(const World& world, size_t row, bool limited, size_t window) {
  std::vector<size_t> before;
  for (size_t p = 0; p < row; ++p) {
    if (world.owner[p] == world.owner[row] && world.is_limited[p] == limited) before.push_back(p);
  }
  if (before.size() > window) {
    before.erase(before.begin(), before.end() - static_cast<std::ptrdiff_t>(window));
  }
  return before;
}

TEST_CASE("auxiliary terms are a sample's limited events with a past, four at most") {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    const World world(seed, 12, 5, 3);
    const AuxiliaryPairs pairs = DrawAuxiliaryPairs(world.Input(), Settings());
    std::vector<size_t> asked(12), possible(12);
    for (size_t row = 0; row < world.items.size(); ++row) {
      const bool past =
          !Before(world, row, true, 3).empty() || !Before(world, row, false, 3).empty();
      if (world.is_limited[row] && past) ++possible[world.owner[row]];
    }
    REQUIRE(std::is_sorted(pairs.terms.begin(), pairs.terms.end()));
    REQUIRE(std::set<int32_t>(pairs.terms.begin(), pairs.terms.end()).size() == pairs.terms.size());
    for (size_t t = 0; t < pairs.terms.size(); ++t) {
      const size_t row = world.RowOf(pairs.terms[t]);
      ++asked[world.owner[row]];
      std::vector<size_t> limited, deep;
      for (int32_t k = pairs.limited_offsets[t]; k < pairs.limited_offsets[t + 1]; ++k) {
        limited.push_back(world.RowOf(pairs.earlier_limited[static_cast<size_t>(k)]));
      }
      for (int32_t k = pairs.deep_offsets[t]; k < pairs.deep_offsets[t + 1]; ++k) {
        const auto place = static_cast<size_t>(pairs.earlier_deep[static_cast<size_t>(k)]);
        deep.push_back(static_cast<size_t>(world.deep.rows[place]));
      }
      REQUIRE(limited == Before(world, row, true, 3));
      REQUIRE(deep == Before(world, row, false, 3));
      REQUIRE(limited.size() + deep.size() > 0);
    }
    for (size_t i = 0; i < 12; ++i) REQUIRE(asked[i] == std::min<size_t>(possible[i], 4));
  }
}

TEST_CASE("auxiliary negatives are other users' items, of the category where there are any") {
  size_t alike_seen = 0, fallback_seen = 0, missing_seen = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    const World world(seed, seed % 4 == 0 ? 1 : 5, 3, seed % 2 == 0 ? 2 : 25);
    const AuxiliaryPairs pairs = DrawAuxiliaryPairs(world.Input(), Settings());
    size_t p = 0;
    for (size_t t = 0; t < pairs.terms.size(); ++t) {
      const size_t term = world.RowOf(pairs.terms[t]);
      bool alike = false, any = false;
      for (size_t other = 0; other < world.items.size(); ++other) {
        if (!world.MayOppose(other, term)) continue;
        any = true;
        alike = alike || world.categories[other] == world.categories[term];
      }
      size_t negatives = 0;
      for (; p < pairs.other_term.size() && pairs.other_term[p] == static_cast<int32_t>(t); ++p) {
        const auto other = static_cast<size_t>(pairs.others[p]);
        ++negatives;
        REQUIRE(world.MayOppose(other, term));
        if (alike) REQUIRE(world.categories[other] == world.categories[term]);
      }
      REQUIRE(negatives == (any ? 4u : 0u));
      alike_seen += alike;
      fallback_seen += any && !alike;
      missing_seen += !any;
    }
    REQUIRE(p == pairs.other_term.size());
    REQUIRE(p == pairs.others.size());
  }
  REQUIRE(alike_seen > 20);
  REQUIRE(fallback_seen > 20);
  REQUIRE(missing_seen > 5);
}

// What the pairs ask about, free of how samples are parted: of each term the item, and then the
// events it is compared with.
using Questions = std::vector<std::pair<FeatureId, std::vector<int32_t>>>;
Questions QuestionsOf(const AuxiliaryPairs& pairs, const LimitedEvents& own) {
  Questions questions;
  for (const int32_t term : pairs.terms) {
    const auto row = static_cast<size_t>(own.stream->rows[static_cast<size_t>(term)]);
    questions.push_back({(*own.items)[row], {}});
  }
  for (size_t p = 0; p < pairs.others.size(); ++p) {
    questions[static_cast<size_t>(pairs.other_term[p])].second.push_back(pairs.others[p]);
  }
  return questions;
}

TEST_CASE("auxiliary terms and what they are compared with do not depend on the layout") {
  const World world(3, 12, 5, 3);
  const Questions all =
      QuestionsOf(DrawAuxiliaryPairs(world.Input(), Settings()), world.Input().own);
  REQUIRE(all.size() > 10);
  for (const size_t workers : {2, 3, 12, 20}) {
    CAPTURE(workers);
    Questions joined;
    for (size_t worker = 0; worker < workers; ++worker) {
      const size_t begin = 12 * worker / workers, end = 12 * (worker + 1) / workers;
      const auto part_of = [&](const nn::EventStream& stream) {
        nn::EventStream part;
        part.rows.assign(stream.rows.begin() + stream.offsets[begin],
                         stream.rows.begin() + stream.offsets[end]);
        for (size_t i = begin + 1; i <= end; ++i) {
          part.offsets.push_back(stream.offsets[i] - stream.offsets[begin]);
        }
        return part;
      };
      const nn::EventStream limited = part_of(world.limited), deep = part_of(world.deep);
      AuxiliaryInput input = world.Input();
      input.own.stream = &limited;
      input.deep = &deep;
      input.own.users.assign(world.users.begin() + static_cast<std::ptrdiff_t>(begin),
                             world.users.begin() + static_cast<std::ptrdiff_t>(end));
      input.first_sample += begin;
      const AuxiliaryPairs pairs = DrawAuxiliaryPairs(input, Settings());
      const Questions part = QuestionsOf(pairs, input.own);
      joined.insert(joined.end(), part.begin(), part.end());
    }
    REQUIRE(joined == all);
  }
  // Another key asks about others, and the same about the same.
  AuxiliarySettings other = Settings();
  other.key = RandomKey{12};
  REQUIRE(QuestionsOf(DrawAuxiliaryPairs(world.Input(), other), world.Input().own) != all);
  REQUIRE(QuestionsOf(DrawAuxiliaryPairs(world.Input(), Settings()), world.Input().own) == all);
}

TEST_CASE("auxiliary pairs of no samples are none") {
  const World world(1, 0, 1, 1);
  const AuxiliaryPairs pairs = DrawAuxiliaryPairs(world.Input(), Settings());
  REQUIRE(pairs.terms.empty());
  REQUIRE(pairs.others.empty());
  REQUIRE(pairs.limited_offsets == std::vector<int32_t>{0});
}

}  // namespace
}  // namespace pagoda
