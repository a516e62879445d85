// Loads the side files of a schema's joins (JoinSpec).
//
// Threads: pure but for reading files.
#pragma once

#include "absl/status/status.h"
#include "algorithms/nn/feature_schema.h"

namespace pagoda {

// Reads the files of every join whose `rows` are not there yet, so that all who get a
// copy of the schema share them.
//   NOT_FOUND           a file is missing (named)
//   INVALID_ARGUMENT    a feature names no join of the schema; two joins have one name; a
//                       join without files or features; the key's column or a feature's
//                       is absent; a bad row; a key that two rows have (file:line)
//   RESOURCE_EXHAUSTED  the rows need more than memory_bytes_max
absl::Status LoadJoins(FeatureSchema* schema);

}  // namespace pagoda
