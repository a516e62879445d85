// A file system that fails on request: full disks with short writes, a process that
// dies between two calls, and a machine that loses power and with it everything
// that was not synced. It passes on to the real one.
//
// A store that is given one hands it RocksDB's changes as well (rocks_file_system.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "embedding_store/file_system.h"

namespace pagoda {

class FaultyFileSystem final : public FileSystem {
 public:
  // Bytes that may still be written; the write that passes this is short and fails
  // with RESOURCE_EXHAUSTED. -1: no limit.
  void SetSpace(int64_t bytes);
  // Lets `calls` more changing calls through and fails all after them, which is what
  // the files see of a process that dies. -1: no limit.
  void StopAfter(int64_t calls);
  int64_t changing_calls() const { return calls_; }
  void FailTruncate(bool fail) { fail_truncate_ = fail; }
  // Every Sync takes so long; 0: as long as it takes to note it.
  void SlowSyncs(int64_t microseconds) { sync_microseconds_ = microseconds; }
  int64_t syncs() const { return syncs_; }
  // Undoes creations (of directories too), renames and bytes that were not made
  // durable by Sync and SyncDirectory. With a seed other than 0 any part of a file's
  // unsynced bytes is kept, as a disk may. REQUIRES: nobody writes meanwhile.
  void LosePower(uint64_t seed = 0);

  absl::StatusOr<std::unique_ptr<AppendFile>> Create(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<AppendFile>> OpenAppend(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<ReadFile>> OpenRead(const std::string& path) override {
    return real_->OpenRead(path);
  }
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path, bool exclusive) override {
    return real_->Lock(path, exclusive);
  }
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Link(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status CreateDirectory(const std::string& path) override;
  absl::Status RemoveDirectory(const std::string& path) override;
  absl::Status SyncDirectory(const std::string& path) override;
  absl::StatusOr<bool> Exists(const std::string& path) override { return real_->Exists(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override {
    return real_->List(path);
  }

 private:
  class File;
  struct Tracked {
    int64_t size = 0;
    int64_t synced = 0;
    bool entry_durable = false;
  };
  struct Renamed {
    std::string from, to;
    bool replaced = false;
    std::string old_content;
  };

  absl::Status Count();  // One changing call.
  // Notes that what was at or under `from` is at or under `to`. REQUIRES: mutex_ held.
  void MoveTracked(const std::string& from, const std::string& to);

  FileSystem* const real_ = FileSystem::Real();
  std::mutex mutex_;
  int64_t space_ = -1;
  int64_t stop_after_ = -1;
  int64_t calls_ = 0;
  std::atomic<int64_t> syncs_{0};
  std::atomic<int64_t> sync_microseconds_{0};
  bool fail_truncate_ = false;
  std::map<std::string, Tracked> files_;
  std::set<std::string> new_directories_;  // Not yet durable.
  std::vector<Renamed> renames_;           // Not yet durable, oldest first.
};

}  // namespace pagoda
