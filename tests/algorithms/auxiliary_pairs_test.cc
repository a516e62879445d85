#include "algorithms/msnet/auxiliary_pairs.h"

#include <algorithm>
#include <set>

#include <catch2/catch.hpp>

namespace pagoda {
namespace {

// Samples with random histories: what DrawAuxiliaryPairs reads, and who owns each event.
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
    input.limited = &limited;
    input.deep = &deep;
    input.items = &items;
    input.categories = &categories;
    input.users = users;
    input.first_sample = 70;
    return input;
  }
  // Of a place in the limited stream.
  size_t RowOf(int32_t place) const {
    return static_cast<size_t>(limited.rows[static_cast<size_t>(place)]);
  }
  bool MayOppose(int32_t other, int32_t term) const {
    return items[RowOf(other)] != items[RowOf(term)] &&
           users[owner[RowOf(other)]] != users[owner[RowOf(term)]];
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
      const int32_t term = pairs.terms[t];
      REQUIRE(pairs.pair_event[p] == term);
      REQUIRE(pairs.pair_label[p] == 1.0f);
      REQUIRE(pairs.pair_weight[p] == 1.0f);
      bool alike = false, any = false;
      for (int32_t other = 0; other < static_cast<int32_t>(world.limited.rows.size()); ++other) {
        if (!world.MayOppose(other, term)) continue;
        any = true;
        alike =
            alike || world.categories[world.RowOf(other)] == world.categories[world.RowOf(term)];
      }
      size_t negatives = 0;
      for (++p; p < pairs.pair_term.size() && pairs.pair_label[p] == 0.0f; ++p, ++negatives) {
        const int32_t other = pairs.pair_event[p];
        REQUIRE(pairs.pair_term[p] == static_cast<int32_t>(t));
        REQUIRE(pairs.pair_weight[p] == 0.25f);
        REQUIRE(world.MayOppose(other, term));
        if (!alike) continue;
        REQUIRE(world.categories[world.RowOf(other)] == world.categories[world.RowOf(term)]);
      }
      REQUIRE(negatives == (any ? 4u : 0u));
      alike_seen += alike;
      fallback_seen += any && !alike;
      missing_seen += !any;
    }
    REQUIRE(p == pairs.pair_term.size());
  }
  REQUIRE(alike_seen > 20);
  REQUIRE(fallback_seen > 20);
  REQUIRE(missing_seen > 5);
}

TEST_CASE("auxiliary terms of a sample depend on its global index, not on the batch") {
  const World world(3, 12, 5, 3);
  const AuxiliaryPairs all = DrawAuxiliaryPairs(world.Input(), Settings());
  const auto items_of = [&](const AuxiliaryPairs& pairs, const nn::EventStream& limited) {
    std::vector<FeatureId> items;
    for (const int32_t term : pairs.terms) {
      items.push_back(world.items[static_cast<size_t>(limited.rows[static_cast<size_t>(term)])]);
    }
    return items;
  };
  // The last seven samples alone.
  const auto tail = [](const nn::EventStream& stream) {
    nn::EventStream part;
    part.rows.assign(stream.rows.begin() + stream.offsets[5], stream.rows.end());
    for (size_t i = 6; i < stream.offsets.size(); ++i) {
      part.offsets.push_back(stream.offsets[i] - stream.offsets[5]);
    }
    return part;
  };
  const nn::EventStream limited = tail(world.limited), deep = tail(world.deep);
  AuxiliaryInput input = world.Input();
  input.limited = &limited;
  input.deep = &deep;
  input.users.erase(input.users.begin(), input.users.begin() + 5);
  input.first_sample += 5;
  const std::vector<FeatureId> part = items_of(DrawAuxiliaryPairs(input, Settings()), limited);
  const std::vector<FeatureId> whole = items_of(all, world.limited);
  REQUIRE(part.size() > 5);
  REQUIRE(part.size() < whole.size());
  REQUIRE(std::equal(part.rbegin(), part.rend(), whole.rbegin()));
  // Another key asks about others, and the same about the same.
  AuxiliarySettings other = Settings();
  other.key = RandomKey{12};
  REQUIRE(DrawAuxiliaryPairs(world.Input(), other).terms != all.terms);
  REQUIRE(DrawAuxiliaryPairs(world.Input(), Settings()).pair_event == all.pair_event);
}

TEST_CASE("auxiliary pairs of no samples are none") {
  const World world(1, 0, 1, 1);
  const AuxiliaryPairs pairs = DrawAuxiliaryPairs(world.Input(), Settings());
  REQUIRE(pairs.terms.empty());
  REQUIRE(pairs.pair_term.empty());
  REQUIRE(pairs.limited_offsets == std::vector<int32_t>{0});
}

}  // namespace
}  // namespace pagoda
