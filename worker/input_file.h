// The bytes of one data file, read forward: plain, gzip or zstd. The kind is told
// by the first bytes of the file, never by its name; several compressed streams
// one after another (cat a.gz b.gz) read as one.
//
// Threads: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pagoda {

class InputFile {
 public:
  // Opens `path`. Every message begins with "path: ".
  //   NOT_FOUND          no such file
  //   PERMISSION_DENIED  the file may not be read
  //   INVALID_ARGUMENT   a directory or a pipe, an empty file, or a kind of file that
  //                      is known and not supported (bzip2, xz, zip, Parquet)
  static absl::StatusOr<std::unique_ptr<InputFile>> Open(const std::string& path);

  virtual ~InputFile() = default;
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  // Reads up to `size` decompressed bytes to `out`; returns how many, 0 only at the
  // end.
  //   DATA_LOSS    the compressed stream is truncated or corrupt; whatever came
  //                before the damage has been returned by earlier calls
  //   UNAVAILABLE  the operating system could not read
  //   REQUIRES: size > 0.
  virtual absl::StatusOr<size_t> Read(char* out, size_t size) = 0;

  // Moves forward to decompressed byte `offset`: a seek for a plain file, reading
  // and discarding for a compressed one.
  //   FAILED_PRECONDITION  the file ends before `offset` (it is not the file that
  //                        the offset was taken from)
  //   and what Read returns
  //   REQUIRES: nothing has been read yet.
  virtual absl::Status SkipTo(int64_t offset) = 0;

  // Bytes of the file on disk that have been used so far, and in all.
  virtual int64_t disk_position() const = 0;
  int64_t disk_size() const { return disk_size_; }
  const std::string& path() const { return path_; }

 protected:
  InputFile(std::string path, int64_t disk_size) : path_(std::move(path)), disk_size_(disk_size) {}

 private:
  std::string path_;
  int64_t disk_size_ = 0;
};

}  // namespace pagoda
