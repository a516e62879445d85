#include "worker/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

// One read call's worth of compressed bytes: large enough to hide the call.
constexpr size_t kCompressedBytes = 256 << 10;

absl::Status ErrnoStatus(const std::string& path, const char* what) {
  const int error = errno;
  const std::string message = absl::StrCat(path, ": ", what, ": ", std::strerror(error));
  if (error == ENOENT || error == ENOTDIR) {
    return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  }
  if (error == EACCES) return absl::PermissionDeniedError(message);
  return absl::UnavailableError(message);
}

// An open file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

absl::StatusOr<size_t> ReadDescriptor(const std::string& path, int fd, char* out, size_t size) {
  for (;;) {
    const ssize_t n = read(fd, out, size);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno != EINTR) return ErrnoStatus(path, "cannot read");
  }
}

class PlainFile : public InputFile {
 public:
  PlainFile(std::string path, int64_t size, Descriptor fd)
      : InputFile(std::move(path), size), fd_(std::move(fd)) {}

  absl::StatusOr<size_t> Read(char* out, size_t size) override {
    PAGODA_ASSIGN_OR_RETURN(const size_t n, ReadDescriptor(path(), fd_.get(), out, size));
    position_ += static_cast<int64_t>(n);
    return n;
  }

  absl::Status SkipTo(int64_t offset) override {
    if (offset > disk_size()) {
      return absl::FailedPreconditionError(
          absl::StrCat(path(), ": the file ends at byte ", disk_size(), ", before the position ",
                       offset, " to continue from; has it changed?"));
    }
    if (lseek(fd_.get(), offset, SEEK_SET) < 0) return ErrnoStatus(path(), "cannot seek");
    position_ = offset;
    return absl::OkStatus();
  }

  int64_t disk_position() const override { return position_; }

 private:
  Descriptor fd_;
  int64_t position_ = 0;
};

// What gzip and zstd share: a buffer of compressed bytes, and skipping by reading.
class CompressedFile : public InputFile {
 public:
  CompressedFile(std::string path, int64_t size, Descriptor fd)
      : InputFile(std::move(path), size), fd_(std::move(fd)), buffer_(kCompressedBytes) {}

  absl::Status SkipTo(int64_t offset) override {
    std::vector<char> discarded(kCompressedBytes);
    int64_t position = 0;
    while (position < offset) {
      const size_t want =
          static_cast<size_t>(std::min<int64_t>(offset - position, kCompressedBytes));
      PAGODA_ASSIGN_OR_RETURN(const size_t n, Read(discarded.data(), want));
      if (n == 0) {
        return absl::FailedPreconditionError(
            absl::StrCat(path(), ": the file ends at (decompressed) byte ", position,
                         ", before the position ", offset, " to continue from; has it changed?"));
      }
      position += static_cast<int64_t>(n);
    }
    return absl::OkStatus();
  }

  int64_t disk_position() const override { return used_; }

 protected:
  // Compressed bytes at hand; refilled when empty. false: the end of the file.
  absl::StatusOr<bool> Fill() {
    if (begin_ < end_) return true;
    PAGODA_ASSIGN_OR_RETURN(end_,
                            ReadDescriptor(path(), fd_.get(), buffer_.data(), buffer_.size()));
    begin_ = 0;
    return end_ > 0;
  }
  char* input() { return buffer_.data() + begin_; }
  size_t input_size() const { return end_ - begin_; }
  void Consume(size_t n) {
    begin_ += n;
    used_ += static_cast<int64_t>(n);
  }
  absl::Status Truncated() const {
    return absl::DataLossError(
        absl::StrCat(path(), ": the compressed file is truncated (it ends in the middle of its ",
                     "data, after ", used_, " bytes)"));
  }
  absl::Status Corrupt(const char* what) const {
    return absl::DataLossError(absl::StrCat(path(), ": the compressed file is corrupt near byte ",
                                            used_, " of ", disk_size(), ": ", what));
  }

 private:
  Descriptor fd_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;
  int64_t used_ = 0;
};

class GzipFile : public CompressedFile {
 public:
  using CompressedFile::CompressedFile;
  ~GzipFile() override {
    if (ready_) inflateEnd(&stream_);
  }

  absl::StatusOr<size_t> Read(char* out, size_t size) override {
    for (;;) {
      PAGODA_ASSIGN_OR_RETURN(const bool more, Fill());
      if (!more) {
        if (in_member_) return Truncated();
        return 0;
      }
      if (!in_member_) {
        if (ready_ && *input() == '\0') {  // Padding after the last member, as tar leaves it.
          Consume(1);
          continue;
        }
        PAGODA_RETURN_IF_ERROR(StartMember());
      }
      PAGODA_ASSIGN_OR_RETURN(const size_t n, Inflate(out, size));
      if (n > 0) return n;
    }
  }

