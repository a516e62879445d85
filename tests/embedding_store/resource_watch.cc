#include "tests/embedding_store/resource_watch.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <utility>

namespace pagoda {
namespace {

namespace stdfs = std::filesystem;

// By inode: one of the file's names, and its size.
using Files = std::map<ino_t, std::pair<std::string, int64_t>>;

Files FilesUnder(const std::string& path) {
  Files files;
  std::error_code gone;
  for (auto entry = stdfs::recursive_directory_iterator(path, gone);
       !gone && entry != stdfs::recursive_directory_iterator(); entry.increment(gone)) {
    struct stat found {};
    if (::lstat(entry->path().c_str(), &found) != 0 || !S_ISREG(found.st_mode)) continue;
    files[found.st_ino] = {entry->path().lexically_relative(path), found.st_size};
  }
  return files;
}

int64_t Sum(const Files& files) {
  int64_t bytes = 0;
  for (const auto& [inode, file] : files) bytes += file.second;
  return bytes;
}

std::string Listing(const Files& files) {
  std::map<std::string, int64_t> by_name;
  for (const auto& [inode, file] : files) by_name.insert(file);
  std::string text;
  for (const auto& [name, bytes] : by_name) text += std::to_string(bytes) + " " + name + "\n";
  return text;
}

}  // namespace

int64_t DirectoryBytes(const std::string& path) {
  return Sum(FilesUnder(path));
}

int64_t ResidentBytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  int64_t bytes = 0;
  int64_t kilobytes = 0;
  while (status >> word) {
    if ((word == "RssAnon:" || word == "RssShmem:") && status >> kilobytes) {
      bytes += kilobytes << 10;
    }
  }
  return bytes;
}

ResourceWatch::ResourceWatch(std::string path, int period_ms)
    : path_(std::move(path)), period_ms_(period_ms), thread_([this] { Run(); }) {}

ResourceWatch::~ResourceWatch() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  thread_.join();
}

int64_t ResourceWatch::resident() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return resident_;
}

int64_t ResourceWatch::disk() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return disk_;
}

std::string ResourceWatch::disk_listing() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return disk_listing_;
}

void ResourceWatch::Run() {
  for (;;) {
    const int64_t resident = ResidentBytes();
    const Files files = FilesUnder(path_);
    const int64_t disk = Sum(files);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      resident_ = std::max(resident_, resident);
      if (disk > disk_) {
        disk_ = disk;
        disk_listing_ = Listing(files);
      }
      if (stop_) return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(period_ms_));
  }
}

}  // namespace pagoda
