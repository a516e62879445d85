// From the job file's list of paths and globs to the list of files, in the order
// in which they are read.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pagoda {

// Expands `*`, `?` and `[...]`. Patterns keep their order; the files of one pattern
// are sorted by byte value, whatever the locale. A path that names an existing
// file is taken as it is, even when it holds such characters.
//   NOT_FOUND         a path does not exist, or a pattern matches nothing (named)
//   INVALID_ARGUMENT  `patterns` is empty, holds an empty string, or names one file
//                     twice (its rows would silently count double)
absl::StatusOr<std::vector<std::string>> ExpandFiles(const std::vector<std::string>& patterns);

}  // namespace pagoda
