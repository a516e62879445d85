#include "algorithms/worlds/figures.h"

#include <catch2/catch.hpp>

#include <cmath>

#include "algorithms/worlds/draws.h"

namespace pagoda {
namespace {

TEST_CASE("the AUC of binned scores is that of all pairs") {
  Draws draws(RandomKey{3});
  std::vector<double> scores;
  std::vector<bool> labels;
  Figures figures({{"mean", FigureName::kMean}, {"auc", FigureName::kAuc}});
  for (int part = 0; part < 3; ++part) {
    UnitFigures unit;
    for (int i = 0; i < 100; ++i) {
      // In the middle of one of 32 bins, so that there are ties and no rounding.
      scores.push_back((static_cast<double>(draws.Below(32)) + 0.5) / 65536.0);
      labels.push_back(draws.Chance(0.3));
      unit.Score(1, scores.back(), labels.back());
      unit.Mean(0, scores.back());
    }
    figures.Add(unit);
  }
  CHECK(figures.At(1) == Approx(PairwiseAuc(scores, labels)).epsilon(1e-12));
  double sum = 0.0;
  for (const double score : scores) sum += score;
  CHECK(figures.At(0) == Approx(sum / 300).epsilon(1e-12));
}

TEST_CASE("figures without data are not numbers, and scores at the ends are taken") {
  Figures figures({{"mean", FigureName::kMean}, {"auc", FigureName::kAuc}});
  CHECK(std::isnan(figures.At(0)));
  CHECK(std::isnan(figures.At(1)));
  UnitFigures unit;
  unit.Score(1, 1.0, true);
  figures.Add(unit);
  CHECK(std::isnan(figures.At(1)));
  UnitFigures more;
  more.Score(1, 0.0, false);
  figures.Add(more);
  CHECK(figures.At(1) == 1.0);
}

TEST_CASE("the pairwise AUC of four scores, by hand") {
  CHECK(PairwiseAuc({0.1, 0.2, 0.2, 0.9}, {false, true, false, true}) == Approx(3.5 / 4));
  CHECK(std::isnan(PairwiseAuc({0.1}, {true})));
  CHECK(std::isnan(PairwiseAuc({}, {})));
}

}  // namespace
}  // namespace pagoda
