// A small board of keys and values on which workers find one another (Gloo's
// addresses). It lives in memory and is wiped when a new session starts.
//
// Threads: none of its own; the owner locks. Callbacks are never run here: they
// are handed back, to be run without the lock.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/job_membership.h"

namespace pagoda {

class RendezvousBoard {
 public:
  using Done = std::function<void(absl::StatusOr<std::string>)>;

  // A full mesh of n workers stores n values of about 150 n bytes: room for 4,096.
  static constexpr size_t kKeyBytesMax = 256;
  static constexpr size_t kValueBytesMax = size_t{1} << 20;
  static constexpr size_t kKeysMax = 16384;
  static constexpr size_t kBytesMax = size_t{64} << 20;
  static constexpr size_t kWaitersMax = 16384;

  struct Answer {
    Done done;
    absl::StatusOr<std::string> value;
  };

  // Sets or replaces a value; returns the waiters to be answered.
  //   INVALID_ARGUMENT    key or value is too long, or the key is empty
  //   RESOURCE_EXHAUSTED  the board is full
  absl::StatusOr<std::vector<Answer>> Set(const std::string& key, const std::string& value);

  // The answer when the value is there or the limits refuse; else the wait is noted
  // and nothing is returned.
  std::vector<Answer> Get(const std::string& key, SteadyTime deadline, Done done);

  // The waiters whose deadline is over: DEADLINE_EXCEEDED, naming the key.
  std::vector<Answer> Expire(SteadyTime now);

  // All waiters, to be told `cause`.
  std::vector<Answer> Fail(const absl::Status& cause);

  // Forgets all values. REQUIRES: nobody waits.
  void Wipe();

  bool has_waiters() const { return !waiters_.empty(); }

 private:
  struct Waiter {
    std::string key;
    SteadyTime deadline;
    Done done;
  };

  std::map<std::string, std::string> values_;
  size_t bytes_ = 0;
  std::vector<Waiter> waiters_;
};

}  // namespace pagoda
