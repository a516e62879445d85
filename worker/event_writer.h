// TensorBoard event files: scalars over steps.
//
//   record = length u64 | masked CRC-32C of length | proto Event | masked CRC-32C of it
// (the TFRecord frame, little-endian); messages: proto/tensorboard.proto.
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pagoda {

struct Scalar {
  std::string tag;  // "train/loss"
  double value = 0.0;
};

class EventWriter {
 public:
  // Creates `directory` (and its parents) and a new file in it,
  // events.out.tfevents.SECONDS.HOST.PID.N; a resumed run adds a file, which
  // TensorBoard joins to the others.
  //   the file system's error, naming the path
  static absl::StatusOr<std::unique_ptr<EventWriter>> Create(const std::string& directory);
  ~EventWriter();
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;

  // Writes one event with all scalars and flushes it, so that a running
  // TensorBoard sees it. Values that are not finite are left out.
  //   the file system's error, naming the path
  absl::Status Write(int64_t step, const std::vector<Scalar>& scalars);

  const std::string& path() const { return path_; }

 private:
  EventWriter(std::FILE* file, std::string path) : file_(file), path_(std::move(path)) {}
  absl::Status WriteRecord(const std::string& event);

  std::FILE* file_;
  std::string path_;
};

}  // namespace pagoda
