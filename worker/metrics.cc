#include "worker/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();
// The smallest distance of a probability from 0 and 1: double's epsilon, which is
// what scikit-learn clips float64 predictions to. A float sigmoid saturates at 1.0
// from a logit of 17 on, so without it one such miss would make the mean infinite.
constexpr double kProbabilityMargin = std::numeric_limits<double>::epsilon();

void CheckSizes(const ScoredSamples& samples) {
  PAGODA_CHECK(samples.labels.size() == samples.scores.size());
  PAGODA_CHECK(samples.weights.empty() || samples.weights.size() == samples.scores.size());
}

double WeightOf(const ScoredSamples& samples, size_t i) {
  return samples.weights.empty() ? 1.0 : static_cast<double>(samples.weights[i]);
}

// AUC of the samples `order`, which this sorts by score. Adds up, from the lowest
// score, each tie block's positives times the negatives below it.
double AucOf(const ScoredSamples& samples, std::span<size_t> order) {
  for (const size_t i : order) {
    if (std::isnan(samples.scores[i])) return kUndefined;
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return samples.scores[a] != samples.scores[b] ? samples.scores[a] < samples.scores[b] : a < b;
  });
  double negatives_below = 0.0, positives = 0.0, favourable = 0.0;
  for (size_t begin = 0; begin < order.size();) {
    const float score = samples.scores[order[begin]];
    double tied_positive = 0.0, tied_negative = 0.0;
    size_t end = begin;
    for (; end < order.size() && samples.scores[order[end]] == score; ++end) {
      const double weight = WeightOf(samples, order[end]);
      (samples.labels[order[end]] > 0.5f ? tied_positive : tied_negative) += weight;
    }
    favourable += tied_positive * (negatives_below + 0.5 * tied_negative);
    negatives_below += tied_negative;
    positives += tied_positive;
    begin = end;
  }
  if (!(positives > 0.0) || !(negatives_below > 0.0)) return kUndefined;
  return favourable / (positives * negatives_below);
}

struct Totals {
  double weight = 0.0, label = 0.0, score = 0.0, loss = 0.0;
};

Totals Sum(const ScoredSamples& samples) {
  CheckSizes(samples);
  Totals totals;
  for (size_t i = 0; i < samples.scores.size(); ++i) {
    const double weight = WeightOf(samples, i);
    const double label = samples.labels[i];
    const double score = samples.scores[i];
    const double p = std::clamp(score, kProbabilityMargin, 1.0 - kProbabilityMargin);
    totals.weight += weight;
    totals.label += weight * label;
    totals.score += weight * score;
    totals.loss -= weight * (label * std::log(p) + (1.0 - label) * std::log1p(-p));
  }
  return totals;
}

double Ratio(double numerator, double denominator) {
  return denominator > 0.0 ? numerator / denominator : kUndefined;
}

double Discount(int64_t rank) {
  return 1.0 / std::log2(static_cast<double>(rank) + 2.0);
}

}  // namespace

double Auc(const ScoredSamples& samples) {
  CheckSizes(samples);
  std::vector<size_t> order(samples.scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  return AucOf(samples, order);
}

double GroupAuc(const ScoredSamples& samples, std::span<const uint64_t> groups) {
  CheckSizes(samples);
  PAGODA_CHECK(groups.size() == samples.scores.size());
  std::vector<size_t> order(groups.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return groups[a] < groups[b]; });
  double weighted_auc = 0.0, weights = 0.0;
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin;
    double weight = 0.0;
    for (; end < order.size() && groups[order[end]] == groups[order[begin]]; ++end) {
      weight += WeightOf(samples, order[end]);
    }
    const double auc = AucOf(samples, std::span(order).subspan(begin, end - begin));
    if (!std::isnan(auc)) {
      weighted_auc += weight * auc;
      weights += weight;
    }
    begin = end;
  }
  return Ratio(weighted_auc, weights);
}

double LogLoss(const ScoredSamples& samples) {
  const Totals totals = Sum(samples);
  return Ratio(totals.loss, totals.weight);
}

double NormalizedEntropy(const ScoredSamples& samples) {
  const Totals totals = Sum(samples);
  const double mean = Ratio(totals.label, totals.weight);
  if (!(mean > 0.0 && mean < 1.0)) return kUndefined;
  const double entropy = -(mean * std::log(mean) + (1.0 - mean) * std::log1p(-mean));
  return totals.loss / totals.weight / entropy;
}

double Calibration(const ScoredSamples& samples) {
  const Totals totals = Sum(samples);
  return Ratio(totals.score, totals.label);
}

double RecallAt(const RankedQuery& query, int64_t top_k) {
  const int64_t ranks = std::min<int64_t>(top_k, static_cast<int64_t>(query.hits.size()));
  double hits = 0.0;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    hits += query.hits[static_cast<size_t>(rank)] != 0 ? 1.0 : 0.0;
  }
  return Ratio(hits, static_cast<double>(query.num_relevant));
}

double NdcgAt(const RankedQuery& query, int64_t top_k) {
  const int64_t ranks = std::min<int64_t>(top_k, static_cast<int64_t>(query.hits.size()));
  double gain = 0.0, ideal = 0.0;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    if (query.hits[static_cast<size_t>(rank)] != 0) gain += Discount(rank);
  }
  for (int64_t rank = 0; rank < std::min(top_k, query.num_relevant); ++rank) {
    ideal += Discount(rank);
  }
  return Ratio(gain, ideal);
}

}  // namespace pagoda
