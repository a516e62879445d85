#include "deploy/claim_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace pagoda {
namespace {

constexpr double kNotDefined = std::numeric_limits<double>::quiet_NaN();
constexpr double kSmallestProbability = 0x1p-52;  // As worker/metrics.h.

// By score; ties by q, so that sums do not depend on the order of the rows.
std::vector<size_t> SortedByScore(const ClaimSamples& samples) {
  std::vector<size_t> order(samples.scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (samples.scores[a] != samples.scores[b]) return samples.scores[a] < samples.scores[b];
    return samples.positives[a] < samples.positives[b];
  });
  return order;
}

// One user's samples, in one piece.
struct UserSamples {
  std::vector<double> scores, positives;
};

double WeightOf(const UserSamples& user, UserWeight weight) {
  switch (weight) {
    case UserWeight::kOne: return 1.0;
    case UserWeight::kImpressions: return static_cast<double>(user.scores.size());
    case UserWeight::kClicks:
      return std::accumulate(user.positives.begin(), user.positives.end(), 0.0);
  }
  return kNotDefined;
}

}  // namespace

double ExpectedAuc(const ClaimSamples& samples) {
  if (std::any_of(samples.scores.begin(), samples.scores.end(),
                  [](double score) { return std::isnan(score); })) {
    return kNotDefined;
  }
  const std::vector<size_t> order = SortedByScore(samples);
  double positives = 0, negatives = 0, own = 0, won = 0;
  bool both = false;  // Told by counts: differences of sums may round to something small.
  int64_t can_be_positive = 0, can_be_negative = 0;
  for (size_t begin = 0; begin < order.size();) {
    double tied_positives = 0, tied_negatives = 0;
    size_t end = begin;
    for (; end < order.size() && samples.scores[order[end]] == samples.scores[order[begin]];
         ++end) {
      const double q = samples.positives[order[end]];
      both = both || (q > 0 && can_be_negative > 0) || (q < 1 && can_be_positive > 0);
      can_be_positive += q > 0 ? 1 : 0;
      can_be_negative += q < 1 ? 1 : 0;
      tied_positives += q;
      tied_negatives += 1 - q;
      own += q * (1 - q);
    }
    won += tied_positives * (negatives + tied_negatives / 2);
    positives += tied_positives;
    negatives += tied_negatives;
    begin = end;
  }
  if (!both) return kNotDefined;
  // A sample with itself is a tie that is no pair.
  return (won - own / 2) / (positives * negatives - own);
}

double ExpectedGroupAuc(const ClaimSamples& samples, std::span<const uint64_t> users,
                        UserWeight weight) {
  std::vector<size_t> order(users.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return users[a] < users[b]; });
  double sum = 0, weights = 0;
  for (size_t begin = 0; begin < order.size();) {
    UserSamples user;
    size_t end = begin;
    for (; end < order.size() && users[order[end]] == users[order[begin]]; ++end) {
      user.scores.push_back(samples.scores[order[end]]);
      user.positives.push_back(samples.positives[order[end]]);
    }
    begin = end;
    const double auc = ExpectedAuc({user.scores, user.positives});
    if (std::isnan(auc)) continue;
    const double w = WeightOf(user, weight);
    sum += w * auc;
    weights += w;
  }
  return weights > 0 ? sum / weights : kNotDefined;
}

double ExpectedLogLoss(const ClaimSamples& samples) {
  double sum = 0;
  for (size_t i = 0; i < samples.scores.size(); ++i) {
    const double p = std::clamp(samples.scores[i], kSmallestProbability, 1 - kSmallestProbability);
    const double q = samples.positives[i];
    sum -= q * std::log(p) + (1 - q) * std::log1p(-p);
  }
  return samples.scores.empty() ? kNotDefined : sum / static_cast<double>(samples.scores.size());
}

double CalibrationRatio(const ClaimSamples& samples) {
  const double predicted = std::accumulate(samples.scores.begin(), samples.scores.end(), 0.0);
  const double seen = std::accumulate(samples.positives.begin(), samples.positives.end(), 0.0);
  return seen > 0 ? predicted / seen : kNotDefined;
}

double EffectiveSampleSize(std::span<const double> weights) {
  double sum = 0, squares = 0;
  for (const double weight : weights) {
    sum += weight;
    squares += weight * weight;
  }
  return squares > 0 ? sum * sum / squares : kNotDefined;
}

double MeanOf(std::span<const double> values) {
  if (values.empty()) return kNotDefined;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double StandardDeviation(std::span<const double> values) {
  if (values.size() < 2) return kNotDefined;
  const double mean = MeanOf(values);
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

}  // namespace pagoda
