#include "algorithms/worlds/figures.h"

#include <algorithm>
#include <limits>

namespace pagoda {
namespace {

constexpr int kBins = 65536;

}  // namespace

void UnitFigures::Score(int figure, double score, bool label) {
  const double bin = std::clamp(score * kBins, 0.0, kBins - 1.0);
  scores_.push_back({figure, static_cast<uint32_t>(bin), label});
}

Figures::Figures(std::vector<FigureName> names) : names_(std::move(names)), sums_(names_.size()) {
  for (size_t i = 0; i < names_.size(); ++i) {
    if (names_[i].kind != FigureName::kAuc) continue;
    for (std::vector<int64_t>& bins : sums_[i].bins) bins.assign(kBins, 0);
  }
}

void Figures::Add(const UnitFigures& unit) {
  for (const UnitFigures::Value& value : unit.means_) {
    sums_[static_cast<size_t>(value.figure)].sum += value.value;
    ++sums_[static_cast<size_t>(value.figure)].count;
  }
  for (const UnitFigures::Scored& scored : unit.scores_) {
    ++sums_[static_cast<size_t>(scored.figure)].bins[scored.label ? 1 : 0][scored.bin];
  }
}

double Figures::At(int figure) const {
  const Sum& sum = sums_[static_cast<size_t>(figure)];
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  if (names_[static_cast<size_t>(figure)].kind == FigureName::kMean) {
    return sum.count == 0 ? kNone : sum.sum / static_cast<double>(sum.count);
  }
  double won = 0.0;
  double negatives = 0.0;
  double positives = 0.0;
  for (size_t bin = 0; bin < kBins; ++bin) {
    const double here[2] = {static_cast<double>(sum.bins[0][bin]),
                            static_cast<double>(sum.bins[1][bin])};
    won += here[1] * (negatives + 0.5 * here[0]);
    negatives += here[0];
    positives += here[1];
  }
  return negatives * positives == 0.0 ? kNone : won / (negatives * positives);
}

double PairwiseAuc(const std::vector<double>& scores, const std::vector<bool>& labels) {
  double won = 0.0;
  double pairs = 0.0;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!labels[i]) continue;
    for (size_t j = 0; j < scores.size(); ++j) {
      if (labels[j]) continue;
      pairs += 1.0;
      won += scores[i] > scores[j] ? 1.0 : (scores[i] == scores[j] ? 0.5 : 0.0);
    }
  }
  return pairs == 0.0 ? std::numeric_limits<double>::quiet_NaN() : won / pairs;
}

}  // namespace pagoda
