// One optimizer step for one embedding row: the formulas alone, so that whatever
// holds rows (the store, a device's row cache, a test) computes the same bits.
//
//   w [dim] weights, g [dim] gradient, slots as listed at each function.
//   lr = RowUpdateSettings::learning_rate. Before every formula the coupled
//   penalty is added: g := g + l2 * w.
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
  float epsilon = 1e-8f;        // Added outside the square root.
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float l2 = 0.0f;
  float ftrl_l1 = 0.0f;
  float ftrl_l2 = 0.0f;
  float ftrl_beta = 1.0f;
};

// w -= lr g. No slots.
PAGODA_ROW_UPDATE void UpdateRowSgd(const RowUpdateSettings& s, int64_t dim,
                                    const float* __restrict__ g, float* __restrict__ w) {
  for (int64_t c = 0; c < dim; ++c) {
    const float gradient = g[c] + s.l2 * w[c];
    w[c] -= s.learning_rate * gradient;
  }
}

// a += g^2; w -= lr g / (sqrt(a) + epsilon). Slots: a [dim]. (Duchi et al. 2011)
PAGODA_ROW_UPDATE void UpdateRowAdagrad(const RowUpdateSettings& s, int64_t dim,
                                        const float* __restrict__ g, float* __restrict__ w,
                                        float* __restrict__ a) {
  for (int64_t c = 0; c < dim; ++c) {
    const float gradient = g[c] + s.l2 * w[c];
    a[c] += gradient * gradient;
    w[c] -= s.learning_rate * gradient / (std::sqrt(a[c]) + s.epsilon);
  }
}

// a += mean(g^2); w -= lr g / (sqrt(a) + epsilon). Slots: a [1].
PAGODA_ROW_UPDATE void UpdateRowRowwiseAdagrad(const RowUpdateSettings& s, int64_t dim,
                                               const float* __restrict__ g, float* __restrict__ w,
                                               float* __restrict__ a) {
  // Eight partial sums, folded as a tree: an order any vector width can follow.
  constexpr int kLanes = 8;
  float lanes[kLanes] = {};
  int64_t c = 0;
  for (; c + kLanes <= dim; c += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float gradient = g[c + lane] + s.l2 * w[c + lane];
      lanes[lane] += gradient * gradient;
    }
  }
  for (int lane = 0; c < dim; ++c, ++lane) {
    const float gradient = g[c] + s.l2 * w[c];
    lanes[lane] += gradient * gradient;
  }
  const float sum = ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
                    ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
  a[0] += sum / static_cast<float>(dim);
  const float scale = s.learning_rate / (std::sqrt(a[0]) + s.epsilon);
  for (c = 0; c < dim; ++c) w[c] -= scale * (g[c] + s.l2 * w[c]);
}

// t += 1; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
// w -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon).
// Slots: m [dim], v [dim], t [1], the row's own count of updates: a row that is
// rarely touched is corrected for its own few steps. (Kingma, Ba 2015)
PAGODA_ROW_UPDATE void UpdateRowAdam(const RowUpdateSettings& s, int64_t dim,
                                     const float* __restrict__ g, float* __restrict__ w,
                                     float* __restrict__ slots) {
  constexpr float kCountMax = 16777216.0f;  // 2^24: the last exact integer of a float.
  float* __restrict__ m = slots;
  float* __restrict__ v = slots + dim;
  float& count = slots[2 * dim];
  if (count < kCountMax) count += 1.0f;
  const double t = count;
  const float step_size = static_cast<float>(static_cast<double>(s.learning_rate) /
                                             (1.0 - std::pow(static_cast<double>(s.beta1), t)));
  const float root_correction =
      static_cast<float>(std::sqrt(1.0 - std::pow(static_cast<double>(s.beta2), t)));
  const float keep1 = 1.0f - s.beta1;
  const float keep2 = 1.0f - s.beta2;
  for (int64_t c = 0; c < dim; ++c) {
    const float gradient = g[c] + s.l2 * w[c];
    m[c] = s.beta1 * m[c] + keep1 * gradient;
    v[c] = s.beta2 * v[c] + keep2 * gradient * gradient;
    w[c] -= step_size * (m[c] / (std::sqrt(v[c]) / root_correction + s.epsilon));
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

}  // namespace pagoda
