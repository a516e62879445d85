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

// Where a table's unique rows lie. The rows of all tables of one dimension are
// laid behind one another in one array, a row group, so that a lookup over many
// tables is one gather and its backward one segment sum.
struct RowGroup {
  int64_t dim = 0;
  int64_t num_rows = 0;     // Sum of the tables' unique ids.
  std::vector<int> tables;  // In declaration order.
};
struct RowRange {
  int group = 0;          // Index into PreparedBatch::row_groups.
  int64_t first_row = 0;  // The table's first row in its group.
};

// The occurrences of rows in one lookup. A segment is one (sample, feature)
// pair: segment = sample * num_features + k, with k the feature's position in
// the lookup. Rows count from first_row of the group.
struct LookupIndex {
  int group = 0;
  int64_t first_row = 0;         // The lookup's tables lie in rows
  int64_t num_rows = 0;          // [first_row, first_row + num_rows) of the group.
  int64_t num_features = 0;      // Of the lookup; 1 for a sequence.
  std::vector<int32_t> columns;  // [num_features] 0, 1, 2, ...
  std::vector<int32_t> pooling;  // [num_features] a Pooling value
  std::vector<int32_t> inverse;  // [nnz], in [0, num_rows)
  std::vector<int32_t> offsets;  // [size * num_features + 1] into inverse.
  // The transpose: row r occurs in segments
  // occurrence_segments[occurrence_offsets[r] .. occurrence_offsets[r + 1]),
  // ascending; in a sequence lookup these are positions in `inverse` instead.
  std::vector<int32_t> occurrence_offsets;   // [num_rows + 1]
  std::vector<int32_t> occurrence_segments;  // [nnz]
};

struct PreparedBatch {
  Batch batch;
  int64_t num_dense = 0;  // Columns of batch.dense.
  // Per table; distinct, in the order in which the table's features (in lookup
  // order), and within a feature its samples, first name them.
  std::vector<std::vector<FeatureId>> unique_ids;
  std::vector<RowGroup> row_groups;  // One per dimension, first-declared first.
  std::vector<RowRange> table_rows;  // Per table.
  std::vector<LookupIndex> lookups;  // Per Declaration::lookups.
};

// Finds unique ids per table and builds the lookup indices. Pure; any thread.
// Labels, weights, groups and origins may be empty instead of [size].
//   INVALID_ARGUMENT  the batch does not fit the schema or the declaration, or
//                     holds >= 2^31 values
absl::StatusOr<PreparedBatch> PrepareBatch(const FeatureSchema& schema,
                                           const Declaration& declaration, Batch batch);

}  // namespace pagoda
