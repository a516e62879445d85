#include "worker/metrics.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <vector>

namespace pagoda {
namespace {

struct World {
  std::vector<float> scores, labels, weights;
  std::vector<uint64_t> groups;
  ScoredSamples Samples(bool weighted) const {
    return {scores, labels, weighted ? std::span<const float>(weights) : std::span<const float>()};
  }
};

// Scores on a coarse grid, so that ties are common.
World MakeWorld(std::mt19937& rng, int n, int num_groups) {
  World world;
  for (int i = 0; i < n; ++i) {
    world.scores.push_back(static_cast<float>(rng() % 9 + 1) / 10.0f);
    world.labels.push_back(rng() % 3 == 0 ? 1.0f : 0.0f);
    world.weights.push_back(static_cast<float>(rng() % 5) * 0.5f);  // 0 is legal.
    world.groups.push_back(uint64_t{0xfffffffff0000000} + rng() % num_groups);
  }
  return world;
}

double OracleAuc(const World& world, bool weighted, const std::vector<size_t>& rows) {
  double favourable = 0.0, pairs = 0.0;
  for (const size_t i : rows) {
    for (const size_t j : rows) {
      if (world.labels[i] <= 0.5f || world.labels[j] > 0.5f) continue;
      const double weight = weighted ? double{world.weights[i]} * double{world.weights[j]} : 1.0;
      pairs += weight;
      if (world.scores[i] > world.scores[j]) favourable += weight;
      if (world.scores[i] == world.scores[j]) favourable += 0.5 * weight;
    }
  }
  return pairs > 0.0 ? favourable / pairs : std::numeric_limits<double>::quiet_NaN();
}

std::vector<size_t> AllRows(const World& world) {
  std::vector<size_t> rows(world.scores.size());
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = i;
  return rows;
}

double OracleGroupAuc(const World& world, bool weighted) {
  std::map<uint64_t, std::vector<size_t>> members;
  for (size_t i = 0; i < world.groups.size(); ++i) members[world.groups[i]].push_back(i);
  double sum = 0.0, weights = 0.0;
  for (const auto& [group, rows] : members) {
    const double auc = OracleAuc(world, weighted, rows);
    if (std::isnan(auc)) continue;
    double weight = 0.0;
    for (const size_t i : rows) weight += weighted ? double{world.weights[i]} : 1.0;
    sum += weight * auc;
    weights += weight;
  }
  return weights > 0.0 ? sum / weights : std::numeric_limits<double>::quiet_NaN();
}

void RequireSame(double got, double want) {
  CAPTURE(got, want);
  if (std::isnan(want)) {
    REQUIRE(std::isnan(got));
  } else {
    REQUIRE(got == Approx(want).epsilon(1e-12));
  }
}

TEST_CASE("AUC and GAUC agree with the pairwise definition") {
  for (uint32_t seed = 1; seed <= 40; ++seed) {
    std::mt19937 rng(seed);
    const int n = static_cast<int>(rng() % 150);
    const World world = MakeWorld(rng, n, 7);
    for (const bool weighted : {false, true}) {
      CAPTURE(seed, n, weighted);
      RequireSame(Auc(world.Samples(weighted)), OracleAuc(world, weighted, AllRows(world)));
      RequireSame(GroupAuc(world.Samples(weighted), world.groups), OracleGroupAuc(world, weighted));
    }
  }
}

TEST_CASE("AUC of small and degenerate sets") {
  const std::vector<float> none;
  REQUIRE(std::isnan(Auc({none, none, none})));
  REQUIRE(std::isnan(GroupAuc({none, none, none}, {})));
  const std::vector<float> score = {0.5f}, one = {1.0f};
  REQUIRE(std::isnan(Auc({score, one, none})));
  const std::vector<float> scores = {0.2f, 0.8f}, up = {0.0f, 1.0f}, down = {1.0f, 0.0f};
  REQUIRE(Auc({scores, up, none}) == 1.0);
  REQUIRE(Auc({scores, down, none}) == 0.0);
  const std::vector<float> tied = {0.3f, 0.3f};
  REQUIRE(Auc({tied, up, none}) == 0.5);
  const std::vector<float> broken = {std::nanf(""), 0.3f};
  REQUIRE(std::isnan(Auc({broken, up, none})));
}

TEST_CASE("log-loss, normalised entropy and calibration agree with their formulas") {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    std::mt19937 rng(seed);
    const World world = MakeWorld(rng, 101, 3);
    for (const bool weighted : {false, true}) {
      CAPTURE(seed, weighted);
      long double loss = 0, total = 0, labels = 0, scores = 0;
      for (size_t i = 0; i < world.scores.size(); ++i) {
        const long double w = weighted ? world.weights[i] : 1.0f;
        const long double p = world.scores[i];
        loss -= w * (world.labels[i] > 0.5f ? std::log(p) : std::log(1 - p));
        total += w;
        labels += w * world.labels[i];
        scores += w * p;
      }
      const long double mean = labels / total;
      const long double entropy = -mean * std::log(mean) - (1 - mean) * std::log(1 - mean);
      const ScoredSamples samples = world.Samples(weighted);
      REQUIRE(LogLoss(samples) == Approx(static_cast<double>(loss / total)).epsilon(1e-12));
      REQUIRE(NormalizedEntropy(samples) ==
              Approx(static_cast<double>(loss / total / entropy)).epsilon(1e-12));
      REQUIRE(Calibration(samples) == Approx(static_cast<double>(scores / labels)).epsilon(1e-12));
    }
  }
}

TEST_CASE("a saturated probability costs a finite loss, 36 nats when wrong") {
  const std::vector<float> scores = {1.0f, 0.0f}, wrong = {0.0f, 1.0f}, right = {1.0f, 0.0f};
  REQUIRE(LogLoss({scores, wrong, {}}) == Approx(52 * std::log(2.0)).epsilon(1e-9));
  REQUIRE(LogLoss({scores, right, {}}) < 1e-15);
}

TEST_CASE("undefined metrics are NaN, not numbers") {
  const std::vector<float> none, scores = {0.4f, 0.6f}, ones = {1.0f, 1.0f}, zeros = {0.0f, 0.0f};
  REQUIRE(std::isnan(LogLoss({none, none, none})));
  REQUIRE(std::isnan(NormalizedEntropy({scores, ones, none})));
  REQUIRE(std::isnan(NormalizedEntropy({scores, zeros, none})));
  REQUIRE(std::isnan(Calibration({scores, zeros, none})));
}

TEST_CASE("recall and NDCG of hand-made rankings") {
  const std::vector<uint8_t> hits = {0, 1, 0, 1};
  REQUIRE(RecallAt({hits, 3}, 4) == Approx(2.0 / 3.0));
  REQUIRE(RecallAt({hits, 3}, 2) == Approx(1.0 / 3.0));
  REQUIRE(RecallAt({hits, 3}, 1) == 0.0);
  const double gain = 1 / std::log2(3.0) + 1 / std::log2(5.0);
  const double ideal = 1 + 1 / std::log2(3.0) + 1 / std::log2(4.0);
  REQUIRE(NdcgAt({hits, 3}, 4) == Approx(gain / ideal));
  REQUIRE(NdcgAt({hits, 3}, 2) == Approx((1 / std::log2(3.0)) / (1 + 1 / std::log2(3.0))));
  REQUIRE(NdcgAt({hits, 1}, 10) == Approx(gain));
  REQUIRE(std::isnan(RecallAt({hits, 0}, 4)));
  REQUIRE(std::isnan(NdcgAt({{}, 0}, 4)));
}

}  // namespace
}  // namespace pagoda
