// One optimizer step for one embedding row: the formulas alone, so that whatever
// holds rows (the store, a device's row cache, a test) computes the same bits.
//
//   w [dim] weights, g [dim] gradient, slots as listed at each function.
//   lr = RowUpdateSettings::learning_rate. Before every formula the pushed gradient
//   is clipped (ClipRowGradient) and the coupled penalty added: g := g + l2 * w.
//   "w -= x" below stands for w -= x + decay * w: decoupled weight decay.
//
// Every function is pure, allocates nothing and never fails. Sums run in a fixed
// order that does not depend on the vector width, so that with contraction of
// a * b + c switched off (-ffp-contract=off, as here) every x86 instruction set
// gives the same bits. Threads: any, on distinct rows.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define PAGODA_ROW_UPDATE __host__ __device__ inline
#else
#define PAGODA_ROW_UPDATE inline __attribute__((always_inline))
#endif

namespace pagoda {

struct RowUpdateSettings {
  float learning_rate = 0.01f;  // Schedule's factor included; finite, >= 0.
  float decay = 0.0f;           // Decoupled: learning rate * weight decay.
  float epsilon = 1e-8f;        // Added outside the square root.
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float l2 = 0.0f;
  float ftrl_l1 = 0.0f;
  float ftrl_l2 = 0.0f;
  float ftrl_l21 = 0.0f;
  float ftrl_beta = 1.0f;
  float momentum = 0.9f;
  float accumulator_decay = 0.9f;  // AdagradDecay: the factor of one period, in (0, 1].
  float accumulator_floor = 0.0f;  // AdagradDecay: decay stops here.
  float periods = 0.0f;            // AdagradDecay: full periods since step 0.
  float clip_value = 0.0f;         // 0: off, as the next.
  float clip_norm = 0.0f;
};

// Sum over c of value(c)^2: eight partial sums, folded as a tree, an order that any
// vector width can follow.
template <typename Value>
PAGODA_ROW_UPDATE float RowSumOfSquares(int64_t dim, const Value& value) {
  constexpr int kLanes = 8;
  float lanes[kLanes] = {};
  int64_t c = 0;
  for (; c + kLanes <= dim; c += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float x = value(c + lane);
      lanes[lane] += x * x;
    }
  }
  for (int lane = 0; c < dim; ++c, ++lane) {
    const float x = value(c);
    lanes[lane] += x * x;
  }
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// clipped = g with each value limited to [-clip_value, clip_value], then scaled so that
// its L2 norm is at most clip_norm.
PAGODA_ROW_UPDATE void ClipRowGradient(const RowUpdateSettings& s, int64_t dim,
                                       const float* __restrict__ g, float* __restrict__ clipped) {
  const float limit = s.clip_value > 0.0f ? s.clip_value : INFINITY;
  for (int64_t c = 0; c < dim; ++c) {
    const float below = g[c] < limit ? g[c] : limit;
    clipped[c] = below > -limit ? below : -limit;
  }
  if (!(s.clip_norm > 0.0f)) return;
  const float norm = std::sqrt(RowSumOfSquares(dim, [&](int64_t c) { return clipped[c]; }));
  if (!(norm > s.clip_norm)) return;
  const float scale = s.clip_norm / norm;
  for (int64_t c = 0; c < dim; ++c) clipped[c] *= scale;
}

// w -= lr g. No slots.
PAGODA_ROW_UPDATE void UpdateRowSgd(const RowUpdateSettings& s, int64_t dim,
                                    const float* __restrict__ g, float* __restrict__ w) {
  for (int64_t c = 0; c < dim; ++c) {
    const float gradient = g[c] + s.l2 * w[c];
    w[c] -= s.learning_rate * gradient + s.decay * w[c];
  }
}

// v = momentum v + g; w -= lr v. Slots: v [dim]. (Polyak 1964, the heavy ball)
PAGODA_ROW_UPDATE void UpdateRowMomentum(const RowUpdateSettings& s, int64_t dim,
                                         const float* __restrict__ g, float* __restrict__ w,
                                         float* __restrict__ v) {
  for (int64_t c = 0; c < dim; ++c) {
    v[c] = s.momentum * v[c] + (g[c] + s.l2 * w[c]);
    w[c] -= s.learning_rate * v[c] + s.decay * w[c];
  }
}

// a += g^2; w -= lr g / (sqrt(a) + epsilon). Slots: a [dim]. (Duchi et al. 2011)
PAGODA_ROW_UPDATE void UpdateRowAdagrad(const RowUpdateSettings& s, int64_t dim,
                                        const float* __restrict__ g, float* __restrict__ w,
                                        float* __restrict__ a) {
  for (int64_t c = 0; c < dim; ++c) {
    const float gradient = g[c] + s.l2 * w[c];
    a[c] += gradient * gradient;
    w[c] -= s.learning_rate * gradient / (std::sqrt(a[c]) + s.epsilon) + s.decay * w[c];
  }
}

// The accumulators' part of AdagradDecay that rows without a gradient miss: for each
// period that ended since the row's last step, a = max(accumulator_decay a, floor).
// Slots: a [dim], p [1], the periods that are in a.
PAGODA_ROW_UPDATE void DecayRowAccumulators(const RowUpdateSettings& s, int64_t dim,
                                            float* __restrict__ slots) {
  float* __restrict__ a = slots;
  float& periods = slots[dim];
  const float missed = s.periods - periods;
  periods = s.periods;  // May fall: a later job that counts its steps from 1 again.
  if (!(missed > 0.0f)) return;
  const float kept = static_cast<float>(
      std::pow(static_cast<double>(s.accumulator_decay), static_cast<double>(missed)));
  for (int64_t c = 0; c < dim; ++c) {
    const float decayed = a[c] * kept;
    a[c] = decayed > s.accumulator_floor ? decayed : s.accumulator_floor;
  }
}

// DecayRowAccumulators, then Adagrad. After DeepRec's AdagradDecay optimizer, of which
// there is no paper. Reconstructed: all periods missed are made up for at once, so that
// a row ends as if it had been there at every step; the floor is initial_accumulator.
PAGODA_ROW_UPDATE void UpdateRowAdagradDecay(const RowUpdateSettings& s, int64_t dim,
                                             const float* __restrict__ g, float* __restrict__ w,
                                             float* __restrict__ slots) {
  DecayRowAccumulators(s, dim, slots);
  UpdateRowAdagrad(s, dim, g, w, slots);
}

// a += mean(g^2); w -= lr g / (sqrt(a) + epsilon). Slots: a [1].
PAGODA_ROW_UPDATE void UpdateRowRowwiseAdagrad(const RowUpdateSettings& s, int64_t dim,
                                               const float* __restrict__ g, float* __restrict__ w,
                                               float* __restrict__ a) {
  const float sum = RowSumOfSquares(dim, [&](int64_t c) { return g[c] + s.l2 * w[c]; });
  a[0] += sum / static_cast<float>(dim);
  const float scale = s.learning_rate / (std::sqrt(a[0]) + s.epsilon);
  for (int64_t c = 0; c < dim; ++c) {
    w[c] -= scale * (g[c] + s.l2 * w[c]) + s.decay * w[c];
  }
}

// What Adam's bias correction makes of one step.
struct AdamStep {
  float step_size;        // lr / (1 - beta1^t)
  float root_correction;  // sqrt(1 - beta2^t)
};

// t += 1 (`count` is t), then the corrections at t.
PAGODA_ROW_UPDATE AdamStep NextAdamStep(const RowUpdateSettings& s, float& count) {
  constexpr float kCountMax = 16777216.0f;  // 2^24: the last exact integer of a float.
  if (count < kCountMax) count += 1.0f;
  const double t = count;
  return {static_cast<float>(static_cast<double>(s.learning_rate) /
                             (1.0 - std::pow(static_cast<double>(s.beta1), t))),
          static_cast<float>(std::sqrt(1.0 - std::pow(static_cast<double>(s.beta2), t)))};
}

// t += 1; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
// w -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon).
// Slots: m [dim], v [dim], t [1], the row's own count of updates: a row that is
// rarely touched is corrected for its own few steps. (Kingma, Ba 2015; with weight
// decay it is AdamW: Loshchilov, Hutter 2019)
PAGODA_ROW_UPDATE void UpdateRowAdam(const RowUpdateSettings& s, int64_t dim,
                                     const float* __restrict__ g, float* __restrict__ w,
                                     float* __restrict__ slots) {
  float* __restrict__ m = slots;
  float* __restrict__ v = slots + dim;
  const AdamStep step = NextAdamStep(s, slots[2 * dim]);
  const float keep1 = 1.0f - s.beta1;
  const float keep2 = 1.0f - s.beta2;
  for (int64_t c = 0; c < dim; ++c) {
    const float gradient = g[c] + s.l2 * w[c];
    m[c] = s.beta1 * m[c] + keep1 * gradient;
    v[c] = s.beta2 * v[c] + keep2 * gradient * gradient;
    w[c] -= step.step_size * (m[c] / (std::sqrt(v[c]) / step.root_correction + s.epsilon)) +
            s.decay * w[c];
  }
}

// Adam with one second moment a row, v = beta2 v + (1 - beta2) mean(g^2).
// Slots: m [dim], v [1], t [1].
PAGODA_ROW_UPDATE void UpdateRowRowwiseAdam(const RowUpdateSettings& s, int64_t dim,
                                            const float* __restrict__ g, float* __restrict__ w,
                                            float* __restrict__ slots) {
  float* __restrict__ m = slots;
  float& v = slots[dim];
  const AdamStep step = NextAdamStep(s, slots[dim + 1]);
  const float keep1 = 1.0f - s.beta1;
  const float sum = RowSumOfSquares(dim, [&](int64_t c) { return g[c] + s.l2 * w[c]; });
  v = s.beta2 * v + (1.0f - s.beta2) * (sum / static_cast<float>(dim));
  const float scale = step.step_size / (std::sqrt(v) / step.root_correction + s.epsilon);
  for (int64_t c = 0; c < dim; ++c) {
    m[c] = s.beta1 * m[c] + keep1 * (g[c] + s.l2 * w[c]);
    w[c] -= scale * m[c] + s.decay * w[c];
  }
}

// FTRL-Proximal, per coordinate (McMahan et al. 2013, algorithm 1), alpha = lr:
//   sigma = (sqrt(n + g^2) - sqrt(n)) / alpha; z += g - sigma w; n += g^2
//   w = 0 when |z| <= l1, else -(z - sign(z) l1) / ((beta + sqrt(n)) / alpha + l2)
// Slots: z [dim], n [dim]. With lr = 0 (a warm-up's first step) nothing changes.
// Weights are a function of z and n, so a random initial weight fades at the first
// touch: start such tables at zero.
PAGODA_ROW_UPDATE void UpdateRowFtrl(const RowUpdateSettings& s, int64_t dim,
                                     const float* __restrict__ g, float* __restrict__ w,
                                     float* __restrict__ slots) {
  if (!(s.learning_rate > 0.0f)) return;
  float* __restrict__ z = slots;
  float* __restrict__ n = slots + dim;
  for (int64_t c = 0; c < dim; ++c) {
    const float gradient = g[c] + s.l2 * w[c];
    const float n_new = n[c] + gradient * gradient;
    const float root = std::sqrt(n_new);
    const float sigma = (root - std::sqrt(n[c])) / s.learning_rate;
    const float z_new = z[c] + (gradient - sigma * w[c]);
    z[c] = z_new;
    n[c] = n_new;
    const float shrunk = z_new - (z_new > 0.0f ? s.ftrl_l1 : -s.ftrl_l1);
    const float moved = -shrunk / ((s.ftrl_beta + root) / s.learning_rate + s.ftrl_l2);
    w[c] = std::fabs(z_new) <= s.ftrl_l1 ? 0.0f : moved;
  }
}

// The weights that FTRL's z and n stand for at this step's learning rate.
//   REQUIRES: learning_rate > 0.
PAGODA_ROW_UPDATE void FtrlWeights(const RowUpdateSettings& s, int64_t dim,
                                   const float* __restrict__ slots, float* __restrict__ w) {
  const float* __restrict__ z = slots;
  const float* __restrict__ n = slots + dim;
  for (int64_t c = 0; c < dim; ++c) {
    const float shrunk = z[c] - (z[c] > 0.0f ? s.ftrl_l1 : -s.ftrl_l1);
    const float moved = -shrunk / ((s.ftrl_beta + std::sqrt(n[c])) / s.learning_rate + s.ftrl_l2);
    w[c] = std::fabs(z[c]) <= s.ftrl_l1 ? 0.0f : moved;
  }
}

// The same with a penalty l21 sqrt(dim) |w|_2 on the row. With u = z shrunk by l1
// (0 where |z| <= l1) and k = l21 sqrt(dim):
//   w = 0 when |u|_2 <= k, else -(1 - k / |u|_2) u / ((beta + sqrt(n)) / alpha + l2)
PAGODA_ROW_UPDATE void GroupFtrlWeights(const RowUpdateSettings& s, int64_t dim,
                                        const float* __restrict__ slots, float* __restrict__ w) {
  const float* __restrict__ z = slots;
  const float* __restrict__ n = slots + dim;
  for (int64_t c = 0; c < dim; ++c) {
    const float shrunk = z[c] - (z[c] > 0.0f ? s.ftrl_l1 : -s.ftrl_l1);
    w[c] = std::fabs(z[c]) <= s.ftrl_l1 ? 0.0f : shrunk;
  }
  const float norm = std::sqrt(RowSumOfSquares(dim, [&](int64_t c) { return w[c]; }));
  const float threshold = s.ftrl_l21 * std::sqrt(static_cast<float>(dim));
  const float kept = norm > threshold ? 1.0f - threshold / norm : 0.0f;
  for (int64_t c = 0; c < dim; ++c) {
    const float root = (s.ftrl_beta + std::sqrt(n[c])) / s.learning_rate + s.ftrl_l2;
    w[c] = kept > 0.0f && w[c] != 0.0f ? -(kept * w[c]) / root : 0.0f;
  }
}

// FTRL with a group-lasso penalty: whole rows become zero. Slots as UpdateRowFtrl.
// (Ni et al. 2019, "Feature selection for Facebook feed ranking system via a
// group-sparsity-regularized training algorithm".) The test for a zero row is exact.
// Reconstructed: the shrinkage of rows that stay is the closed form for equal rates in
// all columns, used with each column's own rate.
PAGODA_ROW_UPDATE void UpdateRowGroupFtrl(const RowUpdateSettings& s, int64_t dim,
                                          const float* __restrict__ g, float* __restrict__ w,
                                          float* __restrict__ slots) {
  if (!(s.learning_rate > 0.0f)) return;
  float* __restrict__ z = slots;
  float* __restrict__ n = slots + dim;
  for (int64_t c = 0; c < dim; ++c) {
    const float gradient = g[c] + s.l2 * w[c];
    const float n_new = n[c] + gradient * gradient;
    const float sigma = (std::sqrt(n_new) - std::sqrt(n[c])) / s.learning_rate;
    z[c] += gradient - sigma * w[c];
    n[c] = n_new;
  }
  GroupFtrlWeights(s, dim, slots, w);
}

}  // namespace pagoda
