// A small board of keys and values on which workers find one another (Gloo's
// addresses), before they join a job. It lives in memory and outlives jobs; when it
// is full, the values that were set longest ago make room.
//
// Threads: none of its own; the owner locks. Callbacks are never run here: they
// are handed back, to be run without the lock.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
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
  //   INVALID_ARGUMENT  key or value is too long, or the key is empty
  absl::StatusOr<std::vector<Answer>> Set(const std::string& key, const std::string& value);

  // The answer when the value is there, the deadline is over or the limits refuse;
  // else the wait is noted and nothing is returned. The wait belongs to `job`
  // (empty: to none).
  //   RESOURCE_EXHAUSTED  too many wait
  std::vector<Answer> Get(const std::string& job, const std::string& key, SteadyTime now,
                          SteadyTime deadline, Done done);

  // The waiters whose deadline is over: DEADLINE_EXCEEDED, naming the key.
  std::vector<Answer> Expire(SteadyTime now);

  // The waiters of `job`, to be told `cause`.
  std::vector<Answer> Fail(const std::string& job, const absl::Status& cause);
  // All waiters.
  std::vector<Answer> FailAll(const absl::Status& cause);

 private:
  struct Value {
    std::string bytes;
    uint64_t set_at = 0;  // Counts Set calls.
  };
  struct Waiter {
    std::string job;
    std::string key;
    SteadyTime deadline;
    Done done;
  };

  // Moves the waiters that `matches` to the answers, each with `value`.
  std::vector<Answer> Take(const std::function<bool(const Waiter&)>& matches,
                           const std::function<absl::StatusOr<std::string>(const Waiter&)>& value);
  void Erase(const std::string& key);

  std::map<std::string, Value> values_;
  std::map<uint64_t, std::string> by_age_;  // set_at -> key
  uint64_t sets_ = 0;
  size_t bytes_ = 0;
  std::vector<Waiter> waiters_;
};

}  // namespace pagoda
