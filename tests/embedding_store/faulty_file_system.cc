#include "tests/embedding_store/faulty_file_system.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>
#include <utility>

#include "base/status_macros.h"

namespace pagoda {

class FaultyFileSystem::File final : public AppendFile {
 public:
  File(FaultyFileSystem* fs, std::string path, std::unique_ptr<AppendFile> real)
      : fs_(fs), path_(std::move(path)), real_(std::move(real)) {}

  absl::Status Append(std::span<const absl::string_view> pieces) override {
    PAGODA_RETURN_IF_ERROR(fs_->Count());
    std::lock_guard<std::mutex> lock(fs_->mutex_);
    for (absl::string_view piece : pieces) {
      absl::string_view allowed = piece;
      const bool full = fs_->space_ >= 0 && static_cast<int64_t>(piece.size()) > fs_->space_;
      if (full) allowed = piece.substr(0, static_cast<size_t>(fs_->space_));
      PAGODA_RETURN_IF_ERROR(real_->Append({&allowed, 1}));
      fs_->files_[path_].size += static_cast<int64_t>(allowed.size());
      if (fs_->space_ >= 0) fs_->space_ -= static_cast<int64_t>(allowed.size());
      if (full) return absl::ResourceExhaustedError("cannot write " + path_ + ": injected");
    }
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    int64_t covered = 0;
    {
      std::lock_guard<std::mutex> lock(fs_->mutex_);
      covered = fs_->files_[path_].size;
    }
    const int64_t microseconds = fs_->sync_microseconds_;
    if (microseconds > 0) std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
    PAGODA_RETURN_IF_ERROR(fs_->Count());
    ++fs_->syncs_;
    std::lock_guard<std::mutex> lock(fs_->mutex_);
    Tracked& tracked = fs_->files_[path_];
    tracked.synced = std::max(tracked.synced, std::min(covered, tracked.size));
    return absl::OkStatus();
  }

  absl::Status Truncate(int64_t size) override {
    PAGODA_RETURN_IF_ERROR(fs_->Count());
    std::lock_guard<std::mutex> lock(fs_->mutex_);
    if (fs_->fail_truncate_) return absl::UnavailableError("cannot truncate: injected");
    Tracked& tracked = fs_->files_[path_];
    tracked.size = size;
    tracked.synced = std::min(tracked.synced, size);
    return real_->Truncate(size);
  }

 private:
  FaultyFileSystem* const fs_;
  const std::string path_;
  const std::unique_ptr<AppendFile> real_;
};

void FaultyFileSystem::SetSpace(int64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  space_ = bytes;
}

void FaultyFileSystem::StopAfter(int64_t calls) {
  std::lock_guard<std::mutex> lock(mutex_);
  stop_after_ = calls;
  calls_ = 0;
}

absl::Status FaultyFileSystem::Count() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (stop_after_ >= 0 && calls_ >= stop_after_) {
    return absl::UnavailableError("injected: the process is dead");
  }
  ++calls_;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<AppendFile>> FaultyFileSystem::Create(const std::string& path) {
  PAGODA_RETURN_IF_ERROR(Count());
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<AppendFile> real, real_->Create(path));
  std::lock_guard<std::mutex> lock(mutex_);
  files_[path] = Tracked{};
  return std::unique_ptr<AppendFile>(new File(this, path, std::move(real)));
}

absl::StatusOr<std::unique_ptr<AppendFile>> FaultyFileSystem::OpenAppend(const std::string& path) {
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<ReadFile> file, real_->OpenRead(path));
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<AppendFile> real, real_->OpenAppend(path));
  std::lock_guard<std::mutex> lock(mutex_);
  files_.try_emplace(path, Tracked{file->size(), file->size(), true});
  return std::unique_ptr<AppendFile>(new File(this, path, std::move(real)));
}

absl::Status FaultyFileSystem::Rename(const std::string& from, const std::string& to) {
  PAGODA_RETURN_IF_ERROR(Count());
  std::lock_guard<std::mutex> lock(mutex_);
  Renamed renamed{from, to, false, ""};
  if (std::filesystem::is_regular_file(to)) {
    PAGODA_ASSIGN_OR_RETURN(renamed.old_content, real_->ReadAll(to));
    renamed.replaced = true;
  }
  PAGODA_RETURN_IF_ERROR(real_->Rename(from, to));
  renames_.push_back(std::move(renamed));
  MoveTracked(from, to);
  // What the rename makes durable or not is the name; bytes keep their state.
  const auto tracked = files_.find(to);
  if (tracked != files_.end()) tracked->second.entry_durable = true;
  new_directories_.erase(to);
  return absl::OkStatus();
}

