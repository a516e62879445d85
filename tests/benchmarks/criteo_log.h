// A generated click log of the shape of the Criteo challenge's: 13 counters and 26
// categories whose numbers of distinct ids are in the proportions of the real log's
// (3 of the smallest, a quarter of all in the largest) and whose frequencies follow
// a Zipf law. Labels come from a planted logistic model, 1 in about 4 positive.
//
// A sample is a pure function of (options, its number): any part of the log can be
// made at any time, and two runs agree.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "algorithms/nn/batch.h"
#include "base/random.h"

namespace pagoda {

inline constexpr int64_t kLogCounters = 13;
inline constexpr int64_t kLogCategories = 26;

struct CriteoLogOptions {
  uint64_t seed = 1;
  int64_t num_ids = 10'000'000;  // Of all categories together, about.
  double zipf_exponent = 1.05;   // > 1
};

class CriteoLog {
 public:
  explicit CriteoLog(const CriteoLogOptions& options);

  struct Sample {
    std::array<int64_t, kLogCounters> counters;
    std::array<int64_t, kLogCategories> ids;  // In [0, num_ids()[category]).
    float label;
  };
  Sample Get(int64_t number) const;

  // Distinct ids of each category.
  const std::array<int64_t, kLogCategories>& num_ids() const { return num_ids_; }

  // Samples [first, first + size) as a reader would make them: single-valued ids as
  // they are, log(1 + counter), weights 1.
  Batch MakeBatch(int64_t first, int64_t size) const;
  // One line of the challenge's text format: label, counters, ids in hexadecimal.
  std::string TsvLine(int64_t number) const;

 private:
  int64_t DrawId(RandomKey key, int64_t category) const;

  CriteoLogOptions options_;
  std::array<int64_t, kLogCategories> num_ids_;
};

// "I1" .. "I13" numeric (log) and "C1" .. "C26", of kind `categories`.
FeatureSchema CriteoLogSchema(FeatureKind categories);

}  // namespace pagoda
