// What a parameter server was told, in the order in which it applied it: a record per
// acknowledged push, per cut and per rewind, in a file that survives kill -9 of its
// writer. The oracle that cuts are held against is computed from it alone.
//
//   record = kind u8, size u64, body, all little-endian; a torn last record is ignored.
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/ids.h"

namespace pagoda {

struct JournalTable {
  std::string name;
  std::vector<FeatureId> ids;
  std::vector<float> gradients;  // [ids.size(), dim]
};

struct JournalRecord {
  enum class Kind : uint8_t { kPush = 1, kCut = 2, kRewind = 3 };
  Kind kind = Kind::kPush;
  // Pushes.
  uint32_t rank = 0;
  Step step = 0;
  float learning_rate_factor = 1.0f;
  std::vector<JournalTable> tables;
  // Cuts and rewinds.
  std::string cut;
};

class PushJournal {
 public:
  // Appends to `path`, created when missing; a torn last record is cut off.
  static absl::StatusOr<std::unique_ptr<PushJournal>> Open(const std::string& path);
  ~PushJournal();
  PushJournal(const PushJournal&) = delete;
  PushJournal& operator=(const PushJournal&) = delete;

  // On return the record is in the system's hands.
  absl::Status Append(const JournalRecord& record);

  // Every whole record of `path` in order.   DATA_LOSS  one makes no sense
  static absl::Status Read(const std::string& path,
                           const std::function<void(const JournalRecord&)>& visit);

 private:
  PushJournal(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  const int fd_;
  const std::string path_;
};

}  // namespace pagoda
