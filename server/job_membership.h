// Who works on this server's job, and whether the job still lives.
//
//   none -> running -> failed    a worker fell silent or reported a failure
//                   -> finished  every worker has left in good order
//   failed, finished -> running  the next Hello, with an epoch not lower
//
// A worker is known by rank and incarnation: messages of any other incarnation
// of that rank are strangers. Evaluation sessions ("readers") are not members:
// nobody waits for them and their silence harms nobody.
//
// Threads: none of its own; the owner locks and passes the time in.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/parameter_server.pb.h"
#include "server/sequence_window.h"

namespace pagoda {

using SteadyTime = std::chrono::steady_clock::time_point;

// How a worker presents itself with a push.
struct WorkerIdentity {
  std::string job;
  uint32_t rank = 0;
  uint64_t epoch = 0;
  uint64_t incarnation = 0;
};

class JobMembership {
 public:
  enum class Phase { kNone, kRunning, kFailed, kFinished };

  static constexpr uint32_t kWorkersMax = 4096;
  static constexpr size_t kReadersMax = 64;  // The longest unheard reader makes room.

  // Whether this worker may join; true when its joining starts a new session.
  //   INVALID_ARGUMENT     rank, num_workers, mode or names are out of range
  //   FAILED_PRECONDITION  another job runs, an older epoch, other settings than
  //                        the workers before it, or the rank is taken
  absl::StatusOr<bool> CheckJoin(const proto::HelloRequest& request) const;
  // REQUIRES: CheckJoin was OK. Joining again with the same incarnation is a retry.
  void Join(const proto::HelloRequest& request, SteadyTime now);
  void AddReader(const std::string& job, SteadyTime now);

  // OK while `job` runs here.
  //   ABORTED              it has failed: the cause
  //   FAILED_PRECONDITION  it is not this server's job, or it has finished
  absl::Status CheckJob(const std::string& job) const;
  // OK for the running job and for readers.
  absl::Status CheckReader(const std::string& job) const;
  // CheckJob, and the worker is the one that joined, at the job's epoch.
  absl::Status CheckWorker(const WorkerIdentity& worker) const;

  // Notes that the worker lives. From the first call of AwaitAll on, workers that
  // have not joined count as silent, too.
  void Heard(uint32_t rank, SteadyTime now);
  void AwaitAll(SteadyTime now);
  // The worker has left in good order; when all have, the job is finished.
  void Leave(uint32_t rank);
  // Fails a running job; false when it was not running.
  bool Fail(const std::string& cause);
  // Fails the job when a worker has been silent for longer than the timeout; true
  // then. A gap between two calls does not count as silence: after the server
  // itself was paused, workers get the time to speak.
  bool Expire(SteadyTime now);

  // The heartbeat's answer: the failure to be told, empty when all is well. Sets
  // `failed` when this heartbeat is what failed the job.
  std::string Heartbeat(const proto::HeartbeatRequest& request, SteadyTime now, bool* failed);

  Phase phase() const { return phase_; }
  const std::string& job() const { return session_.job(); }  // Empty in phase kNone.
  bool sync() const { return session_.mode() == "sync"; }
  uint32_t num_workers() const { return session_.num_workers(); }
  uint64_t epoch() const { return session_.epoch(); }
  // The first member that has left or OK.
  absl::Status CheckNobodyLeft() const;
  SequenceWindow& window(uint32_t rank) { return members_[rank].window; }
  // OK, or ABORTED with the cause.
  absl::Status health() const;

 private:
  struct Member {
    bool joined = false;
    bool left = false;
    uint64_t incarnation = 0;
    SteadyTime heard;
    SequenceWindow window;
  };

  absl::Status CheckSameSession(const proto::HelloRequest& request) const;

  Phase phase_ = Phase::kNone;
  proto::HelloRequest session_;  // The first worker's words.
  std::vector<Member> members_;  // By rank.
  bool awaiting_all_ = false;
  std::string failure_;
  SteadyTime last_expire_;
  std::map<std::string, SteadyTime> readers_;
};

}  // namespace pagoda
