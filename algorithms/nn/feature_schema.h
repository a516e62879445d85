// What the columns of a data set mean: the contract between the job file, the
// reader that makes batches, and the model that consumes them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace pagoda {

struct JoinedRows;

// How the raw text of one column becomes ids or numbers.
enum class FeatureKind {
  kCategorical,  // Text -> id by HashFeature(name, text).
  kId,           // Decimal unsigned integer -> id as it is.
  kNumeric,      // Text -> one float (transformed), in Batch::dense.
  kBucketised,   // Text -> number -> id of its bucket (boundaries below).
};

enum class Pooling { kSum, kMean, kSqrtN };

// A numeric transform is applied in this order: log, then standardise.
struct NumericTransform {
  bool log = false;            // x -> sign(x) * log(1 + |x|)
  double mean = 0.0;           // x -> (x - mean) / stddev
  double stddev = 1.0;         // > 0
  double missing_value = 0.0;  // An empty cell reads as this (before transforms).
};

struct FeatureSpec {
  std::string name;    // Unique in the schema; also the hash salt.
  std::string column;  // Column of the file; the name itself when empty.
  FeatureKind kind = FeatureKind::kCategorical;
  std::string table;  // Table that holds its rows; `name` when empty. Ids only.
  Pooling pooling = Pooling::kSum;
  std::string separator;           // Not empty: the cell holds several values.
  int64_t last = 0;                // > 0: keep the last `last` values, as a sequence.
  NumericTransform transform;      // kNumeric, and before bucketising.
  std::vector<double> boundaries;  // kBucketised: ascending; n + 1 buckets.
  int64_t num_buckets = 0;         // kCategorical: > 0 folds hashes into [0, n).
  bool optional = false;           // A data set without the column reads as absent cells.
  std::string join;                // Not empty: `column` is one of this JoinSpec's files.

  bool sparse() const { return kind != FeatureKind::kNumeric; }
  bool sequence() const { return last > 0; }
  const std::string& table_name() const { return table.empty() ? name : table; }
  const std::string& column_name() const { return column.empty() ? name : column; }
};

// A side file: one row per key, whose columns features read as if they stood in every
// sample with that key (FeatureSpec::join). A long sequence that many samples share is
// then kept once per batch.
struct JoinSpec {
  std::string name;
  std::string column = "";              // Key column of the samples; `name` when empty.
  std::string key = "";                 // Key column of the side files; `column` when empty.
  std::vector<std::string> files = {};  // Paths or globs, as DataOptions::files.
  std::string format = "csv";           // csv | tsv, with a header.
  // A sample whose key no side row has is a bad row; true: its joined cells are absent.
  bool allow_missing = false;
  int64_t memory_bytes_max = int64_t{2} << 30;  // Of the parsed rows.
  // The files' rows, once loaded (LoadJoins); readers load them for themselves otherwise.
  std::shared_ptr<const JoinedRows> rows = nullptr;

  const std::string& column_name() const { return column.empty() ? name : column; }
  const std::string& key_name() const { return key.empty() ? column_name() : key; }
};

// The label of a row that has none (Model::rows_without_label).
inline constexpr float kNoLabel = 2.0f;

struct FeatureSchema {
  std::vector<FeatureSpec> features;  // In job-file order.
  std::vector<JoinSpec> joins;        // In job-file order.
  std::string label;                  // Column of the label; empty for prediction only.
  // label = value >= threshold when set, else the cell must be 0 or 1 (or equal
  // to `label_positive`, when that is not empty, for 1, anything else 0).
  bool label_has_threshold = false;
  // The cell may be 2 as well, kNoLabel: the model takes rows without a label.
  bool label_may_lack = false;
  double label_threshold = 0.0;
  std::string label_positive;
  std::string weight;                // Column of the sample weight; empty: 1.
  std::string group;                 // Column that GAUC groups by; empty: none.
  std::vector<std::string> targets;  // Columns of further numbers: Batch::targets.
  std::vector<std::string> slices;   // Columns whose values metrics are parted by.

  // Positions in `features` of the sparse ones, in order: Batch::sparse[k] is
  // features[SparseFeatures()[k]]. Likewise the columns of Batch::dense.
  std::vector<int> SparseFeatures() const;
  std::vector<int> DenseFeatures() const;
  // Position in Batch::sparse / Batch::dense of a feature name, or -1.
  int SparseIndex(const std::string& name) const;
  int DenseIndex(const std::string& name) const;
  // Position in `targets` / `joins` of a name, or -1.
  int TargetIndex(const std::string& name) const;
  int JoinIndex(const std::string& name) const;
};

}  // namespace pagoda
