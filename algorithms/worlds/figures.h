// Figures of a world (AUC of its oracles, rates), added up while its rows are written, in
// memory that does not grow with them.
//
//   UnitFigures unit;                       // One per piece of the world, on any thread
//   unit.Mean(kClickRate, click);
//   unit.Score(kOracleAuc, probability, click);
//   figures.Add(unit);                      // In the order of the pieces: the same bits always
//
// Threads: each object by one at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pagoda {

struct FigureName {
  enum Kind { kMean, kAuc };
  std::string name;
  Kind kind = kMean;
};

class UnitFigures {
 public:
  void Mean(int figure, double value) { means_.push_back({figure, value}); }
  // A score in [0, 1] for an AUC; scores that share one of 65536 bins count as ties.
  void Score(int figure, double score, bool label);

 private:
  friend class Figures;
  struct Value {
    int figure;
    double value;
  };
  struct Scored {
    int figure;
    uint32_t bin;
    bool label;
  };
  std::vector<Value> means_;
  std::vector<Scored> scores_;
};

class Figures {
 public:
  explicit Figures(std::vector<FigureName> names);

  void Add(const UnitFigures& unit);
  const std::vector<FigureName>& names() const { return names_; }
  // The mean, or the AUC; NaN when nothing was added, or only labels of one kind.
  double At(int figure) const;

 private:
  struct Sum {
    double sum = 0.0;
    int64_t count = 0;
    std::vector<int64_t> bins[2];  // [label][bin], of an AUC.
  };
  std::vector<FigureName> names_;
  std::vector<Sum> sums_;
};

// AUC of a few scores by comparing all pairs, ties counting half; NaN without both labels.
double PairwiseAuc(const std::vector<double>& scores, const std::vector<bool>& labels);

}  // namespace pagoda
