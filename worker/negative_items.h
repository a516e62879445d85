// Loads the catalogues that a model's negatives are drawn from.
//
// Threads: pure but for reading files.
#pragma once

#include "absl/status/status.h"
#include "algorithms/nn/declaration.h"
#include "worker/trainer_options.h"

namespace pagoda {

// Gives every NegativesDecl the key of its draws and, unless the model chooses, its catalogue.
// Items are in the order in which [data.items] first names them; popularity counts the first
// stage's data. Every worker reads all of both, so that all draw alike.
//   INVALID_ARGUMENT  no [data.items] where ids are not given by num_items; no item in it;
//                     popularity of a feature of a join
//   the reader's errors: the feature's column is absent, a bad row
absl::Status LoadNegatives(const TrainerOptions& options, Declaration* declaration);

}  // namespace pagoda
