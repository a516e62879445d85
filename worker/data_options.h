// Where samples come from and in which order, as the job file's [data] section
// says. One section for training data, one for each evaluation set.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pagoda {

struct DataOptions {
  std::vector<std::string> files;    // Paths or globs; .gz and .zst are decompressed.
  std::string format = "csv";        // csv | tsv | criteo | libsvm | libffm
  bool header = true;                // csv, tsv: the first line of each file names the columns.
  std::vector<std::string> columns;  // Names when header is false (or instead of it).
  std::string delimiter;             // One byte; empty: ',' for csv, tab for tsv.
  std::string missing;               // A cell with this text is empty ("?" in Adult).
  bool trim = false;                 // Blanks around cells are dropped.
  int64_t skip_lines = 0;            // At the start of each file, before the header.

  int64_t shuffle_rows = 0;  // Window of the shuffle; 0: file order.
  uint64_t seed = 1;         // Of the shuffle.
  // "rows": every worker reads everything and takes its slice of each global batch
  // (exactly the one-worker batches, split). "files": worker r reads files r,
  // r + N, ... alone.
  std::string sharding = "rows";

  std::string on_bad_row = "fail";  // fail | skip
  int64_t bad_rows_max = 1000;      // skip: more than this many is an error.

  // Keeps only the rows whose position hash falls in [begin, end) of [0, 1): a fixed
  // random split of one file (0.0, 0.9 / 0.9, 1.0 with one split_seed).
  double split_begin = 0.0;
  double split_end = 1.0;
  uint64_t split_seed = 7;
};

}  // namespace pagoda