void FaultyFileSystem::MoveTracked(const std::string& from, const std::string& to) {
  const auto moved = [&](const std::string& path) {
    return path == from || path.starts_with(from + "/") ? to + path.substr(from.size()) : path;
  };
  std::map<std::string, Tracked> files;
  for (const auto& [path, tracked] : files_) {
    if (path != to) files[moved(path)] = tracked;
  }
  files_ = std::move(files);
  std::set<std::string> directories;
  for (const std::string& path : new_directories_) directories.insert(moved(path));
  new_directories_ = std::move(directories);
}

absl::Status FaultyFileSystem::Link(const std::string& from, const std::string& to) {
  PAGODA_RETURN_IF_ERROR(Count());
  PAGODA_RETURN_IF_ERROR(real_->Link(from, to));
  std::lock_guard<std::mutex> lock(mutex_);
  const auto size = static_cast<int64_t>(std::filesystem::file_size(to));
  const auto source = files_.find(from);
  files_[to] = Tracked{size, source == files_.end() ? size : source->second.synced, false};
  return absl::OkStatus();
}

absl::Status FaultyFileSystem::Remove(const std::string& path) {
  PAGODA_RETURN_IF_ERROR(Count());
  std::lock_guard<std::mutex> lock(mutex_);
  files_.erase(path);
  return real_->Remove(path);
}

absl::Status FaultyFileSystem::CreateDirectory(const std::string& path) {
  PAGODA_RETURN_IF_ERROR(Count());
  std::lock_guard<std::mutex> lock(mutex_);
  for (std::string at = path; !std::filesystem::exists(at); at = ParentDirectory(at)) {
    new_directories_.insert(at);
  }
  return real_->CreateDirectory(path);
}

absl::Status FaultyFileSystem::RemoveDirectory(const std::string& path) {
  PAGODA_RETURN_IF_ERROR(Count());
  std::lock_guard<std::mutex> lock(mutex_);
  std::erase_if(files_, [&](const auto& file) { return file.first.starts_with(path + "/"); });
  std::erase_if(new_directories_, [&](const std::string& directory) {
    return directory == path || directory.starts_with(path + "/");
  });
  return real_->RemoveDirectory(path);
}

absl::Status FaultyFileSystem::SyncDirectory(const std::string& path) {
  PAGODA_RETURN_IF_ERROR(Count());
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto& [file, tracked] : files_) {
    if (ParentDirectory(file) == path) tracked.entry_durable = true;
  }
  std::erase_if(new_directories_, [&](const std::string& d) { return ParentDirectory(d) == path; });
  std::erase_if(renames_, [&](const Renamed& r) { return ParentDirectory(r.to) == path; });
  return absl::OkStatus();
}

void FaultyFileSystem::LosePower(uint64_t seed) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::mt19937_64 random(seed);
  std::error_code ignored;
  for (auto renamed = renames_.rbegin(); renamed != renames_.rend(); ++renamed) {
    std::filesystem::rename(renamed->to, renamed->from, ignored);
    MoveTracked(renamed->to, renamed->from);
    if (renamed->replaced) std::ofstream(renamed->to) << renamed->old_content;
  }
  renames_.clear();
  for (const auto& [path, tracked] : files_) {
    if (!std::filesystem::exists(path)) continue;
    if (!tracked.entry_durable) {
      std::filesystem::remove(path, ignored);
    } else if (tracked.synced < tracked.size) {
      const auto lost = static_cast<uint64_t>(tracked.size - tracked.synced);
      const uint64_t kept = seed == 0 ? 0 : random() % (lost + 1);
      std::filesystem::resize_file(path, static_cast<uintmax_t>(tracked.synced) + kept, ignored);
    }
  }
  for (const std::string& directory : new_directories_) {
    std::filesystem::remove_all(directory, ignored);
  }
  files_.clear();
  new_directories_.clear();
}

}  // namespace pagoda
