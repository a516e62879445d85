// The one way this folder touches files of its own (log, registry, manifests), so
// that a test can hand in a file system that is full, short, slow or forgetful.
// RocksDB's changes go through it too when one is given (rocks_file_system.h).
//
// Errors of every call, each naming the path and the cause in words:
//   RESOURCE_EXHAUSTED  no space or quota left, too many open files
//   NOT_FOUND           no such file or directory
//   ALREADY_EXISTS      it exists
//   PERMISSION_DENIED   the owner, the mode or a read-only mount forbids it
//   UNAVAILABLE         an I/O error, or anything else the system reports
//
// Threads: a FileSystem, any; one open file, one at a time, except that Sync may run
// beside Append: it covers what was appended before it was called.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pagoda {

// A file that grows at its end.
class AppendFile {
 public:
  virtual ~AppendFile() = default;  // Closes.

  // Appends all pieces in order; when it returns OK they are in the page cache
  // and outlive this process. After an error any prefix may have been written:
  // call Truncate.
  virtual absl::Status Append(std::span<const absl::string_view> pieces) = 0;
  virtual absl::Status Sync() = 0;  // Content and size outlive the machine.
  virtual absl::Status Truncate(int64_t size) = 0;
};

class ReadFile {
 public:
  virtual ~ReadFile() = default;
  virtual int64_t size() const = 0;  // When it was opened.
  // Reads up to `count` bytes at `offset`; fewer only at the end of the file.
  virtual absl::StatusOr<std::string> ReadAt(int64_t offset, int64_t count) = 0;
};

// Held until destroyed.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  static FileSystem* Real();  // The machine's; never null, lives for ever.

  // Creates a file that must not exist.
  virtual absl::StatusOr<std::unique_ptr<AppendFile>> Create(const std::string& path) = 0;
  // Opens a file that must exist, to cut or extend it.
  virtual absl::StatusOr<std::unique_ptr<AppendFile>> OpenAppend(const std::string& path) = 0;
  virtual absl::StatusOr<std::unique_ptr<ReadFile>> OpenRead(const std::string& path) = 0;

  // FAILED_PRECONDITION  another holder, in this process or another. An exclusive
  // lock creates the file; a shared one needs it to exist.
  virtual absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path,
                                                         bool exclusive) = 0;

  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Link(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Remove(const std::string& path) = 0;           // One file.
  virtual absl::Status CreateDirectory(const std::string& path) = 0;  // And its parents.
  virtual absl::Status RemoveDirectory(const std::string& path) = 0;  // And all in it.
  virtual absl::Status SyncDirectory(const std::string& path) = 0;    // Its entries.
  virtual absl::StatusOr<bool> Exists(const std::string& path) = 0;
  // Names of entries, sorted, without "." and "..".
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& path) = 0;

  // Built from the calls above.

  absl::StatusOr<std::string> ReadAll(const std::string& path);
  // Writes path.tmp, syncs it, renames it over `path` and syncs the directory: after
  // a crash `path` holds the old content or the new, never a mixture.
  absl::Status ReplaceFile(const std::string& path, absl::string_view content);
  absl::Status CopyFile(const std::string& from, const std::string& to);  // Synced.
  // Links, or copies where links are impossible (another file system).
  absl::Status LinkOrCopy(const std::string& from, const std::string& to);
  // XXH3 of the file's bytes.
  absl::StatusOr<uint64_t> FileChecksum(const std::string& path);
};

// The directory part of `path`: "." when it has none.
std::string ParentDirectory(const std::string& path);

}  // namespace pagoda
