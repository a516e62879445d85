// Exact metrics of scored samples, computed in double.
//
//   labels   positive when > 0.5; log-loss and calibration use the value itself
//   weights  empty: every sample counts 1; else >= 0, one per sample
//
// A metric that its samples do not define (AUC of one class, anything of no
// samples) is NaN, never a made-up number. Sums run in sample order (after a sort
// by score with ties in sample order), so equal inputs give equal bits.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <span>

namespace pagoda {

// REQUIRES, for every function: spans of one size, except that `weights` may be empty.
struct ScoredSamples {
  std::span<const float> scores;
  std::span<const float> labels;
  std::span<const float> weights;
};

// The probability that a positive scores above a negative, ties counting one half:
//   sum over (positive i, negative j) of w_i w_j ([s_i > s_j] + [s_i = s_j] / 2)
//   divided by the sum of w_i w_j. NaN when either class has no weight, or when
// a score is NaN.
double Auc(const ScoredSamples& samples);

// Mean over groups of the group's AUC, weighted by the group's total sample weight
// ("impressions"). Groups of one class are left out; NaN when none remains.
//   groups [n]
double GroupAuc(const ScoredSamples& samples, std::span<const uint64_t> groups);

// Weighted mean of -(y log p + (1 - y) log(1 - p)), scores being probabilities.
// p is kept within [2^-52, 1 - 2^-52], as scikit-learn does for float64.
double LogLoss(const ScoredSamples& samples);

// LogLoss divided by the entropy of the label's mean (He et al. 2014): 1 is no
// better than predicting the mean for everyone. NaN for one class.
double NormalizedEntropy(const ScoredSamples& samples);

// Sum of scores over sum of labels: 1 is calibrated, above 1 predicts too much.
double Calibration(const ScoredSamples& samples);

// One query of a full ranking. `hits[k]` says whether rank k (0 = best) is relevant;
// only the first `top_k` are looked at.
struct RankedQuery {
  std::span<const uint8_t> hits;
  int64_t num_relevant = 0;  // Relevant items in the corpus, ranked or not.
};

// Hits in the first top_k over num_relevant; NaN without relevant items.
double RecallAt(const RankedQuery& query, int64_t top_k);

// sum over hits of 1 / log2(rank + 2), over the same sum of the ideal ranking (the
// first min(top_k, num_relevant) ranks all hits); NaN without relevant items.
double NdcgAt(const RankedQuery& query, int64_t top_k);

}  // namespace pagoda
