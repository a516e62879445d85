// Which pushes of each client the rows hold, so that a push that is sent again after
// its answer was lost is answered again and not applied again (DESIGN ruling 6).
//
// Per client: an incarnation, the highest sequence applied, and a bitmap of the 1,024
// sequences up to it, so pushes may overtake one another. The windows are as durable
// as the rows: a push's origin is part of its log record, and every flush saves the
// windows together with the rows that it writes (docs/decisions/0002-exactly-once.md).
//
// Threads: none of its own; the owner locks.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pagoda {

// Who pushes. A client takes a higher incarnation each time it starts anew, and then
// numbers its pushes afresh. Sequence 0: the push has no origin and is never a retry.
struct PushOrigin {
  uint64_t client = 0;
  uint64_t incarnation = 0;
  uint64_t sequence = 0;
};

class ClientWindows {
 public:
  // How many newer pushes of its client a retry may come behind.
  static constexpr uint64_t kWidth = 1024;
  // One more makes the client that has been silent for the longest forgotten, so that
  // windows take at most 0.7 MB: 160 bytes a client, and the map's.
  static constexpr size_t kClientsMax = 4096;

  // True: applied already, to be answered OK as the first time. False: new.
  //   FAILED_PRECONDITION  the client has come back with a higher incarnation
  //   RESOURCE_EXHAUSTED   kWidth or more behind its client's newest: nobody knows any
  //                        more whether it was applied
  //   REQUIRES: origin.sequence > 0
  absl::StatusOr<bool> WasApplied(const PushOrigin& origin) const;

  // Notes that the push is in the rows; `push` is its sequence in the store. Noting it
  // twice changes nothing.   REQUIRES: WasApplied(origin) is not an error.
  void Record(const PushOrigin& origin, uint64_t push);

  size_t size() const { return windows_.size(); }
  void Clear() { windows_.clear(); }

  // Bytes for the meta record of the rows (docs/formats.md); empty without clients.
  std::string Encode() const;
  // Replaces all windows.   DATA_LOSS  not what Encode makes; nothing is changed
  absl::Status Decode(absl::string_view bytes);

 private:
  struct Window {
    uint64_t incarnation = 0;
    uint64_t highest = 0;
    uint64_t last_push = 0;  // The store's sequence of the newest.
    // Bit s % kWidth, for s in (highest - kWidth, highest].
    std::array<uint64_t, kWidth / 64> applied = {};
  };

  std::map<uint64_t, Window> windows_;  // By client.
};

}  // namespace pagoda
