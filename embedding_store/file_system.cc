#include "embedding_store/file_system.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr int64_t kCopyBytes = int64_t{1} << 20;
// Small enough that the bytes stay in the processor's cache from reading to hashing.
constexpr int64_t kChecksumBytes = int64_t{1} << 17;

absl::Status ErrnoStatus(int error, absl::string_view action, absl::string_view path) {
  const std::string message =
      absl::StrCat("cannot ", action, " ", path, ": ", std::strerror(error));
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM: return absl::ResourceExhaustedError(message);
    case ENOENT:
    case ENOTDIR: return absl::NotFoundError(message);
    case EEXIST:
    case ENOTEMPTY: return absl::AlreadyExistsError(message);
    case EACCES:
    case EPERM:
    case EROFS: return absl::PermissionDeniedError(message);
    default: return absl::UnavailableError(message);
  }
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

class PosixAppendFile final : public AppendFile {
 public:
  PosixAppendFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  absl::Status Append(std::span<const absl::string_view> pieces) override {
    std::vector<iovec> parts;
    parts.reserve(pieces.size());
    for (absl::string_view piece : pieces) {
      if (!piece.empty()) parts.push_back({const_cast<char*>(piece.data()), piece.size()});
    }
    size_t next = 0;
    while (next < parts.size()) {
      const int count = static_cast<int>(std::min<size_t>(parts.size() - next, IOV_MAX));
      ssize_t written = ::writev(fd_.get(), parts.data() + next, count);
      if (written < 0) {
        if (errno == EINTR) continue;
        return ErrnoStatus(errno, "write", path_);
      }
      while (next < parts.size() && static_cast<size_t>(written) >= parts[next].iov_len) {
        written -= static_cast<ssize_t>(parts[next++].iov_len);
      }
      if (written > 0) {
        parts[next].iov_base = static_cast<char*>(parts[next].iov_base) + written;
        parts[next].iov_len -= static_cast<size_t>(written);
      }
    }
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    return ::fdatasync(fd_.get()) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "sync", path_);
  }

  absl::Status Truncate(int64_t size) override {
    return ::ftruncate(fd_.get(), size) == 0 ? absl::OkStatus()
                                             : ErrnoStatus(errno, "truncate", path_);
  }

 private:
  Descriptor fd_;
  std::string path_;
};

class PosixReadFile final : public ReadFile {
 public:
  PosixReadFile(int fd, std::string path, int64_t size)
      : fd_(fd), path_(std::move(path)), size_(size) {}

  int64_t size() const override { return size_; }

  absl::StatusOr<std::string> ReadAt(int64_t offset, int64_t count) override {
    std::string bytes(static_cast<size_t>(std::max<int64_t>(count, 0)), '\0');
    size_t have = 0;
    while (have < bytes.size()) {
      const ssize_t got = ::pread(fd_.get(), bytes.data() + have, bytes.size() - have,
                                  offset + static_cast<int64_t>(have));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return ErrnoStatus(errno, "read", path_);
      if (got == 0) break;
      have += static_cast<size_t>(got);
    }
    bytes.resize(have);
    return bytes;
  }

 private:
  Descriptor fd_;
  std::string path_;
  int64_t size_;
};

class PosixFileLock final : public FileLock {
 public:
  explicit PosixFileLock(int fd) : fd_(fd) {}

 private:
  Descriptor fd_;  // Closing it releases the lock.
};

