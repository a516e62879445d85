// One push as the log holds it: what was asked, not what rows became, so a record
// is a third of the size of the row images and replay runs the code that ran then.
//
//   record   header (40 bytes), payload, zero padding to a multiple of 8
//   payload  step, learning rate factor; in versions 2 and 3 the origin; and per table:
//            index, dim, learning rate, ids [n], gradients [n, dim]; in version 3 also
//            the ids [m] that admission refused (admission.h)
//
// Version 1 is written for a push without an origin, version 2 for one with, version 3
// where an id was refused.
// Byte offsets and a worked example: docs/formats.md. Threads: pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/ids.h"
#include "embedding_store/client_windows.h"

namespace pagoda {

struct PushRecord {
  struct Table {
    uint32_t table = 0;
    uint32_t dim = 0;
    float learning_rate = 0.0f;  // The table's, before the factor.
    std::span<const FeatureId> ids;
    std::span<const float> gradients;  // [ids.size(), dim]
    // Pushed too, but refused: they get no row. A table has them in its first part.
    std::span<const FeatureId> refused{};
  };
  uint64_t sequence = 0;
  Step step = 0;
  float learning_rate_factor = 1.0f;
  PushOrigin origin;  // Sequence 0: none.
  std::vector<Table> tables;
};

inline constexpr int64_t kRecordHeaderBytes = 40;

// The bytes of a record as pieces, without copying ids and gradients: `pieces`
// points into this object and into the record, which must both stay as they are.
class EncodedRecord {
 public:
  explicit EncodedRecord(const PushRecord& record);
  EncodedRecord(const EncodedRecord&) = delete;
  EncodedRecord& operator=(const EncodedRecord&) = delete;

  std::span<const absl::string_view> pieces() const { return pieces_; }
  int64_t bytes() const { return bytes_; }

 private:
  std::string fixed_;  // Header and the payload's fixed parts.
  std::vector<absl::string_view> pieces_;
  int64_t bytes_ = 0;
};

// What stands at the start of `bytes`.
struct RecordFrame {
  enum class State {
    kComplete,      // Header and payload agree with their checksums.
    kShort,         // `bytes` ends inside it; nothing contradicts a torn write.
    kBadHeader,     // The header's checksum or format disagrees.
    kBadPayload,    // A good header; the payload is all there and is wrong.
    kOtherVersion,  // A good header of a format this build does not know.
  };
  State state = State::kBadHeader;
  uint64_t sequence = 0;     // Known unless kShort or kBadHeader.
  uint32_t version = 0;      // Likewise.
  int64_t record_bytes = 0;  // Likewise; with header and padding.
  absl::string_view payload;
};
RecordFrame ReadRecordFrame(absl::string_view bytes);

// Cuts a payload whose checksum was right into its parts; spans point into it.
//   DATA_LOSS  its sizes contradict one another
//   REQUIRES: frame.state == kComplete, payload aligned to 8 bytes.
absl::Status DecodePushRecord(const RecordFrame& frame, PushRecord* record);

}  // namespace pagoda
