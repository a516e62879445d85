// The directory of a store, and which of its states is the live one.
//
//   path/LOCK            held (flock) while a store has it open
//   path/CURRENT         names the live state; replaced by rename, so a crash leaves
//                        the old state or the new
//   path/state-000001/   REGISTRY, rocksdb/, log/ (push log), flush/ (unfinished files)
//
// A state that CURRENT does not name is left over from a crash and is removed at
// the next opening, or moved to where Restore was asked to set it aside. A cut's
// directory holds a MANIFEST (shard_checkpoint.h) and is its own, only, state; it
// can be opened read-only.
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "embedding_store/file_system.h"

namespace pagoda {

class StoreDirectory {
 public:
  // Creates path and its first state when nothing is there.
  //   FAILED_PRECONDITION  in use; of another format version; holds other files; or
  //                        a cut opened to write
  //   NOT_FOUND            read_only, and there is no store
  //   DATA_LOSS            CURRENT is damaged, or names a state that is gone
  static absl::StatusOr<std::unique_ptr<StoreDirectory>> Open(FileSystem* file_system,
                                                              const std::string& path,
                                                              bool read_only);

  const std::string& path() const { return path_; }
  bool is_cut() const { return state_.empty(); }
  bool is_new() const { return is_new_; }  // The live state was created just now.

  std::string state_path() const;  // Of the live state; a cut's is the cut.
  std::string registry_path() const { return state_path() + "/REGISTRY"; }
  std::string rocksdb_path() const { return state_path() + "/rocksdb"; }
  std::string log_path() const { return state_path() + "/log"; }
  std::string flush_path() const { return state_path() + "/flush"; }

  // Creates the directory of a next state, to be filled by the caller.
  absl::StatusOr<std::string> PrepareState();
  // Makes the prepared state the live one. The old one moves to `set_aside` as a
  // store of its own, or is removed when that is empty. Close its files first.
  //   ALREADY_EXISTS  set_aside exists and is not empty
  // After an error the old state is still the live one.
  absl::Status CommitState(const std::string& set_aside);

 private:
  StoreDirectory(FileSystem* file_system, std::string path)
      : fs_(file_system), path_(std::move(path)) {}

  absl::Status OpenToRead();
  absl::Status OpenToWrite();
  absl::Status ReadCurrent();  // Into state_, old_state_, set_aside_.
  absl::Status WriteCurrent();
  absl::Status CreateFirstState(bool adopt);
  absl::Status CheckSetAside(const std::string& set_aside);
  // Moves old_state_ away as CURRENT asks, and removes states it does not name.
  // What fails is tried again at the next opening.
  void FinishCommit();
  absl::Status MoveOldState();

  FileSystem* const fs_;
  const std::string path_;
  bool is_new_ = false;
  std::string state_;      // Directory name of the live state.
  std::string prepared_;   // Of the next one.
  std::string old_state_;  // To be set aside, or empty.
  std::string set_aside_;
  std::unique_ptr<FileLock> lock_;
};

}  // namespace pagoda
