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

 private:
  struct Feature {
    FeatureSpec spec;
    int slot = -1;
    std::string separator;  // Not empty: several values.
  };

  FeatureTransform() = default;
  bool AppendFeatures(const RowCells& cells, Batch* batch, RowError* error) const;
  bool AppendIds(const Feature& feature, const RowCells& cells, RaggedIds* out,
                 RowError* error) const;
  bool ReadLabel(const RowCells& cells, float* label, RowError* error) const;
  bool ReadWeight(const RowCells& cells, float* weight, RowError* error) const;

  std::vector<Feature> features_;
  size_t num_sparse_ = 0, num_dense_ = 0;
  ColumnSlots slots_;
  bool needs_labels_ = true;
  bool label_has_threshold_ = false;
  double label_threshold_ = 0.0;
  std::string label_name_, label_positive_, weight_name_, group_name_;
};

}  // namespace pagoda
