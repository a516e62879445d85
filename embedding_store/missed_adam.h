// What Adam's momentum does to a row while the row gets no gradient: the part of exact
// tables (row_catch_up.h) that has no closed form.
//
// A row last touched at step s, with moments m and v then, has at a later step t
//
//   w(t) = P(s, t) (w - m F),   F = sum over j = 1 .. t - s of a_j / (c_j sqrt(v) + epsilon)
//   a_j = lr(s+j) beta1^j / (1 - beta1^(s+j)) / P(s, s+j)
//   c_j = sqrt(beta2^j / (1 - beta2^(s+j)))
//
// with P(s, t) the product of (1 - lr weight_decay) over the steps s+1 .. t. F depends on
// the row by sqrt(v) alone. The steps are cut into stretches in which c_j stays within 12 %
// of a centre C; there, with d = 1 / (C sqrt(v) + epsilon) and y = C sqrt(v) d,
//
//   F = d (M0 - y M1 + y^2 M2 - ... - y^7 M7),   Mp = sum of a_j ((c_j - C) / C)^p
//
// which leaves out less than 5e-8 of F. The moments Mp of each s grow by one summand a
// step until beta1^j / beta2^(j/2) < 1e-9 and stay as they are from then on: a step costs
// O(window), and a row a few operations per column, however long it was away. With
// beta1 0.9 and beta2 0.999 the window is 198 steps, and after the first steps of a
// table one stretch holds it.
//
// Memory: 36 bytes per stretch for each step so far, unless they equal (to 2e-7) those of
// the step before, as they do while the learning rate stays; then 16 bytes.
//
// Threads: none of its own; Advance excludes all others.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "base/ids.h"

namespace pagoda {

class MissedAdam {
 public:
  static constexpr int kMoments = 8;
  // One stretch.
  struct Term {
    float center = 0.0f;
    std::array<float, kMoments> moments = {};
  };

  // After so many steps momentum counts no more. `terms`: stretches at most.
  struct Size {
    int64_t window = 0;
    int64_t terms = 0;
  };
  //   REQUIRES: 0 <= beta1, beta1^2 < beta2 < 1.
  static Size SizeOf(float beta1, float beta2);

  MissedAdam(float beta1, float beta2);

  // The next step. `log_decay`: log(1 - learning rate * weight decay), <= 0.
  void Advance(double learning_rate, double log_decay);

  // The stretches of the steps last + 1 .. now.   REQUIRES: 0 <= last < steps so far.
  std::span<const Term> Terms(Step last) const;

 private:
  // A start whose window is still open.
  struct Open {
    std::vector<Term> terms;  // The last one is being added to:
    double least = 0;         // it takes c_j from here up,
    std::array<double, kMoments> moments = {};
    double log_decay = 0;  // log P(s, now)
  };
  struct Place {
    uint64_t begin = 0;  // Into closed_terms_.
    uint32_t count = 0;
  };

  void Add(double a, double c, Open* open);
  void Close(const Open& open);

  const double beta1_, beta2_;
  const int64_t window_;
  std::vector<double> power1_, root2_;  // beta1^j, beta2^(j/2), j = 0 .. window.
  Step steps_ = 0;
  std::deque<Open> open_;  // Of the starts steps_ - open_.size() .. steps_ - 1.
  std::vector<Place> closed_;
  std::vector<Term> closed_terms_;
};

}  // namespace pagoda
