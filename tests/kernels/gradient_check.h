// Comparison with an oracle in double that states its own error bounds, and
// gradients by central differences of such an oracle.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "tests/kernels/operator_harness.h"

namespace pagoda {

using Doubles = std::vector<double>;

// Requires |got[i] - want[i]| <= bound(i). NaN is never near.
template <typename Bound>
void RequireWithin(const std::vector<float>& got, const Doubles& want, const Bound& bound) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const double allowed = bound(i);
    if (!(std::fabs(static_cast<double>(got[i]) - want[i]) <= allowed)) {
      INFO("element " << i << ": " << got[i] << ", expected " << want[i] << " +- " << allowed);
      REQUIRE(false);
    }
  }
}

// Relative to each element, in units of float's rounding, with denormals let off.
inline void RequireUlps(const std::vector<float>& got, const Doubles& want, double ulps) {
  RequireWithin(got, want,
                [&](size_t i) { return ulps * 2.0 * kUnitRoundoff * std::fabs(want[i]) + 1e-40; });
}

// Requires that `gradient` is the slope of `loss` at x, by central differences.
// Their own error, h^2 / 6 times a third derivative, is below 1e-8 here; the rest
// of the tolerance is for the float gradient.
inline void RequireGradient(Doubles x, const std::vector<float>& gradient,
                            const std::function<double(const Doubles&)>& loss,
                            double tolerance = 2e-5) {
  constexpr double kStep = 1e-5;
  REQUIRE(x.size() == gradient.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double at = x[i];
    x[i] = at + kStep;
    const double high = loss(x);
    x[i] = at - kStep;
    const double slope = (high - loss(x)) / (2.0 * kStep);
    x[i] = at;
    const double error = std::fabs(slope - static_cast<double>(gradient[i]));
    if (!(error <= tolerance * std::max(1.0, std::fabs(slope)))) {
      INFO("element " << i << ": " << gradient[i] << ", slope " << slope);
      REQUIRE(false);
    }
  }
}

inline void Append(std::vector<float>* to, const std::vector<float>& more) {
  to->insert(to->end(), more.begin(), more.end());
}

// Elements [begin, begin + count).
inline std::vector<float> Slice(const std::vector<float>& x, int64_t begin, int64_t count) {
  return std::vector<float>(x.begin() + begin, x.begin() + begin + count);
}

}  // namespace pagoda
