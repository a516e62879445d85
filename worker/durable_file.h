// Small files that survive power loss once written: whole-file write, fsync, and
// rename, with errors that name the path. For manifests and dense parameters; not
// for logs.
//
// Errors of every function: the file system's (RESOURCE_EXHAUSTED for a full disk,
// NOT_FOUND, PERMISSION_DENIED, ...), in one sentence with the path.
//
// Threads: any, on different paths.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pagoda {

// Creates or replaces `path` and syncs its bytes; its name is durable only after
// SyncDirectory of its folder.
absl::Status WriteFileDurably(const std::string& path, absl::string_view bytes);

// Makes creations, renames and removals in `directory` durable.
absl::Status SyncDirectory(const std::string& directory);

// Writes `path`.tmp durably, renames it to `path`, and syncs the folder: `path` is
// at every moment absent, old, or complete.
absl::Status ReplaceFileDurably(const std::string& path, absl::string_view bytes);

absl::StatusOr<std::string> ReadWholeFile(const std::string& path);

absl::Status MakeDirectories(const std::string& path);

}  // namespace pagoda
