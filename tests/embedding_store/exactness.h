// Exact tables against a dense optimizer: the same recorded gradients go to a store, where
// rows are touched at random, and to dense optimizers in double and in f32, which take
// every step on every row.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "embedding_store/table_options.h"

namespace pagoda {

struct ExactCase {
  std::string name;
  SparseOptimizerOptions optimizer;  // exact is set.
  bool schedule = false;             // Warm-up from 0, then a rate that changes each step.
};

// Every optimizer, with each of the decays it takes.
std::vector<ExactCase> ExactCases();

// Largest |w - w64| over the largest |w64|, over all reads.
struct ExactError {
  double store = 0;
  double dense = 0;  // Of the dense optimizer in f32.
};

// Rows with touch probabilities from 1e-3 to 1 a step, and one that is never touched, of
// `dim` columns; all are pulled every `read_every` steps. `path`: a directory for the store.
ExactError RunExactCase(const ExactCase& exact, const std::string& path, int64_t dim, int steps,
                        int read_every, uint64_t seed);

}  // namespace pagoda
