// Joins the schema to the columns of the data: which cells of a row are needed, and
// where each feature, the label, the weight and the group find theirs.
//
// Threads: pure functions (they read the beginnings of files).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithms/nn/feature_schema.h"
#include "worker/data_options.h"
#include "worker/line_source.h"
#include "worker/row_parser.h"

namespace pagoda {

// Slots of RowCells; -1: the data has no such column (see Requirements).
struct ColumnSlots {
  std::vector<int> feature;  // One per FeatureSchema::features; -1 for those of a join.
  int label = -1;
  int weight = -1;
  int group = -1;
  std::vector<int> target;  // One per FeatureSchema::targets.
  std::vector<int> slice;   // One per FeatureSchema::slices.
  std::vector<int> join;    // One per FeatureSchema::joins: the key.
};

// What may be absent from the data.
struct ColumnRequirements {
  // false: label, weight, group, target and slice columns may be absent.
  bool needs_labels = true;
  // true: columns of features, and keys of joins, may be absent, too.
  bool absent_columns_empty = false;
};

struct DataColumns {
  std::unique_ptr<RowParser> parser;
  ColumnSlots slots;
};

// How `data` ends lines and what it skips at the start of a file.
LineOptions LineOptionsOf(const DataOptions& data);

// Reads the header of every file and checks that the columns of the schema exist.
//   INVALID_ARGUMENT  the format is unknown; columns are neither declared nor in a
//                     header; a column appears twice, or has no name; the header of
//                     a file differs from the first file's; a column that the schema
//                     names is absent (names the nearest); a delimiter that is not
//                     one byte; a list column without lists
//   and what InputFile::Open and Read return
absl::StatusOr<DataColumns> BindColumns(const DataOptions& data,
                                        const std::vector<std::string>& files,
                                        const FeatureSchema& schema,
                                        const ColumnRequirements& requirements);

// The names of the columns of delimited data (csv, tsv, criteo).
//   errors as above
absl::StatusOr<std::vector<std::string>> ReadColumnNames(const DataOptions& data,
                                                         const std::vector<std::string>& files,
                                                         bool needs_labels);

}  // namespace pagoda
