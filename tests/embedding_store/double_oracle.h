// Optimizer steps in double, straight from the papers: what f32 rows are held against.
#pragma once

#include <vector>

#include "base/ids.h"
#include "embedding_store/table_options.h"

namespace pagoda {

// One step for one row: weights w [dim] and slots s [SlotDim], in the store's order.
//   rate      learning rate with the schedule's factor
//   gradient  [dim], before clipping
void StepInDouble(const SparseOptimizerOptions& options, double rate,
                  const std::vector<float>& gradient, Step step, std::vector<double>& w,
                  std::vector<double>& s);

}  // namespace pagoda
