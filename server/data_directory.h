// The directory of one parameter server:
//
//   <root>/SHARD             which shard of how many: "pagoda shard 1 of 4"
//   <root>/store/            the embedding store
//   <root>/cuts/<cut>/       complete cuts; each has a SHARD file of its own
//   <root>/set_aside/<name>/ what a rewind kept of the newer state
//
// Directories whose name starts with a dot are unfinished or being deleted, and
// are swept when the server starts.
//
// Threads: methods that change one name must not run at once; the owner sees to it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "embedding_store/file_system.h"

namespace pagoda {

struct ShardPlace {
  uint32_t shard = 0;
  uint32_t num_shards = 1;
  bool operator==(const ShardPlace&) const = default;
};

class DataDirectory {
 public:
  // Creates the root and sweeps leftovers, unless `read_only`.
  //   FAILED_PRECONDITION  read_only, and it is not a directory
  //   errors of FileSystem  it cannot be created or swept
  static absl::StatusOr<DataDirectory> Open(const std::string& root, bool read_only,
                                            FileSystem* file_system = FileSystem::Real());

  // A cut's name is also a directory's: 1 to 128 of [A-Za-z0-9._-], no dot in front.
  //   INVALID_ARGUMENT  otherwise
  static absl::Status CheckName(const std::string& name);

  std::string StorePath() const;
  std::string CutPath(const std::string& cut) const;
  std::string SetAsidePath(const std::string& name) const;

  // The recorded place; nothing when none is recorded yet.   DATA_LOSS  unreadable
  absl::StatusOr<std::optional<ShardPlace>> ReadShardPlace() const;
  absl::Status WriteShardPlace(const ShardPlace& place) const;
  // The same of a cut.
  absl::StatusOr<std::optional<ShardPlace>> ReadCutPlace(const std::string& cut) const;

  // Calls fill(directory) with a path that does not exist, and gives what it made
  // the name `cut` at once; a former cut of that name is replaced.
  absl::Status MakeCut(const std::string& cut,
                       const std::function<absl::Status(const std::string&)>& fill) const;
  // OK also when there is none.
  absl::Status DropCut(const std::string& cut) const;

 private:
  DataDirectory(std::string root, FileSystem* file_system)
      : root_(std::move(root)), fs_(file_system) {}

  std::string root_;
  FileSystem* fs_;
};

}  // namespace pagoda
