#include "tests/embedding_store/double_oracle.h"

#include <algorithm>
#include <cmath>

namespace pagoda {
namespace {

using Kind = SparseOptimizerKind;

std::vector<double> ClippedInDouble(const SparseOptimizerOptions& o, const std::vector<float>& g) {
  std::vector<double> clipped(g.begin(), g.end());
  double squares = 0;
  for (double& x : clipped) {
    if (o.clip_value > 0) x = std::max(-double{o.clip_value}, std::min(double{o.clip_value}, x));
    squares += x * x;
  }
  if (o.clip_norm > 0 && std::sqrt(squares) > o.clip_norm) {
    for (double& x : clipped) x *= o.clip_norm / std::sqrt(squares);
  }
  return clipped;
}

// The weights of an FTRL row from z and n.
void FtrlInDouble(const SparseOptimizerOptions& o, double rate, const std::vector<double>& s,
                  std::vector<double>& w) {
  const size_t dim = w.size();
  double squares = 0;
  for (size_t c = 0; c < dim; ++c) {
    w[c] = std::fabs(s[c]) <= o.ftrl_l1 ? 0 : s[c] - (s[c] < 0 ? -1 : 1) * double{o.ftrl_l1};
    squares += w[c] * w[c];
  }
  const double threshold = o.ftrl_l21 * std::sqrt(static_cast<double>(dim));
  const bool group = o.kind == Kind::kGroupFtrl;
  const double kept = !group                            ? 1
                      : std::sqrt(squares) <= threshold ? 0
                                                        : 1 - threshold / std::sqrt(squares);
  for (size_t c = 0; c < dim; ++c) {
    w[c] *= -kept / ((o.ftrl_beta + std::sqrt(s[dim + c])) / rate + o.ftrl_l2);
  }
}

}  // namespace

void StepInDouble(const SparseOptimizerOptions& o, double rate, const std::vector<float>& gradient,
                  Step step, std::vector<double>& w, std::vector<double>& s) {
  const size_t dim = w.size();
  std::vector<double> g = ClippedInDouble(o, gradient);
  double squares = 0;
  for (size_t c = 0; c < dim; ++c) {
    g[c] += double{o.l2} * w[c];
    squares += g[c] * g[c];
  }
  const double mean = squares / static_cast<double>(dim);
  const bool rowwise = o.kind == Kind::kRowwiseAdam;
  if (o.kind == Kind::kRowwiseAdagrad) s[0] += mean;
  if (rowwise) s[dim] = o.beta2 * s[dim] + (1 - double{o.beta2}) * mean;
  if (IsAdam(o.kind)) s.back() += 1;
  const auto periods = static_cast<double>(step / o.decay_steps);
  for (size_t c = 0; c < dim; ++c) {
    double update = 0;
    if (o.kind == Kind::kSgd) update = rate * g[c];
    if (o.kind == Kind::kMomentum) update = rate * (s[c] = o.momentum * s[c] + g[c]);
    if (o.kind == Kind::kRowwiseAdagrad) update = rate * g[c] / (std::sqrt(s[0]) + o.epsilon);
    if (o.kind == Kind::kAdagradDecay) {
      for (double p = s[dim]; p < periods; ++p) {
        s[c] = std::max(s[c] * double{o.accumulator_decay}, double{o.initial_accumulator});
      }
    }
    if (o.kind == Kind::kAdagrad || o.kind == Kind::kAdagradDecay) {
      s[c] += g[c] * g[c];
      update = rate * g[c] / (std::sqrt(s[c]) + o.epsilon);
    }
    if (IsAdam(o.kind)) {
      const double b1 = o.beta1;
      const double b2 = o.beta2;
      double& second = s[rowwise ? dim : dim + c];
      s[c] = b1 * s[c] + (1 - b1) * g[c];
      if (!rowwise) second = b2 * second + (1 - b2) * g[c] * g[c];
      const double m = s[c] / (1 - std::pow(b1, s.back()));
      const double v = second / (1 - std::pow(b2, s.back()));
      update = rate * m / (std::sqrt(v) + o.epsilon);
    }
    if (IsFtrl(o.kind)) {
      double& n = s[dim + c];
      const double sigma = (std::sqrt(n + g[c] * g[c]) - std::sqrt(n)) / rate;
      s[c] += g[c] - sigma * w[c];
      n += g[c] * g[c];
    }
    w[c] -= update + rate * o.weight_decay * w[c];
  }
  if (o.kind == Kind::kAdagradDecay) s[dim] = periods;
  if (IsFtrl(o.kind)) FtrlInDouble(o, rate, s, w);
}

}  // namespace pagoda
