// The files of a delta: the rows that differ between two cuts, in key order
// (docs/formats.md has the bytes and a worked example).
//
//   directory/delta-000001, ...   rows; complete or absent, each with its own checksum
//   directory/REGISTRY            the tables that the rows' indices mean
//   directory/MANIFEST            text: which cuts, every file; written last
//
// Threads: one at a time per directory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/ids.h"
#include "embedding_store/file_system.h"
#include "embedding_store/table_options.h"

namespace pagoda {

// Which two states of the rows: XXH3 over the sorted checksums of the shards' cuts.
struct DeltaEnds {
  uint64_t since = 0;
  uint64_t cut = 0;
  bool operator==(const DeltaEnds&) const = default;
};

struct DeltaRow {
  uint32_t table = 0;
  FeatureId id = 0;
  bool deleted = false;
  absl::string_view value;  // As stored in a cut; empty when deleted.
};
using VisitDeltaRow = std::function<absl::Status(const DeltaRow&)>;

// One file's bytes, from the first to the end mark.
class DeltaFileBuilder {
 public:
  DeltaFileBuilder(const DeltaEnds& ends, uint32_t number);
  void Add(const DeltaRow& row);
  int64_t bytes() const { return static_cast<int64_t>(bytes_.size()); }
  uint64_t rows() const { return rows_; }
  std::string Finish(bool last);  // `last`: no file follows. Call once.

 private:
  std::string bytes_;
  uint64_t rows_ = 0;
};

struct DeltaFileInfo {
  DeltaEnds ends;
  uint32_t number = 0;  // From 1.
  uint64_t rows = 0;
  bool last = false;
};
// Checks the whole file before the first visit. `source` names it in errors.
//   DATA_LOSS            short, altered, or no such file at all
//   FAILED_PRECONDITION  another format version
//   what `visit` returns
absl::StatusOr<DeltaFileInfo> ReadDeltaFile(absl::string_view bytes, const std::string& source,
                                            const VisitDeltaRow& visit);

struct DeltaManifest {
  DeltaEnds ends;
  uint64_t stored = 0;   // Rows new or changed.
  uint64_t deleted = 0;  // Rows of the older cut only.
  struct File {
    int64_t bytes = 0;
    uint64_t checksum = 0;  // XXH3 of all its bytes.
  };
  std::vector<File> files;  // delta-000001 first.
};

std::string DeltaFileName(uint32_t number);
std::string FormatDeltaManifest(const DeltaManifest& manifest);
absl::StatusOr<DeltaManifest> ParseDeltaManifest(absl::string_view text, const std::string& source);

// Reads a complete delta: every file is checked before its rows are visited, in order.
//   NOT_FOUND            no MANIFEST: not a (complete) delta
//   DATA_LOSS            a file is missing or altered (named)
//   FAILED_PRECONDITION  another format version
struct Delta {
  DeltaManifest manifest;
  std::vector<TableOptions> tables;
};
absl::StatusOr<Delta> ReadDelta(FileSystem* file_system, const std::string& directory,
                                const VisitDeltaRow& visit);

}  // namespace pagoda
