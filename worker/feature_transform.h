// From a row's cells to what a batch holds: ids, numbers, label, weight, group.
//
//   kCategorical  HashFeature(feature name, text); an empty cell is the text "", so
//                 "missing" is an id like any other. num_buckets > 0: id % num_buckets
//   kId           decimal digits; an empty cell has no id (an empty list)
//   kNumeric      number -> log -> standardise, computed in double; an empty cell reads
//                 as missing_value and then goes the same way
//   kBucketised   the same number -> how many boundaries are <= it: 0 .. n
//
// With a separator a cell holds several values: empty pieces are dropped, so an
// empty cell is an empty list. With `last` = L the last L of them stay, in order.
//
// A column that the data lacks altogether (slot -1) is not an empty cell: an id feature
// then has no ids, of whatever kind it is; a numeric one reads as missing_value.
//
// A feature of a join reads the join row of the sample's key. Its ids are in the batch
// once per distinct row; its numbers stand in Batch::dense for each sample. A key that the
// side files lack makes a bad row, or with allow_missing one whose joined columns are
// lacking.
//
// Targets are finite numbers; slices any text. When one of the target columns is lacking
// all are; likewise slices.
//
// Label: see FeatureSchema. An empty label is bad, except when labels are not
// needed; it then reads 0. A weight is a finite number >= 0.
//
// Threads: immutable after Create.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithms/nn/batch.h"
#include "algorithms/nn/feature_schema.h"
#include "worker/data_columns.h"
#include "worker/row_parser.h"

namespace pagoda {

class FeatureTransform {
 public:
  // `list_separator` stands in for FeatureSpec::separator of features whose column is
  // a list by itself (libsvm_format.h); '\0': none is.
  //   REQUIRES: the schema's joins are loaded (worker/side_files.h).
  //   INVALID_ARGUMENT  two features of one name, or a feature whose settings do not
  //                     fit its kind (names it)
  static absl::StatusOr<FeatureTransform> Create(const FeatureSchema& schema,
                                                 const ColumnSlots& slots, bool needs_labels,
                                                 char list_separator = '\0');

  // An empty batch with room for `size` rows.
  Batch NewBatch(int64_t size) const;

  // Appends one row. false: the row is bad, `error` says why, and the batch is as it
  // was.
  bool AppendRow(const RowCells& cells, const SampleOrigin& origin, Batch* batch,
                 RowError* error) const;

  // Call once, after the last row: gathers the join rows that the samples name.
  //   RESOURCE_EXHAUSTED  they hold 2^31 ids or more
  absl::Status Finish(Batch* batch) const;

 private:
  struct Feature {
    FeatureSpec spec;
    int slot = -1;
    std::string separator;   // Not empty: several values.
    int join = -1;           // Index into joins_.
    size_t join_column = 0;  // Among the join's sparse, or its numeric, features.
  };

  FeatureTransform() = default;
  absl::Status AddFeature(const FeatureSchema& schema, size_t index, const ColumnSlots& slots,
                          char list_separator);
  bool AppendFeatures(const RowCells& cells, Batch* batch, RowError* error) const;
  bool AppendJoins(const RowCells& cells, Batch* batch, RowError* error) const;
  bool AppendTargets(const RowCells& cells, Batch* batch, RowError* error) const;
  bool ReadNumeric(const Feature& feature, const RowCells& cells, const Batch& batch, float* value,
                   RowError* error) const;
  bool AppendIds(const Feature& feature, const RowCells& cells, RaggedIds* out,
                 RowError* error) const;
  bool ReadLabel(const RowCells& cells, float* label, RowError* error) const;
  bool ReadWeight(const RowCells& cells, float* weight, RowError* error) const;

  std::vector<Feature> features_;
  std::vector<JoinSpec> joins_;
  std::vector<size_t> join_sparse_, join_dense_;  // Per join: how many features of each sort.
  size_t num_sparse_ = 0, num_dense_ = 0;
  ColumnSlots slots_;
  bool needs_labels_ = true, label_may_lack_ = false;
  bool label_has_threshold_ = false;
  double label_threshold_ = 0.0;
  std::string label_name_, label_positive_, weight_name_, group_name_;
  std::vector<std::string> target_names_;
  bool has_targets_ = false, has_slices_ = false;  // All of their columns are there.
};

}  // namespace pagoda
