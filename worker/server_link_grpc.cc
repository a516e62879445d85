#include "worker/server_link_grpc.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

// A limit that holds after 1.5 s of pauses is not a passing one.
constexpr int kExhaustedRetriesMax = 5;
constexpr absl::Duration kPauseFirst = absl::Milliseconds(50);
constexpr absl::Duration kPauseMax = absl::Seconds(1);

std::unique_ptr<ServerLink::Stub> Connect(const ServerLinkOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(options.message_bytes_max);
  arguments.SetMaxSendMessageSize(options.message_bytes_max);
  // Each link has connections of its own: one's bulk data never delays another's heartbeat.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // Ours know the push sequence.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  return proto::ParameterServer::NewStub(
      grpc::CreateCustomChannel(options.address, grpc::InsecureChannelCredentials(), arguments));
}

absl::Duration PauseAfter(int failures) {
  return std::min(kPauseMax, kPauseFirst * (1 << std::min(failures - 1, 10)));
}

}  // namespace

ServerLink::ServerLink(const ServerLinkOptions& options)
    : options_(options),
      data_stub_(Connect(options)),
      control_stub_(Connect(options)),
      last_answer_(Clock::now()) {}

ServerLink::~ServerLink() {
  std::unique_lock<std::mutex> lock(mutex_);
  PAGODA_CHECK(!failure_.ok());
  idle_.wait(lock, [&] { return callbacks_ == 0; });
}

void ServerLink::Begin(std::shared_ptr<PendingCall> call) {
  const absl::Duration deadline = std::min(call->options.deadline, options_.call_deadline);
  call->deadline = Clock::now() + absl::ToChronoMilliseconds(deadline);
  Attempt(std::move(call));
}

void ServerLink::Attempt(std::shared_ptr<PendingCall> call) {
  auto context = std::make_shared<grpc::ClientContext>();
  const auto left = call->deadline - Clock::now();
  context->set_deadline(std::chrono::system_clock::now() +
                        std::chrono::duration_cast<std::chrono::milliseconds>(left));
  absl::Status failure;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    failure = failure_;
    if (failure.ok()) {
      active_.insert(context);
      ++callbacks_;
    }
  }
  if (!failure.ok()) {
    call->done(failure);
    return;
  }
  ++call->attempts;
  Stub* stub = call->options.control ? control_stub_.get() : data_stub_.get();
  call->start(stub, context.get(),
              [this, call, context](grpc::Status answer) { OnAnswer(call, context, answer); });
}

void ServerLink::OnAnswer(std::shared_ptr<PendingCall> call,
                          std::shared_ptr<grpc::ClientContext> context,
                          const grpc::Status& answer) {
  absl::Status result;
  bool retry = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    active_.erase(context);
    const bool from_server = answer.error_code() != grpc::StatusCode::UNAVAILABLE &&
                             answer.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED &&
                             answer.error_code() != grpc::StatusCode::CANCELLED;
    if (from_server) {
      last_answer_ = Clock::now();
      last_error_.clear();
    } else {
      last_error_ = answer.error_message();
    }
    if (!answer.ok() && !failure_.ok()) {
      result = failure_;
    } else if (!answer.ok()) {
      retry = ScheduleRetry(call, answer);
      result = Named(answer);
    }
  }
  if (!retry) call->done(std::move(result));
  call.reset();
  std::lock_guard<std::mutex> lock(mutex_);
  if (--callbacks_ == 0) idle_.notify_all();
}

bool ServerLink::ScheduleRetry(const std::shared_ptr<PendingCall>& call,
                               const grpc::Status& answer) {
  if (!call->options.retry) return false;
  if (answer.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
    if (++call->exhausted > kExhaustedRetriesMax) return false;
  } else if (answer.error_code() != grpc::StatusCode::UNAVAILABLE) {
    return false;
  }
  const auto due = Clock::now() + absl::ToChronoMilliseconds(PauseAfter(call->attempts));
  if (due >= call->deadline) return false;
  retries_.push_back({due, call});
  return true;
}

absl::Status ServerLink::Named(const grpc::Status& answer) const {
  const auto code = static_cast<absl::StatusCode>(answer.error_code());
  // gRPC's own words name nobody; the server's do.
  if (answer.error_message() == "Deadline Exceeded") {
    return absl::Status(code, absl::StrCat("server ", address(), " did not answer in time"));
  }
  return absl::Status(code, absl::StrCat("server ", address(), ": ", answer.error_message()));
}

void ServerLink::RunDueRetries(Clock::time_point now) {
  std::vector<std::shared_ptr<PendingCall>> due;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = 0; i < retries_.size();) {
      if (retries_[i].due > now) {
        ++i;
        continue;
      }
      due.push_back(std::move(retries_[i].call));
      retries_[i] = std::move(retries_.back());
      retries_.pop_back();
    }
  }
  for (std::shared_ptr<PendingCall>& call : due) Attempt(std::move(call));
}

void ServerLink::Heartbeat(const proto::HeartbeatRequest& request, absl::Duration deadline,
                           std::function<void(const std::string& failure)> on_reply) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (heartbeat_under_way_ || !failure_.ok()) return;
    heartbeat_under_way_ = true;
  }
  CallOptions options;
  options.deadline = deadline;
  options.retry = false;
  options.control = true;
  Call<proto::HeartbeatRequest, proto::HeartbeatReply>(
      [](Stub::async_interface* async, auto... arguments) { async->Heartbeat(arguments...); },
      std::make_shared<proto::HeartbeatRequest>(request), options,
      [this, on_reply](absl::Status status, proto::HeartbeatReply& reply) {
        {
          std::lock_guard<std::mutex> lock(mutex_);
          heartbeat_under_way_ = false;
        }
        if (status.ok()) on_reply(reply.failure());
      });
}

ServerLink::Clock::time_point ServerLink::last_answer() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return last_answer_;
}

std::string ServerLink::last_error() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return last_error_;
}

void ServerLink::ForgiveSilence(Clock::time_point now) {
  std::lock_guard<std::mutex> lock(mutex_);
  last_answer_ = now;
}

void ServerLink::Fail(const absl::Status& cause) {
  std::vector<Retry> ended;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!failure_.ok()) return;
    failure_ = cause;
    for (const std::shared_ptr<grpc::ClientContext>& context : active_) context->TryCancel();
    ended.swap(retries_);
  }
  for (Retry& retry : ended) retry.call->done(cause);
}

}  // namespace pagoda
