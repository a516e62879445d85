// Exports what changed between two cuts: the feed for whoever serves the rows.
//
// Both cuts are walked in key order side by side (cut_rows.h), whatever number of shards
// each has; a row is written when its stored bytes differ (weights, slots, step or
// sequence) or when only one side has it. Files that both cuts share by hard link are
// read all the same: a newer run may hide any of their rows, so that leaving one
// out is right only when nothing else on either side covers its keys, which for
// rows spread by a hash is hardly ever so.
//
// Threads: one at a time per directory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "embedding_store/delta_file.h"
#include "embedding_store/file_system.h"

namespace pagoda {

struct DeltaExport {
  std::vector<std::string> since;  // Cut directories of the older state's shards.
  std::vector<std::string> cut;    // Of the newer state's.
  std::string directory;           // Created when missing.
  // A file is closed at the first row that passes this; it is held in memory until then.
  int64_t file_bytes_max = int64_t{64} << 20;
  FileSystem* file_system = nullptr;  // nullptr: the real one.
};

struct DeltaOutcome {
  DeltaManifest manifest;
  size_t files_found = 0;  // Left by an export that was interrupted, and kept.
};

// Writes the delta. An export that was interrupted goes on behind the last file that
// it had completed; a complete one is checked and left as it is.
//   NOT_FOUND            one of the cuts does not exist (named)
//   FAILED_PRECONDITION  the directory has files of another delta; cuts disagree about a table
//   INVALID_ARGUMENT     file_bytes_max < 1
//   DATA_LOSS            a cut's or a delta's file is damaged (named)
//   RESOURCE_EXHAUSTED   no disk space; call again to go on
absl::StatusOr<DeltaOutcome> ExportDelta(const DeltaExport& options);

}  // namespace pagoda