class PosixFileSystem final : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<AppendFile>> Create(const std::string& path) override {
    return Open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, "create");
  }

  absl::StatusOr<std::unique_ptr<AppendFile>> OpenAppend(const std::string& path) override {
    return Open(path, O_WRONLY | O_APPEND | O_CLOEXEC, "open");
  }

  absl::StatusOr<std::unique_ptr<ReadFile>> OpenRead(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return ErrnoStatus(errno, "open", path);
    struct stat info = {};
    if (::fstat(fd, &info) != 0) {
      const int error = errno;
      ::close(fd);
      return ErrnoStatus(error, "stat", path);
    }
    return std::unique_ptr<ReadFile>(new PosixReadFile(fd, path, info.st_size));
  }

  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path, bool exclusive) override {
    const int flags = (exclusive ? O_RDWR | O_CREAT : O_RDONLY) | O_CLOEXEC;
    const int fd = ::open(path.c_str(), flags, 0644);
    if (fd < 0) return ErrnoStatus(errno, "open", path);
    if (::flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0) {
      const int error = errno;
      ::close(fd);
      if (error == EWOULDBLOCK) {
        return absl::FailedPreconditionError(
            absl::StrCat(ParentDirectory(path), " is in use by another store or process"));
      }
      return ErrnoStatus(error, "lock", path);
    }
    return std::unique_ptr<FileLock>(new PosixFileLock(fd));
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
    return ErrnoStatus(errno, "rename", absl::StrCat(from, " to ", to));
  }

  absl::Status Link(const std::string& from, const std::string& to) override {
    if (::link(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
    return ErrnoStatus(errno, "link", absl::StrCat(from, " to ", to));
  }

  absl::Status Remove(const std::string& path) override {
    return ::unlink(path.c_str()) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "remove", path);
  }

  absl::Status CreateDirectory(const std::string& path) override {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    return error ? ErrnoStatus(error.value(), "create directory", path) : absl::OkStatus();
  }

  absl::Status RemoveDirectory(const std::string& path) override {
    std::error_code error;
    std::filesystem::remove_all(path, error);
    return error ? ErrnoStatus(error.value(), "remove directory", path) : absl::OkStatus();
  }

  absl::Status SyncDirectory(const std::string& path) override {
    const Descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() < 0) return ErrnoStatus(errno, "open directory", path);
    return ::fsync(fd.get()) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "sync directory", path);
  }

  absl::StatusOr<bool> Exists(const std::string& path) override {
    struct stat info = {};
    if (::stat(path.c_str(), &info) == 0) return true;
    if (errno == ENOENT || errno == ENOTDIR) return false;
    return ErrnoStatus(errno, "look up", path);
  }

  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override {
    std::error_code error;
    std::vector<std::string> names;
    std::filesystem::directory_iterator entry(path, error);
    if (error) return ErrnoStatus(error.value(), "list", path);
    for (; entry != std::filesystem::directory_iterator(); entry.increment(error)) {
      names.push_back(entry->path().filename().string());
    }
    if (error) return ErrnoStatus(error.value(), "list", path);
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  static absl::StatusOr<std::unique_ptr<AppendFile>> Open(const std::string& path, int flags,
                                                          const char* action) {
    const int fd = ::open(path.c_str(), flags, 0644);
    if (fd < 0) return ErrnoStatus(errno, action, path);
    return std::unique_ptr<AppendFile>(new PosixAppendFile(fd, path));
  }
};

}  // namespace

FileSystem* FileSystem::Real() {
  static PosixFileSystem* const real = new PosixFileSystem;
  return real;
}

absl::StatusOr<std::string> FileSystem::ReadAll(const std::string& path) {
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<ReadFile> file, OpenRead(path));
  return file->ReadAt(0, file->size());
}

absl::Status FileSystem::ReplaceFile(const std::string& path, absl::string_view content) {
  const std::string temporary = path + ".tmp";
  PAGODA_ASSIGN_OR_RETURN(const bool left_over, Exists(temporary));
  if (left_over) PAGODA_RETURN_IF_ERROR(Remove(temporary));
  {
    PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<AppendFile> file, Create(temporary));
    PAGODA_RETURN_IF_ERROR(file->Append({&content, 1}));
    PAGODA_RETURN_IF_ERROR(file->Sync());
  }
  PAGODA_RETURN_IF_ERROR(Rename(temporary, path));
  return SyncDirectory(ParentDirectory(path));
}

absl::Status FileSystem::CopyFile(const std::string& from, const std::string& to) {
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<ReadFile> source, OpenRead(from));
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<AppendFile> target, Create(to));
  for (int64_t at = 0; at < source->size(); at += kCopyBytes) {
    PAGODA_ASSIGN_OR_RETURN(const std::string bytes, source->ReadAt(at, kCopyBytes));
    const absl::string_view piece = bytes;
    PAGODA_RETURN_IF_ERROR(target->Append({&piece, 1}));
  }
  return target->Sync();
}

absl::Status FileSystem::LinkOrCopy(const std::string& from, const std::string& to) {
  const absl::Status linked = Link(from, to);
  if (linked.ok() || absl::IsNotFound(linked) || absl::IsAlreadyExists(linked)) return linked;
  return CopyFile(from, to);
}

absl::StatusOr<uint64_t> FileSystem::FileChecksum(const std::string& path) {
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<ReadFile> file, OpenRead(path));
  HashStream checksum;
  for (int64_t at = 0; at < file->size(); at += kChecksumBytes) {
    PAGODA_ASSIGN_OR_RETURN(const std::string bytes, file->ReadAt(at, kChecksumBytes));
    checksum.Update(bytes);
  }
  return checksum.Digest();
}

std::string ParentDirectory(const std::string& path) {
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  const size_t slash = trimmed.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : trimmed.substr(0, slash);
}

}  // namespace pagoda
