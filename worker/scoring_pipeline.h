// The pull-ahead pipeline of everything that only reads: batches of a data set in
// file order, each run forward on the worker that owns it.
//
// Threads: one at a time.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "algorithms/nn/step.h"
#include "worker/batch_reader.h"
#include "worker/evaluation.h"

namespace pagoda {

struct ScoringOptions {
  ReaderOptions reader;  // rank, num_workers, epochs and shuffling are set here.
  int rank = 0;          // This worker scores batch i when i % num_workers == rank.
  int num_workers = 1;
  bool shows_targets = false;  // Target columns are kept from the model unless this is set.
};

// Called for each batch in order, with `step` null when another worker scores it.
using ScoringVisitor = std::function<absl::Status(const Batch& batch, ModelStep* step)>;

// Runs the model without training and without losses (labels are kept from it).
absl::Status RunScoring(const EvaluationContext& context, const ScoringOptions& options,
                        const ScoringVisitor& visit);

// Runs the model on one batch that is not from a file.
absl::Status ScoreOneBatch(const EvaluationContext& context, const FeatureSchema& schema,
                           Batch batch, const ScoringVisitor& visit);

}  // namespace pagoda
