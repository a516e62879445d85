#include "embedding_store/missed_adam.h"

#include <algorithm>
#include <cmath>

namespace pagoda {
namespace {

constexpr double kNegligible = 1e-9;
// A stretch takes c from its first value down to 0.786 of it: 12 % on both sides of the
// centre.
constexpr double kLeastOfFirst = 0.786;
constexpr double kCenterOfFirst = 0.893;
constexpr double kSameMoments = 2e-7;

bool Same(const MissedAdam::Term& a, const MissedAdam::Term& b) {
  const float scale = std::fabs(b.moments[0]);
  if (!(std::fabs(a.center - b.center) <= kSameMoments * b.center)) return false;
  for (int p = 0; p < MissedAdam::kMoments; ++p) {
    if (!(std::fabs(a.moments[p] - b.moments[p]) <= kSameMoments * scale)) return false;
  }
  return true;
}

}  // namespace

MissedAdam::Size MissedAdam::SizeOf(float beta1, float beta2) {
  if (beta1 == 0.0f) return {};
  const double b1 = beta1;
  const double b2 = beta2;
  Size size;
  size.window =
      static_cast<int64_t>(std::ceil(std::log(kNegligible) / std::log(b1 / std::sqrt(b2))));
  // How far c falls: by beta2, and by the bias correction in a table's first steps.
  const auto window = static_cast<double>(size.window);
  const double falls = -0.5 * window * std::log(b2) + 0.5 * std::log(1.0 + window);
  size.terms = 1 + static_cast<int64_t>(falls / -std::log(kLeastOfFirst));
  return size;
}

MissedAdam::MissedAdam(float beta1, float beta2)
    : beta1_(beta1), beta2_(beta2), window_(SizeOf(beta1, beta2).window) {
  for (int64_t j = 0; j <= window_; ++j) {
    power1_.push_back(std::pow(beta1_, static_cast<double>(j)));
    root2_.push_back(std::pow(beta2_, 0.5 * static_cast<double>(j)));
  }
}

void MissedAdam::Advance(double learning_rate, double log_decay) {
  ++steps_;
  if (window_ == 0) return;
  open_.emplace_back();  // Rows touched in the step before.
  const auto t = static_cast<double>(steps_);
  const double scale = learning_rate / (1.0 - std::pow(beta1_, t));
  const double inverse_root = 1.0 / std::sqrt(1.0 - std::pow(beta2_, t));
  const auto count = static_cast<int64_t>(open_.size());
  for (int64_t j = 1; j <= count; ++j) {
    Open& open = open_[static_cast<size_t>(count - j)];
    open.log_decay += log_decay;
    const auto at = static_cast<size_t>(j);
    double a = scale * power1_[at];
    if (open.log_decay != 0.0) a *= std::exp(-open.log_decay);
    if (a > 0.0) Add(a, root2_[at] * inverse_root, &open);
  }
  if (count < window_) return;
  Close(open_.front());
  open_.pop_front();
}

void MissedAdam::Add(double a, double c, Open* open) {
  if (open->terms.empty() || c < open->least) {
    open->terms.push_back({static_cast<float>(kCenterOfFirst * c), {}});
    open->least = kLeastOfFirst * c;
    open->moments.fill(0.0);
  }
  Term& term = open->terms.back();
  const double center = term.center;
  const double apart = (c - center) / center;
  double summand = a;
  for (int p = 0; p < kMoments; ++p) {
    open->moments[p] += summand;
    term.moments[p] = static_cast<float>(open->moments[p]);
    summand *= apart;
  }
}

void MissedAdam::Close(const Open& open) {
  Place place;
  if (!closed_.empty()) place = closed_.back();
  const bool same = !closed_.empty() && place.count == open.terms.size() &&
                    std::equal(open.terms.begin(), open.terms.end(),
                               closed_terms_.begin() + static_cast<ptrdiff_t>(place.begin), Same);
  if (!same) {
    place = {closed_terms_.size(), static_cast<uint32_t>(open.terms.size())};
    closed_terms_.insert(closed_terms_.end(), open.terms.begin(), open.terms.end());
  }
  closed_.push_back(place);
}

std::span<const MissedAdam::Term> MissedAdam::Terms(Step last) const {
  if (window_ == 0) return {};
  const auto at = static_cast<size_t>(last);
  if (at >= closed_.size()) return open_[at - closed_.size()].terms;
  return {closed_terms_.data() + closed_[at].begin, closed_[at].count};
}

}  // namespace pagoda
