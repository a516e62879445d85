// The rows of one or several cuts as one sequence in key order: what restoring to
// another number of shards and exporting a delta read.
//
// A cut numbers its tables by itself. Here they are matched by name, and a row's key
// has the number of tables(); rows come sorted by that key. Settings of tables that
// two cuts share must agree.
//
// Memory: about 10 MiB for each cut. Threads: one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "embedding_store/file_system.h"
#include "embedding_store/row_format.h"
#include "embedding_store/table_options.h"

namespace pagoda {

// Adds to `tables` what it lacks of `more`; the tables' indices, by their index in
// `more`.   FAILED_PRECONDITION  a table of both has different settings
absl::StatusOr<std::vector<uint32_t>> MergeTables(const std::vector<TableOptions>& more,
                                                  std::vector<TableOptions>* tables);

class CutRows {
 public:
  struct Options {
    FileSystem* file_system = nullptr;     // nullptr: the real one.
    std::vector<std::string> directories;  // One or more cuts of shards, in any order.
    std::vector<TableOptions> tables;      // These get the first indices.
    uint32_t bucket_begin = 0;             // Only rows of these buckets are seen.
    uint32_t bucket_end = kNumBuckets;
  };
  // Opens the cuts and stands on the first row. Manifests, lists of files and
  // everything but row files are checked; row files are checked block by block when
  // they are read.
  //   NOT_FOUND            a directory is not a cut (named)
  //   FAILED_PRECONDITION  cuts disagree about a table, or of another format version
  //   DATA_LOSS            a file is missing or damaged (named)
  static absl::StatusOr<std::unique_ptr<CutRows>> Open(const Options& options);
  virtual ~CutRows() = default;

  virtual const std::vector<TableOptions>& tables() const = 0;
  virtual uint64_t sequence() const = 0;  // The highest of the cuts'.

  // On a row; false behind the last.
  virtual bool valid() const = 0;
  virtual const RowKey& key() const = 0;        // REQUIRES: valid(), as the next.
  virtual absl::string_view value() const = 0;  // As stored (docs/formats.md); until a move.

  // To the next row, and to the first at or after `key`.
  //   FAILED_PRECONDITION  two cuts hold the same row (names it and them)
  //   DATA_LOSS            a block's checksum is wrong, or a row's table is not listed
  virtual absl::Status Next() = 0;
  virtual absl::Status Seek(const RowKey& key) = 0;
};

}  // namespace pagoda
