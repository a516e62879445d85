#include "deploy/claim_metrics.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <vector>

using namespace pagoda;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Drawn {
  std::vector<double> scores, positives;
  std::vector<uint64_t> users;
  ClaimSamples samples() const { return {scores, positives}; }
};

// Few distinct scores, so that many are tied; labels, probabilities, or a mixture.
Drawn Draw(std::mt19937_64& random, int n, int kind) {
  Drawn drawn;
  for (int i = 0; i < n; ++i) {
    drawn.scores.push_back(static_cast<double>(random() % 7) / 7.0);
    const double q = static_cast<double>(random() % 1001) / 1000.0;
    drawn.positives.push_back(kind == 0                        ? static_cast<double>(random() % 2)
                              : kind == 1 || random() % 2 == 0 ? q
                                                               : std::round(q));
    drawn.users.push_back(random() % 5);
  }
  return drawn;
}

double PairwiseAuc(const ClaimSamples& samples) {
  double won = 0, pairs = 0;
  for (size_t i = 0; i < samples.scores.size(); ++i) {
    for (size_t j = 0; j < samples.scores.size(); ++j) {
      if (i == j) continue;
      const double weight = samples.positives[i] * (1 - samples.positives[j]);
      pairs += weight;
      if (samples.scores[i] > samples.scores[j]) won += weight;
      if (samples.scores[i] == samples.scores[j]) won += weight / 2;
    }
  }
  return pairs > 0 ? won / pairs : kNan;
}

bool Same(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || std::fabs(a - b) <= 1e-11;
}

}  // namespace

TEST_CASE("claim AUC counts every pair, ties one half, no sample against itself") {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    const Drawn drawn = Draw(random, static_cast<int>(seed % 30), static_cast<int>(seed % 3));
    CAPTURE(seed, ExpectedAuc(drawn.samples()), PairwiseAuc(drawn.samples()));
    CHECK(Same(ExpectedAuc(drawn.samples()), PairwiseAuc(drawn.samples())));
  }
}

TEST_CASE("claim AUC against probabilities is what fresh labels give on average") {
  std::mt19937_64 random(5);
  const Drawn drawn = Draw(random, 400, 1);
  double sum = 0;
  constexpr int kDraws = 400;
  for (int draw = 0; draw < kDraws; ++draw) {
    std::vector<double> labels;
    for (const double q : drawn.positives) {
      labels.push_back(std::bernoulli_distribution(q)(random) ? 1.0 : 0.0);
    }
    sum += ExpectedAuc({drawn.scores, labels});
  }
  // A draw deviates by about .03; the mean of 400 by .0015.
  CHECK(std::fabs(sum / kDraws - ExpectedAuc(drawn.samples())) < 0.008);
}

TEST_CASE("claim GAUC weighs users by one, impressions and clicks") {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    const Drawn drawn = Draw(random, static_cast<int>(seed % 40), static_cast<int>(seed % 3));
    std::map<uint64_t, Drawn> users;
    for (size_t i = 0; i < drawn.users.size(); ++i) {
      users[drawn.users[i]].scores.push_back(drawn.scores[i]);
      users[drawn.users[i]].positives.push_back(drawn.positives[i]);
    }
    for (const UserWeight kind :
         {UserWeight::kOne, UserWeight::kImpressions, UserWeight::kClicks}) {
      double sum = 0, weights = 0;
      for (const auto& [user, own] : users) {
        const double auc = PairwiseAuc(own.samples());
        if (std::isnan(auc)) continue;
        double clicks = 0;
        for (const double q : own.positives) clicks += q;
        const double weight = kind == UserWeight::kOne ? 1.0
                              : kind == UserWeight::kImpressions
                                  ? static_cast<double>(own.scores.size())
                                  : clicks;
        sum += weight * auc;
        weights += weight;
      }
      CAPTURE(seed, static_cast<int>(kind));
      CHECK(Same(ExpectedGroupAuc(drawn.samples(), drawn.users, kind),
                 weights > 0 ? sum / weights : kNan));
    }
  }
}

TEST_CASE("claim metrics of too little are not defined") {
  const std::vector<double> none, one = {0.5}, sure = {1.0, 1.0}, two = {0.1, 0.2};
  CHECK(std::isnan(ExpectedAuc({none, none})));
  CHECK(std::isnan(ExpectedAuc({one, one})));
  CHECK(std::isnan(ExpectedAuc({two, sure})));
  const std::vector<double> broken = {kNan, 0.2}, mixed = {1.0, 0.0};
  CHECK(std::isnan(ExpectedAuc({broken, mixed})));
  CHECK(std::isnan(ExpectedGroupAuc({none, none}, {}, UserWeight::kOne)));
  CHECK(std::isnan(ExpectedLogLoss({none, none})));
  const std::vector<double> no_clicks = {0.0, 0.0};
  CHECK(std::isnan(CalibrationRatio({two, no_clicks})));
  CHECK(std::isnan(EffectiveSampleSize(none)));
  CHECK(std::isnan(MeanOf(none)));
  CHECK(std::isnan(StandardDeviation(one)));
}

TEST_CASE("claim log-loss, calibration, effective size, mean and spread by hand") {
  const std::vector<double> p = {0.25, 0.5}, q = {0.5, 1.0};
  CHECK(ExpectedLogLoss({p, q}) ==
        Approx((-0.5 * std::log(0.25) - 0.5 * std::log(0.75) - std::log(0.5)) / 2));
  CHECK(CalibrationRatio({p, q}) == Approx(0.5));
  const std::vector<double> certain = {0.0}, positive = {1.0};
  CHECK(ExpectedLogLoss({certain, positive}) == Approx(52 * std::log(2.0)));
  const std::vector<double> weights = {1, 1, 2};
  CHECK(EffectiveSampleSize(weights) == Approx(16.0 / 6.0));
  CHECK(MeanOf(weights) == Approx(4.0 / 3.0));
  CHECK(StandardDeviation(weights) == Approx(std::sqrt(1.0 / 3.0)));
}
