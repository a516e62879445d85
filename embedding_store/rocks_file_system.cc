#include "embedding_store/rocks_file_system.h"

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <string>
#include <utility>
#include <vector>

namespace pagoda {
namespace {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

IOStatus ToRocks(const absl::Status& status) {
  if (status.ok()) return IOStatus::OK();
  const std::string message(status.message());
  if (absl::IsResourceExhausted(status)) return IOStatus::NoSpace(message);
  if (absl::IsNotFound(status)) return IOStatus::PathNotFound(message);
  return IOStatus::IOError(message);
}

class RocksWritableFile final : public rocksdb::FSWritableFile {
 public:
  RocksWritableFile(std::unique_ptr<AppendFile> file, uint64_t size, const FileOptions& options)
      : rocksdb::FSWritableFile(options), file_(std::move(file)), size_(size) {}

  using rocksdb::FSWritableFile::Append;
  IOStatus Append(const rocksdb::Slice& data, const IOOptions&, IODebugContext*) override {
    const absl::string_view piece(data.data(), data.size());
    const absl::Status written = file_->Append({&piece, 1});
    if (written.ok()) size_ += data.size();
    return ToRocks(written);
  }
  IOStatus Truncate(uint64_t size, const IOOptions&, IODebugContext*) override {
    if (size == size_) return IOStatus::OK();
    const absl::Status cut = file_->Truncate(static_cast<int64_t>(size));
    if (cut.ok()) size_ = size;
    return ToRocks(cut);
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override {
    file_.reset();
    return IOStatus::OK();
  }
  IOStatus Flush(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Sync(const IOOptions&, IODebugContext*) override { return ToRocks(file_->Sync()); }
  uint64_t GetFileSize(const IOOptions&, IODebugContext*) override { return size_; }

 private:
  std::unique_ptr<AppendFile> file_;
  uint64_t size_;
};

class RocksDirectory final : public rocksdb::FSDirectory {
 public:
  RocksDirectory(FileSystem* file_system, std::string path)
      : fs_(file_system), path_(std::move(path)) {}
  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    return ToRocks(fs_->SyncDirectory(path_));
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  FileSystem* const fs_;
  const std::string path_;
};

class RocksFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  explicit RocksFileSystem(pagoda::FileSystem* file_system)
      : rocksdb::FileSystemWrapper(rocksdb::FileSystem::Default()), fs_(file_system) {}

  const char* Name() const override { return "pagoda.file_system"; }

  IOStatus NewWritableFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* file,
                           IODebugContext*) override {
    absl::StatusOr<bool> exists = fs_->Exists(path);
    if (!exists.ok()) return ToRocks(exists.status());
    if (*exists) {
      const absl::Status removed = fs_->Remove(path);
      if (!removed.ok()) return ToRocks(removed);
    }
    return Wrap(fs_->Create(path), 0, options, file);
  }

  IOStatus ReopenWritableFile(const std::string& path, const FileOptions& options,
                              std::unique_ptr<rocksdb::FSWritableFile>* file,
                              IODebugContext*) override {
    absl::StatusOr<bool> exists = fs_->Exists(path);
    if (!exists.ok()) return ToRocks(exists.status());
    if (!*exists) return Wrap(fs_->Create(path), 0, options, file);
    absl::StatusOr<std::unique_ptr<ReadFile>> old = fs_->OpenRead(path);
    if (!old.ok()) return ToRocks(old.status());
    return Wrap(fs_->OpenAppend(path), static_cast<uint64_t>((*old)->size()), options, file);
  }

  // Only asked for with options that the store does not set.
  IOStatus ReuseWritableFile(const std::string&, const std::string&, const FileOptions&,
                             std::unique_ptr<rocksdb::FSWritableFile>*, IODebugContext*) override {
    return IOStatus::NotSupported("log files are not reused");
  }
  IOStatus NewRandomRWFile(const std::string&, const FileOptions&,
                           std::unique_ptr<rocksdb::FSRandomRWFile>*, IODebugContext*) override {
    return IOStatus::NotSupported("files are not changed in place");
  }

  IOStatus NewDirectory(const std::string& path, const IOOptions&,
                        std::unique_ptr<rocksdb::FSDirectory>* directory,
                        IODebugContext*) override {
    absl::StatusOr<bool> exists = fs_->Exists(path);
    if (!exists.ok()) return ToRocks(exists.status());
    if (!*exists) return IOStatus::PathNotFound(path);
    *directory = std::make_unique<RocksDirectory>(fs_, path);
    return IOStatus::OK();
  }

  IOStatus DeleteFile(const std::string& path, const IOOptions&, IODebugContext*) override {
    return ToRocks(fs_->Remove(path));
  }
  IOStatus Truncate(const std::string& path, size_t size, const IOOptions&,
                    IODebugContext*) override {
    absl::StatusOr<std::unique_ptr<AppendFile>> file = fs_->OpenAppend(path);
    if (!file.ok()) return ToRocks(file.status());
    return ToRocks((*file)->Truncate(static_cast<int64_t>(size)));
  }
  IOStatus CreateDir(const std::string& path, const IOOptions&, IODebugContext*) override {
    absl::StatusOr<bool> exists = fs_->Exists(path);
    if (!exists.ok()) return ToRocks(exists.status());
    if (*exists) return IOStatus::IOError(path + " exists");
    return ToRocks(fs_->CreateDirectory(path));
  }
  IOStatus CreateDirIfMissing(const std::string& path, const IOOptions&, IODebugContext*) override {
    absl::StatusOr<bool> exists = fs_->Exists(path);
    if (exists.ok() && *exists) return IOStatus::OK();
    return ToRocks(fs_->CreateDirectory(path));
  }
  IOStatus DeleteDir(const std::string& path, const IOOptions&, IODebugContext*) override {
    absl::StatusOr<std::vector<std::string>> entries = fs_->List(path);
    if (!entries.ok()) return ToRocks(entries.status());
    if (!entries->empty()) return IOStatus::IOError(path + " is not empty");
    return ToRocks(fs_->RemoveDirectory(path));
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions&,
                      IODebugContext*) override {
    return ToRocks(fs_->Rename(from, to));
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions&,
                    IODebugContext*) override {
    return ToRocks(fs_->Link(from, to));
  }

 private:
  static IOStatus Wrap(absl::StatusOr<std::unique_ptr<AppendFile>> opened, uint64_t size,
                       const FileOptions& options, std::unique_ptr<rocksdb::FSWritableFile>* file) {
    if (!opened.ok()) return ToRocks(opened.status());
    *file = std::make_unique<RocksWritableFile>(*std::move(opened), size, options);
    return IOStatus::OK();
  }

  pagoda::FileSystem* const fs_;  // The base has a name of its own for its like.
};

}  // namespace

std::shared_ptr<rocksdb::Env> MakeRocksEnv(FileSystem* file_system) {
  return rocksdb::NewCompositeEnv(std::make_shared<RocksFileSystem>(file_system));
}

}  // namespace pagoda
