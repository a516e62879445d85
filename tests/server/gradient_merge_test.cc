#include "server/gradient_merge.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <map>

#include "base/random.h"

namespace pagoda {
namespace {

struct Contribution {
  std::vector<FeatureId> ids;
  std::vector<float> gradients;
};

using Sums = std::map<FeatureId, std::vector<float>>;

// The meaning, written as plainly as possible.
Sums Oracle(const std::vector<Contribution>& contributions, int64_t dim) {
  Sums sums;
  for (const Contribution& c : contributions) {
    for (size_t i = 0; i < c.ids.size(); ++i) {
      const float* row = c.gradients.data() + i * dim;
      auto [found, is_new] = sums.try_emplace(c.ids[i], row, row + dim);
      for (int64_t k = 0; k < dim && !is_new; ++k) found->second[k] += row[k];
    }
  }
  return sums;
}

Sums Merge(const std::vector<Contribution>& contributions, int64_t dim, int num_threads) {
  std::vector<GradientRows> rows;
  for (const Contribution& c : contributions) rows.push_back({c.ids, c.gradients});
  ThreadPool pool(num_threads);
  const MergedGradients merged = MergeGradients(rows, dim, &pool);
  REQUIRE(merged.gradients.size() == merged.ids.size() * static_cast<size_t>(dim));
  Sums sums;
  for (size_t i = 0; i < merged.ids.size(); ++i) {
    const float* row = merged.gradients.data() + i * dim;
    const bool is_new = sums.try_emplace(merged.ids[i], row, row + dim).second;
    REQUIRE(is_new);  // Ids are distinct.
  }
  return sums;
}

bool SameBits(const Sums& a, const Sums& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.size() == y.second.size() &&
           std::memcmp(x.second.data(), y.second.data(), x.second.size() * sizeof(float)) == 0;
  });
}

// `count` distinct ids out of about twice as many, with gradients of mixed size.
Contribution RandomContribution(RandomKey key, int64_t count, int64_t dim) {
  Contribution c;
  for (FeatureId id = 0; static_cast<int64_t>(c.ids.size()) < count; ++id) {
    if (RandomUniform(key.Derive(1), id) < 0.5f) c.ids.push_back(MixBits(id / 3) + id % 3);
  }
  std::sort(c.ids.begin(), c.ids.end());
  c.ids.erase(std::unique(c.ids.begin(), c.ids.end()), c.ids.end());
  for (size_t i = c.ids.size(); i > 1; --i) {
    std::swap(c.ids[i - 1], c.ids[RandomBelow(key.Derive(2), i, i)]);
  }
  for (size_t i = 0; i < c.ids.size() * static_cast<size_t>(dim); ++i) {
    const float scale = RandomUniform(key.Derive(3), i) < 0.5f ? 1e-6f : 1e3f;
    c.gradients.push_back(scale * RandomNormal(key.Derive(4), i));
  }
  return c;
}

TEST_CASE("sums are those of a plain loop in rank order, bit for bit, on any threads") {
  const uint64_t seed = 77;
  for (const int64_t dim : {1, 3, 16}) {
    for (const size_t workers : {1u, 2u, 4u, 7u}) {
      for (const int64_t rows : {0, 1, 63, 5000}) {
        CAPTURE(seed, dim, workers, rows);
        std::vector<Contribution> contributions;
        for (size_t w = 0; w < workers; ++w) {
          contributions.push_back(RandomContribution(RandomKey{seed}.Derive(w), rows, dim));
        }
        const Sums expected = Oracle(contributions, dim);
        CHECK(SameBits(Merge(contributions, dim, 1), expected));
        CHECK(SameBits(Merge(contributions, dim, 3), expected));
      }
    }
  }
}

TEST_CASE("the order of additions is the order of contributions") {
  const std::vector<float> values = {1e8f, 1.0f, -1e8f};
  std::vector<Contribution> contributions;
  for (const float value : values) contributions.push_back({{7}, {value}});
  CHECK(Merge(contributions, 1, 1).at(7)[0] == (1e8f + 1.0f) + -1e8f);
  std::swap(contributions[1], contributions[2]);
  CHECK(Merge(contributions, 1, 1).at(7)[0] == (1e8f + -1e8f) + 1.0f);
}

TEST_CASE("a single contribution keeps its bits, minus zero included") {
  std::vector<Contribution> contributions = {{{1}, {-0.0f}}, {{2}, {1.0f}}};
  const Sums sums = Merge(contributions, 1, 1);
  CHECK(std::signbit(sums.at(1)[0]));
}

TEST_CASE("nothing merges to nothing") {
  ThreadPool pool(1);
  CHECK(MergeGradients({}, 4, &pool).ids.empty());
}

}  // namespace
}  // namespace pagoda
