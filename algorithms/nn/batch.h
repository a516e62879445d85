// One batch of samples, on the host, as the reader made it; and the same batch
// prepared for a model: unique ids per table and the indices that operators need.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "algorithms/nn/declaration.h"
#include "algorithms/nn/feature_schema.h"
#include "base/ids.h"

namespace pagoda {

// Values of one feature: row i has ids[offsets[i] .. offsets[i + 1]). Rows are samples,
// or those of a join.
struct RaggedIds {
  std::vector<FeatureId> ids;
  std::vector<int32_t> offsets = {0};  // [rows + 1]
  int join = -1;                       // Index into Batch::joins; -1: rows are samples.
};

// The distinct rows of a side file that a batch's samples name, in the order in which
// they first do.
struct BatchJoin {
  int64_t num_rows = 0;
  std::vector<int32_t> sample_row;  // [size], in [0, num_rows)
};

// Where a sample came from, to name it in an error.
struct SampleOrigin {
  int32_t file = 0;  // Index into Batch::files.
  int64_t line = 0;  // 1-based, the header counted.
};

struct Batch {
  int64_t size = 0;                   // Samples; 0 is legal (a worker without data).
  uint64_t first_sample = 0;          // Global index of the first sample (keys dropout).
  uint64_t global_first_sample = 0;   // Of the whole global batch: the same on all workers.
  std::vector<RaggedIds> sparse;      // One per sparse feature, schema order.
  std::vector<BatchJoin> joins;       // One per FeatureSchema::joins.
  std::vector<float> dense;           // [size, num_dense], row-major.
  std::vector<float> labels;          // [size], 0 or 1 (or a value, for regression).
  std::vector<float> weights;         // [size]
  std::vector<float> targets;         // [size, num_targets], or empty: the set has none.
  std::vector<uint64_t> groups;       // [size] hash of the group field, or empty.
  std::vector<std::string> slices;    // [size, num_slices] texts, or empty.
  std::vector<SampleOrigin> origins;  // [size]
  std::shared_ptr<const std::vector<std::string>> files;  // Names for origins.

  // All samples of the global batch, where these are a worker's part of it and the reader was
  // asked for all (ReaderOptions::whole_batches); null: these are all that is known of it.
  std::shared_ptr<const Batch> whole;
  int64_t first_of_whole = 0;  // Where in `whole` sample 0 is.
  const Batch& Whole() const { return whole == nullptr ? *this : *whole; }

  // The ids of sparse feature `feature` in a sample, be they its own or its join row's.
  absl::Span<const FeatureId> IdsOf(int feature, int64_t sample) const;
  // "ratings.csv:17-4112": the samples' files and lines, for error messages.
  std::string OriginRange() const;
};

// A batch without samples that fits the schema.
Batch EmptyBatch(const FeatureSchema& schema);

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
// the lookup; in a sequence lookup of a joined feature it is a row of the join instead,
// and in one of negatives their count, of a sample or of all. Rows count from first_row
// of the group.
struct LookupIndex {
  int group = 0;
  int64_t first_row = 0;         // The lookup's tables lie in rows
  int64_t num_rows = 0;          // [first_row, first_row + num_rows) of the group.
  int64_t num_features = 0;      // Of the lookup; 1 for a sequence.
  std::vector<int32_t> columns;  // [num_features] 0, 1, 2, ...
  std::vector<int32_t> pooling;  // [num_features] a Pooling value
  std::vector<int32_t> inverse;  // [nnz], in [0, num_rows)
  std::vector<int32_t> offsets;  // [segments + 1] into inverse.
  // The transpose: row r occurs in segments
  // occurrence_segments[occurrence_offsets[r] .. occurrence_offsets[r + 1]),
  // ascending; in a sequence lookup these are positions in `inverse` instead.
  std::vector<int32_t> occurrence_offsets;   // [num_rows + 1]
  std::vector<int32_t> occurrence_segments;  // [nnz]
};

// Drawn negatives, in the order of their lookup's rows.
struct DrawnNegatives {
  std::vector<FeatureId> ids;        // kBatch: [count]; kSample: [size * count], sample by sample.
  std::vector<float> log_q;          // Of ids: ItemCatalogue::LogQ; 0 where chosen.
  std::vector<int32_t> places = {};  // Of ids in Batch::Whole(), where chosen.
};

struct PreparedBatch {
  Batch batch;
  int64_t num_dense = 0;    // Columns of batch.dense.
  int64_t num_targets = 0;  // Columns of batch.targets.
  // Per table; distinct, in the order in which the table's features (in lookup
  // order), and within a feature its samples, first name them.
  std::vector<std::vector<FeatureId>> unique_ids;
  std::vector<RowGroup> row_groups;       // One per dimension, first-declared first.
  std::vector<RowRange> table_rows;       // Per table.
  std::vector<LookupIndex> lookups;       // Per Declaration::lookups.
  std::vector<DrawnNegatives> negatives;  // Per Declaration::negatives.
};

// Whether a batch is for training: then negatives are drawn; else there are none.
enum class BatchUse { kTrain, kScore };

// Draws negatives, finds unique ids per table and builds the lookup indices. Pure; any
// thread. Labels, weights, targets, groups, slices and origins may be empty.
//
// Negatives are a function of NegativesDecl::key and, batch scope, of the batch's
// global_first_sample, or, sample scope, of the sample's global index: any layout draws
// the same. A batch without samples has none. NegativesDecl::choose is called here.
//   INVALID_ARGUMENT     the batch does not fit the schema or the declaration, or
//                        holds >= 2^31 values; or a place was chosen that is not there
//   FAILED_PRECONDITION  negatives are to be drawn from a catalogue that was not loaded
absl::StatusOr<PreparedBatch> PrepareBatch(const FeatureSchema& schema,
                                           const Declaration& declaration, Batch batch,
                                           BatchUse use = BatchUse::kTrain);

}  // namespace pagoda
