// A BatchReader over batches that are already parsed, so that a benchmark times
// training and not text. One worker.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithms/nn/batch.h"
#include "worker/batch_reader.h"

namespace pagoda {

using BatchList = std::shared_ptr<const std::vector<Batch>>;

// Passes options.epochs times over `batches`, a copy of each; the job's data options
// (files, shuffle, split) are not looked at.
//   UNIMPLEMENTED  several workers, or a start in the middle
OpenReaderFn ReadFromMemory(BatchList batches);

// The batches of a log written by generate_criteo, at most `count` of them.
//   INVALID_ARGUMENT  the directory holds less than one batch, or shapes disagree
//   ReadNpy's errors
absl::StatusOr<BatchList> LoadCriteoBatches(const std::string& directory, int64_t batch_size,
                                            int64_t count);

}  // namespace pagoda
