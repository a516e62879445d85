// Columns of the CSV files of a claim: truth beside the test rows, and scores, joined
// by row; and the curve of a training, from its log.
//
// Threads: immutable once read.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pagoda {

class ClaimTable {
 public:
  // Reads those of `columns` that the file's header has.
  //   what LineSource gives; INVALID_ARGUMENT  a row of another number of cells
  static absl::StatusOr<ClaimTable> Read(const std::string& path,
                                         const std::vector<std::string>& columns);

  size_t rows() const { return rows_; }
  bool Has(const std::string& column) const { return cells_.count(column) != 0; }

  // The cells of a column.   NOT_FOUND  names file, column and the nearest column
  absl::StatusOr<const std::vector<std::string>*> Texts(const std::string& column) const;
  // The same as numbers.   INVALID_ARGUMENT  names file, row, column and cell
  absl::StatusOr<std::vector<double>> Numbers(const std::string& column) const;

 private:
  std::string path_;
  size_t rows_ = 0;
  std::vector<std::string> header_;
  std::map<std::string, std::vector<std::string>> cells_;
};

struct CurvePoint {
  int64_t step = 0;
  double value = 0;
};

// The values that a training's log gives for `name` ("AUC", "log-loss", "calibration"),
// in order: those of the lines "evaluation at step N: NAME VALUE  NAME VALUE ...".
//   NOT_FOUND  the log cannot be read
absl::StatusOr<std::vector<CurvePoint>> ReadTrainingCurve(const std::string& log_path,
                                                          const std::string& name);

}  // namespace pagoda
