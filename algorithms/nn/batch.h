// One batch of samples, on the host, as the reader made it; and the same batch
// prepared for a model: unique ids per table and the indices that operators need.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithms/nn/declaration.h"
#include "algorithms/nn/feature_schema.h"
#include "base/ids.h"

namespace pagoda {

// Values of one feature: sample i has ids[offsets[i] .. offsets[i + 1]).
struct RaggedIds {
  std::vector<FeatureId> ids;
  std::vector<int32_t> offsets = {0};  // [size + 1]
};

// Where a sample came from, to name it in an error.
struct SampleOrigin {
  int32_t file = 0;  // Index into Batch::files.
  int64_t line = 0;  // 1-based, the header counted.
};

struct Batch {
  int64_t size = 0;                   // Samples; 0 is legal (a worker without data).
  uint64_t first_sample = 0;          // Global index of the first sample (keys dropout).
  std::vector<RaggedIds> sparse;      // One per sparse feature, schema order.
  std::vector<float> dense;           // [size, num_dense], row-major.
  std::vector<float> labels;          // [size], 0 or 1 (or a value, for regression).
  std::vector<float> weights;         // [size]
  std::vector<uint64_t> groups;       // [size] hash of the group field, or empty.
  std::vector<SampleOrigin> origins;  // [size]
  std::shared_ptr<const std::vector<std::string>> files;  // Names for origins.

  // "ratings.csv:17-4112": the samples' files and lines, for error messages.
  std::string OriginRange() const;
};

// The occurrences of one table's rows in one lookup. A segment is one (sample,
// feature) pair: segment = sample * num_features + k, with k the position of
// the feature among the lookup's features *of this table*.
struct LookupIndex {
  int table = 0;                 // Index into Declaration::tables.
  int64_t num_features = 0;      // Features of this table in this lookup.
  std::vector<int32_t> columns;  // [num_features] position within the lookup.
  std::vector<int32_t> inverse;  // [nnz] row among the table's unique ids.
  std::vector<int32_t> offsets;  // [size * num_features + 1] into inverse.
  // The transpose: unique row u occurs in segments
  // occurrence_segments[occurrence_offsets[u] .. occurrence_offsets[u + 1]),
  // ascending; in a sequence lookup these are positions in `inverse` instead.
  std::vector<int32_t> occurrence_offsets;   // [num_unique + 1]
  std::vector<int32_t> occurrence_segments;  // [nnz]
};

struct PreparedBatch {
  Batch batch;
  std::vector<std::vector<FeatureId>> unique_ids;  // Per table; distinct, first-seen order.
  std::vector<std::vector<LookupIndex>> lookups;   // Per Declaration::lookups, one per table.
};

// Finds unique ids per table and builds the lookup indices. Pure; any thread.
//   INVALID_ARGUMENT  the batch does not fit the schema, or holds >= 2^31 values
absl::StatusOr<PreparedBatch> PrepareBatch(const FeatureSchema& schema,
                                           const Declaration& declaration, Batch batch);

}  // namespace pagoda
