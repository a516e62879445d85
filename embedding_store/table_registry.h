// The list of a store's tables as a file: text, one value a line, with a version
// first and a checksum last (docs/formats.md has an example). It is written before
// the first row of a table can be, so a row always has its table.
//
// Threads: pure functions of the files they name.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "embedding_store/file_system.h"
#include "embedding_store/table_options.h"

namespace pagoda {

// Floats are written with nine digits, which is exact for f32.
std::string FormatTableRegistry(const std::vector<TableOptions>& tables);

// `source` names the file in errors.
//   DATA_LOSS            the checksum or a line is wrong (names the line)
//   FAILED_PRECONDITION  another format version
absl::StatusOr<std::vector<TableOptions>> ParseTableRegistry(absl::string_view text,
                                                             const std::string& source);

// Reading and replacing (atomically, synced) the file at `path`. Errors: as above,
// and those of FileSystem.
absl::StatusOr<std::vector<TableOptions>> ReadTableRegistry(FileSystem* file_system,
                                                            const std::string& path);
absl::Status WriteTableRegistry(FileSystem* file_system, const std::string& path,
                                const std::vector<TableOptions>& tables);

// Text files of this folder end in "checksum <16 hex digits>\n", the XXH3 of all
// bytes before that line.
std::string WithChecksumLine(std::string text);
// The text without that line.   DATA_LOSS  missing or wrong (names `source`)
absl::StatusOr<absl::string_view> StripChecksumLine(absl::string_view text,
                                                    const std::string& source);

}  // namespace pagoda