 private:
  absl::Status StartMember() {
    // 15 + 16: the largest window, and a gzip header with its checksum.
    const int code = ready_ ? inflateReset(&stream_) : inflateInit2(&stream_, 15 + 16);
    if (code != Z_OK) return absl::ResourceExhaustedError(path() + ": cannot start zlib");
    ready_ = in_member_ = true;
    return absl::OkStatus();
  }

  absl::StatusOr<size_t> Inflate(char* out, size_t size) {
    const uInt room = static_cast<uInt>(std::min<size_t>(size, 1u << 30));
    stream_.next_in = reinterpret_cast<Bytef*>(input());
    stream_.avail_in = static_cast<uInt>(input_size());
    stream_.next_out = reinterpret_cast<Bytef*>(out);
    stream_.avail_out = room;
    const int code = inflate(&stream_, Z_NO_FLUSH);
    Consume(input_size() - stream_.avail_in);
    if (code == Z_STREAM_END) {
      in_member_ = false;
    } else if (code != Z_OK && code != Z_BUF_ERROR) {
      return Corrupt(stream_.msg != nullptr ? stream_.msg : "zlib cannot decode it");
    }
    return room - stream_.avail_out;
  }

  z_stream stream_ = {};
  bool ready_ = false;
  bool in_member_ = false;
};

class ZstdFile : public CompressedFile {
 public:
  ZstdFile(std::string path, int64_t size, Descriptor fd)
      : CompressedFile(std::move(path), size, std::move(fd)), stream_(ZSTD_createDStream()) {}
  ~ZstdFile() override { ZSTD_freeDStream(stream_); }

  absl::StatusOr<size_t> Read(char* out, size_t size) override {
    if (stream_ == nullptr) return absl::ResourceExhaustedError(path() + ": cannot start zstd");
    for (;;) {
      PAGODA_ASSIGN_OR_RETURN(const bool more, Fill());
      ZSTD_inBuffer in = {input(), input_size(), 0};
      ZSTD_outBuffer to = {out, size, 0};
      // At the end of the file the decoder may still hold output (in is then empty).
      if (!more && !in_frame_) return 0;
      const size_t code = ZSTD_decompressStream(stream_, &to, &in);
      Consume(in.pos);
      if (ZSTD_isError(code)) return Corrupt(ZSTD_getErrorName(code));
      in_frame_ = code != 0;
      if (to.pos > 0) return to.pos;
      if (!more) return Truncated();
    }
  }

 private:
  ZSTD_DStream* stream_;
  bool in_frame_ = false;
};

enum class FileKind { kPlain, kGzip, kZstd };

absl::StatusOr<FileKind> KindOf(const std::string& path, absl::string_view head) {
  constexpr absl::string_view kZstdMagic("\x28\xb5\x2f\xfd", 4);
  if (absl::StartsWith(head, "\x1f\x8b")) return FileKind::kGzip;
  if (absl::StartsWith(head, kZstdMagic)) return FileKind::kZstd;
  // Skippable frames (pzstd writes them first): 0x184D2A50 to 0x184D2A5F.
  if (head.size() >= 4 && (head[0] & 0xf0) == 0x50 && head.substr(1, 3) == "\x2a\x4d\x18") {
    return FileKind::kZstd;
  }
  const struct {
    absl::string_view magic;
    const char* name;
  } kUnsupported[] = {{"BZh", "bzip2"},
                      {absl::string_view("\xfd"
                                         "7zXZ",
                                         5),
                       "xz"},
                      {absl::string_view("PK\x03\x04", 4), "zip"},
                      {"PAR1", "Parquet"}};
  for (const auto& entry : kUnsupported) {
    if (absl::StartsWith(head, entry.magic)) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": ", entry.name, " files are not supported; plain text, .gz and .zst are"));
    }
  }
  return FileKind::kPlain;
}

}  // namespace

absl::StatusOr<std::unique_ptr<InputFile>> InputFile::Open(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus(path, "cannot open");
  if (S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(path + ": this is a directory, not a file");
  }
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(path +
                                      ": not a regular file (pipes cannot be read a second time)");
  }
  if (info.st_size == 0) return absl::InvalidArgumentError(path + ": the file is empty");
  Descriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoStatus(path, "cannot open");

  char head[8];
  const ssize_t n = pread(fd.get(), head, sizeof(head), 0);
  if (n < 0) return ErrnoStatus(path, "cannot read");
  PAGODA_ASSIGN_OR_RETURN(const FileKind kind,
                          KindOf(path, absl::string_view(head, static_cast<size_t>(n))));
  posix_fadvise(fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  const int64_t size = info.st_size;
  switch (kind) {
    case FileKind::kGzip: return std::make_unique<GzipFile>(path, size, std::move(fd));
    case FileKind::kZstd: return std::make_unique<ZstdFile>(path, size, std::move(fd));
    case FileKind::kPlain: break;
  }
  return std::make_unique<PlainFile>(path, size, std::move(fd));
}

}  // namespace pagoda
