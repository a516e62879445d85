// One worker's connection to one parameter server: calls with deadlines and
// bounded retries, heartbeats, and one moment at which everything under way ends
// with a named cause.
//
//   UNAVAILABLE answers are retried, with growing pauses, until the link fails or
//   the call's deadline; RESOURCE_EXHAUSTED a few times. The request, with its
//   push sequence, stays the same, so the server can tell a retry.
//
// Threads: any method, any thread. Callbacks run on gRPC's threads, or inline.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "proto/parameter_server.grpc.pb.h"

namespace pagoda {

struct ServerLinkOptions {
  std::string address;           // HOST:PORT
  int message_bytes_max = 0;     // Of one request or reply.
  absl::Duration call_deadline;  // Of one call with all its retries.
};

class ServerLink {
 public:
  using Clock = std::chrono::steady_clock;
  using Stub = proto::ParameterServer::Stub;

  // How a call treats failure.
  struct CallOptions {
    absl::Duration deadline = absl::InfiniteDuration();  // At most the link's.
    bool retry = true;
    bool control = false;  // Goes by the second connection, past bulk data.
  };

  explicit ServerLink(const ServerLinkOptions& options);
  // Waits for the callbacks of everything under way. REQUIRES: Fail() has been called.
  ~ServerLink();

  const std::string& address() const { return options_.address; }

  // Starts `start(stub, context, request, reply, callback)`, one line of the
  // generated async interface; done(status, reply) when it has ended.
  template <typename Request, typename Reply, typename Start>
  void Call(Start start, std::shared_ptr<Request> request, const CallOptions& options,
            std::function<void(absl::Status, Reply&)> done) {
    auto reply = std::make_shared<Reply>();
    auto call = std::make_shared<PendingCall>();
    call->options = options;
    call->start = [start, request, reply](Stub* stub, grpc::ClientContext* context,
                                          std::function<void(grpc::Status)> callback) {
      reply->Clear();
      start(stub->async(), context, request.get(), reply.get(), std::move(callback));
    };
    call->done = [reply, done = std::move(done)](absl::Status status) {
      done(std::move(status), *reply);
    };
    Begin(std::move(call));
  }

  // The same, waiting for the end. Not from a callback.
  template <typename Request, typename Reply, typename Start>
  absl::Status CallAndWait(Start start, std::shared_ptr<Request> request,
                           const CallOptions& options, Reply* reply);

  // Sends one heartbeat unless one is on its way; on_reply(failure) with what the
  // server knows of the job.
  void Heartbeat(const proto::HeartbeatRequest& request, absl::Duration deadline,
                 std::function<void(const std::string& failure)> on_reply);
  // When the server last answered anything, and what went wrong since (may be empty).
  Clock::time_point last_answer() const;
  std::string last_error() const;
  // Counts `now` as an answer: after joining, or a pause of this process.
  void ForgiveSilence(Clock::time_point now);

  // Sends what was refused and whose pause is over.
  void RunDueRetries(Clock::time_point now);

  // Ends everything under way, and all later calls, with `cause`.
  void Fail(const absl::Status& cause);

 private:
  struct PendingCall {
    CallOptions options;
    std::function<void(Stub*, grpc::ClientContext*, std::function<void(grpc::Status)>)> start;
    std::function<void(absl::Status)> done;
    Clock::time_point deadline;
    int attempts = 0;
    int exhausted = 0;  // RESOURCE_EXHAUSTED answers so far.
  };
  struct Retry {
    Clock::time_point due;
    std::shared_ptr<PendingCall> call;
  };

  void Begin(std::shared_ptr<PendingCall> call);
  void Attempt(std::shared_ptr<PendingCall> call);
  void OnAnswer(std::shared_ptr<PendingCall> call, std::shared_ptr<grpc::ClientContext> context,
                const grpc::Status& answer);
  // Whether the call is to be tried again, and when.
  bool ScheduleRetry(const std::shared_ptr<PendingCall>& call, const grpc::Status& answer);
  absl::Status Named(const grpc::Status& answer) const;

  const ServerLinkOptions options_;
  std::unique_ptr<Stub> data_stub_;
  std::unique_ptr<Stub> control_stub_;

  mutable std::mutex mutex_;
  std::condition_variable idle_;
  absl::Status failure_;
  std::set<std::shared_ptr<grpc::ClientContext>> active_;
  int callbacks_ = 0;  // Running or expected.
  std::vector<Retry> retries_;
  bool heartbeat_under_way_ = false;
  Clock::time_point last_answer_;
  std::string last_error_;
};

template <typename Request, typename Reply, typename Start>
absl::Status ServerLink::CallAndWait(Start start, std::shared_ptr<Request> request,
                                     const CallOptions& options, Reply* reply) {
  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;
  absl::Status result;
  Call<Request, Reply>(start, std::move(request), options, [&](absl::Status status, Reply& answer) {
    std::lock_guard<std::mutex> lock(mutex);
    *reply = std::move(answer);
    result = std::move(status);
    done = true;
    ended.notify_one();
  });
  std::unique_lock<std::mutex> lock(mutex);
  ended.wait(lock, [&] { return done; });
  return result;
}

}  // namespace pagoda
