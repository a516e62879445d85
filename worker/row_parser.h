// From one line's text to the cells that the schema needs, without copying.
//
// One parser per format: delimited text (csv, tsv, criteo) here, libsvm and libffm
// in libsvm_format.h. Parsers know nothing of features; feature_transform.h turns
// cells into ids and numbers.
//
// Delimited text: cells between delimiters. With quotes (csv and tsv, not criteo)
// a cell that begins with '"' ends at the next '"' that is not doubled, and a
// doubled one stands for one (RFC 4180); a quote inside an unquoted cell is an
// ordinary character. A line end inside quotes is refused: a row is a line.
//
// Threads: parsers are immutable; a RowCells belongs to one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pagoda {

// The cells of one row. Slots are numbered by the caller of Create*Parser.
struct RowCells {
  std::vector<absl::string_view> text;  // [slots]; empty when the row has no such cell
  std::vector<int32_t> column;          // [slots] 1-based column, for messages; 0: none

  // Scratch of the parser: ends of cells, and texts that had to be rewritten.
  std::vector<uint32_t> ends;
  std::string rewritten;
};

// What is wrong with a row: "path:line:" is put before it by the caller.
struct RowError {
  int64_t column = 1;  // 1-based
  std::string message;
};

class RowParser {
 public:
  virtual ~RowParser() = default;

  // Fills `cells`; its texts live as long as `line` and until the next call. false: the
  // row is bad and `error` says why. Bytes of any kind are safe.
  virtual bool Parse(absl::string_view line, RowCells* cells, RowError* error) const = 0;
};

struct DelimitedOptions {
  char delimiter = ',';
  bool quotes = true;
  bool trim = false;    // Spaces and tabs around a cell are dropped.
  std::string missing;  // A cell with this text reads as empty; quoted ones, too.
};

// A parser of rows with exactly `num_columns` cells; slot s takes column
// slot_columns[s] (0-based), or is always empty when that is -1.
//   REQUIRES: slot_columns[s] < num_columns.
std::unique_ptr<RowParser> MakeDelimitedParser(const DelimitedOptions& options, int num_columns,
                                               std::vector<int> slot_columns);

// All the cells of one line, unquoted and trimmed; for headers.
//   INVALID_ARGUMENT  a quote that is not closed
absl::StatusOr<std::vector<std::string>> SplitCells(absl::string_view line,
                                                    const DelimitedOptions& options);

// `text` in quotes for a message: shortened, and with unprintable bytes escaped.
std::string Quoted(absl::string_view text);

}  // namespace pagoda
