// Metrics of claim tests, in double, against labels or against the probability of a
// label (docs/claims.md).
//
//   positives [n]  in [0, 1]: a label, or the chance q that the label is 1. A sample
//                  then counts q as a positive and 1 - q as a negative, which is what
//                  labels drawn afresh from Bernoulli(q), independent of each other,
//                  give on average, in numerator and denominator alike.
//   scores    [n]  the higher, the likelier
//
// A metric that its samples do not define is NaN, never a made-up number. Sums run in
// an order that depends on the values alone, so equal inputs give equal bits.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <span>

namespace pagoda {

// REQUIRES, for every function: spans of one size.
struct ClaimSamples {
  std::span<const double> scores;
  std::span<const double> positives;
};

// The probability that a positive scores above a negative, ties counting one half:
//   sum over i != j of q_i (1 - q_j) ([s_i > s_j] + [s_i = s_j] / 2)
//   divided by the sum of q_i (1 - q_j) over i != j
// A sample is never its own negative. NaN when there are no such pairs, or when a score
// is NaN. O(n log n).
double ExpectedAuc(const ClaimSamples& samples);

// What a user's AUC counts in the mean over users (group_a 0.2: GAUC_avg, _show, _click).
enum class UserWeight { kOne, kImpressions, kClicks };

// sum_u w_u AUC_u / sum_u w_u over users whose AUC is defined; w_u is 1, the user's
// samples, or the sum of the user's q. NaN when there is none.
//   users [n]
double ExpectedGroupAuc(const ClaimSamples& samples, std::span<const uint64_t> users,
                        UserWeight weight);

// Mean of -(q log p + (1 - q) log(1 - p)), p kept within [2^-52, 1 - 2^-52].
double ExpectedLogLoss(const ClaimSamples& samples);

// Sum of p over sum of q: 1 is calibrated, above 1 predicts too much. NaN when no q > 0.
double CalibrationRatio(const ClaimSamples& samples);

// (sum w)^2 / sum w^2: how many equally weighted samples carry as much. NaN of no weight.
double EffectiveSampleSize(std::span<const double> weights);

double MeanOf(std::span<const double> values);  // NaN of nothing.
// Square root of the sum of squared deviations over n - 1; NaN of fewer than two.
double StandardDeviation(std::span<const double> values);

}  // namespace pagoda
