// Adds up the gradients that several workers pushed for one table in one step:
//
//   merged.ids            the distinct ids of all contributions
//   merged.gradients[id]  the sum over contributions that have the id, in the
//                         order of the contributions (rank order)
//
// so that the optimizer takes one step per row, on the batch's gradient (DESIGN
// ruling 2). The order of additions, and so every bit, depends on the
// contributions alone: not on arrival, threads or shards. An id that only one
// contribution has keeps its gradient's bits.
//
// Cost: about two random accesses per contributed row; the rows are cut into
// fixed parts by hash, one thread each, without atomics.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/thread_pool.h"

namespace pagoda {

struct GradientRows {
  std::span<const FeatureId> ids;    // [n], distinct
  std::span<const float> gradients;  // [n, dim]
};

struct MergedGradients {
  std::vector<FeatureId> ids;    // Grouped by hash, then by first appearance.
  std::vector<float> gradients;  // [n, dim]
};

// REQUIRES: dim >= 1; every contribution's sizes agree; fewer than 2^32 rows in all.
MergedGradients MergeGradients(std::span<const GradientRows> contributions, int64_t dim,
                               ThreadPool* pool);

}  // namespace pagoda
