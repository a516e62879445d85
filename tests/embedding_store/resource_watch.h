// What a directory and this process take, now and at their peak.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

namespace pagoda {

// Bytes of the files below `path`, each once however many names it has: adding a file to
// RocksDB gives it a second name for a moment. 0 where there is nothing.
int64_t DirectoryBytes(const std::string& path);

// RssAnon + RssShmem of this process.
int64_t ResidentBytes();

// Looks every `period_ms` until it is destroyed, and keeps the most.
// Threads: any method, any thread.
class ResourceWatch {
 public:
  ResourceWatch(std::string path, int period_ms);
  ~ResourceWatch();
  ResourceWatch(const ResourceWatch&) = delete;
  ResourceWatch& operator=(const ResourceWatch&) = delete;

  int64_t resident() const;
  int64_t disk() const;
  // The directory's files at its peak: a line each, size and name, in order of names.
  std::string disk_listing() const;

 private:
  void Run();

  const std::string path_;
  const int period_ms_;
  mutable std::mutex mutex_;
  bool stop_ = false;
  int64_t resident_ = 0;
  int64_t disk_ = 0;
  std::string disk_listing_;
  std::thread thread_;
};

}  // namespace pagoda
