// Counts asynchronous calls to the servers that have not finished, and waits for
// them without ever waiting for a dead peer: while it waits it asks the client
// for the job's health.
//
// Threads: any method, any thread. Hold it by shared_ptr in the callbacks, which
// may come after the waiter has given up.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/parameter_client.h"

namespace pagoda {

class PendingCalls {
 public:
  void Started();
  // The first error is kept for every later Wait.
  void Finished(const absl::Status& status);

  // Returns when at most `at_most` calls are unfinished.
  //   a call's error
  //   client.Health()'s error, when the job fails meanwhile
  //   DEADLINE_EXCEEDED  not within `wait_max`, although all looks well: "WHAT was not
  //                      answered within 2m"
  absl::Status Wait(int64_t at_most, const ParameterClient& client, absl::Duration wait_max,
                    const std::string& what);
  // Every call has finished, and none with an error.
  bool Idle();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t unfinished_ = 0;
  absl::Status error_;
};

}  // namespace pagoda
