#include "worker/parameter_client_grpc.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/host_port.h"
#include "base/status_macros.h"
#include "worker/client_session.h"
#include "worker/row_messages.h"
#include "worker/server_link_grpc.h"

namespace pagoda {
namespace {

using Clock = ServerLink::Clock;
using Async = ServerLink::Stub::async_interface;

// How often retries and silence are looked at.
constexpr std::chrono::milliseconds kTick(20);

class GrpcClient final : public ParameterClient {
 public:
  explicit GrpcClient(const GrpcClientOptions& options)
      : options_(options), incarnation_(NewIncarnation()) {
    for (const std::string& server : options.servers) {
      links_.push_back(std::make_unique<ServerLink>(
          ServerLinkOptions{server, options.message_bytes_max, options.call_deadline}));
    }
    ticker_ = std::thread([this] { Tick(); });
  }

  ~GrpcClient() override {
    if (joined_) Leave(absl::CancelledError("it closed its session before the end"));
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    ticker_.join();
    for (auto& link : links_) link->Fail(absl::CancelledError("the client is closing"));
    links_.clear();
  }

  int num_servers() const override { return static_cast<int>(links_.size()); }
  absl::Status Open(const SessionOptions& session) override;
  void Pull(std::vector<TablePull> tables, Step after_step, Done done) override;
  void Push(Step step, std::vector<TablePush> tables, float learning_rate_factor,
            Done done) override;
  absl::StatusOr<std::vector<ServerCut>> PrepareCut(const std::string& cut) override;
  absl::Status DropCut(const std::string& cut) override;
  absl::Status RestoreCut(const CutRestore& restore) override;
  absl::StatusOr<std::vector<uint64_t>> ImportRows(const RowImport& import) override;
  absl::StatusOr<std::vector<proto::TableStatReply>> TableStats() override;
  absl::Status SetKey(const std::string& key, const std::string& value) override;
  absl::StatusOr<std::string> GetKey(const std::string& key, absl::Duration timeout) override;

  absl::Status Health() const override {
    std::lock_guard<std::mutex> lock(mutex_);
    return failure_;
  }
  void Leave(const absl::Status& cause) override;

 private:
  uint32_t num_shards() const { return static_cast<uint32_t>(links_.size()); }
  RowRoutes Routes() const { return {&session_, &table_ids_}; }
  // ABORTED by one server means that the job is over: no need to wait for the others.
  void FinishPart(FanIn& fan_in, size_t shard, absl::Status answer) {
    if (absl::IsAborted(answer)) Fail(answer);
    fan_in.Finish(shard, std::move(answer));
  }
  // RESOURCE_EXHAUSTED when a message would be over the limit: found here, it costs no retry.
  absl::Status CheckMessageBytes(size_t bytes, size_t shard) const;

  // The same call on every server at once; replies in server order.
  template <typename Request, typename Reply, typename Start>
  absl::StatusOr<std::vector<Reply>> CallAll(Start start, const Request& request, bool retry);
  // The same with a request for each server.
  template <typename Request, typename Reply, typename Start>
  absl::StatusOr<std::vector<Reply>> CallEach(Start start, const std::vector<Request>& requests,
                                              bool retry);

  proto::HeartbeatRequest HeartbeatWords() const;
  void Tick();
  void SendHeartbeats(const proto::HeartbeatRequest& words, absl::Duration deadline);
  // Fails the job when a server has been silent for longer than `timeout`.
  void CheckSilence(Clock::time_point now, absl::Duration timeout);
  // The first cause wins: everything under way ends with it.
  void Fail(const absl::Status& cause);

  const GrpcClientOptions options_;
  const uint64_t incarnation_;
  SessionOptions session_;
  std::vector<std::unique_ptr<ServerLink>> links_;
  std::vector<std::vector<uint32_t>> table_ids_;  // [shard][table]
  std::atomic<uint64_t> next_sequence_{1};
  bool joined_ = false;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  absl::Status failure_;
  bool heartbeats_ = false;
  bool stop_ = false;
  std::thread ticker_;
};

absl::Status GrpcClient::Open(const SessionOptions& session) {
  PAGODA_RETURN_IF_ERROR(Health());
  {
    std::lock_guard<std::mutex> lock(mutex_);
    session_ = session;
    heartbeats_ = false;
  }
  table_ids_.assign(links_.size(), {});
  ServerLink::CallOptions options;
  options.deadline = options_.connect_timeout;
  for (size_t shard = 0; shard < links_.size(); ++shard) {
    ServerLink& link = *links_[shard];
    proto::HelloReply reply;
    absl::Status status = link.CallAndWait<proto::HelloRequest, proto::HelloReply>(
        [](Async* async, auto... arguments) { async->Hello(arguments...); },
        std::make_shared<proto::HelloRequest>(
            MakeHello(session, static_cast<uint32_t>(shard), num_shards(), incarnation_)),
        options, &reply);
    if (absl::IsDeadlineExceeded(status) || absl::IsUnavailable(status)) {
      status = absl::UnavailableError(
          absl::StrFormat("server %s has not answered for %.1f s: %s", link.address(),
                          absl::ToDoubleSeconds(options_.connect_timeout), link.last_error()));
    }
    if (!status.ok()) {
      if (joined_) Leave(status);  // The servers before it need not wait for our silence.
      return status;
    }
    table_ids_[shard].assign(reply.table_ids().begin(), reply.table_ids().end());
    if (table_ids_[shard].size() != session.tables.size()) {
      return absl::InternalError(absl::StrCat("server ", link.address(), " answered Hello with ",
                                              table_ids_[shard].size(), " tables instead of ",
                                              session.tables.size()));
    }
    joined_ = session.training;
  }
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto& link : links_) link->ForgiveSilence(Clock::now());
  heartbeats_ = true;
  return absl::OkStatus();
}

absl::Status GrpcClient::CheckMessageBytes(size_t bytes, size_t shard) const {
  if (bytes <= static_cast<size_t>(options_.message_bytes_max)) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("a message of ", bytes, " bytes to or from server ", links_[shard]->address(),
                   "; the limit is ", options_.message_bytes_max, ": use smaller batches"));
}

void GrpcClient::Pull(std::vector<TablePull> tables, Step after_step, Done done) {
  absl::Status status = CheckPulls(tables, session_);
  PullMessages messages;
  if (status.ok()) messages = MakePulls(Routes(), tables, after_step);
  for (size_t shard = 0; shard < messages.requests.size() && status.ok(); ++shard) {
    size_t bytes = 0;
    for (const AnsweredRows& part : messages.answers[shard]) {
      const size_t statistics_bytes = part.statistics == nullptr ? 0 : 2 * sizeof(uint32_t);
      bytes += part.count *
               std::max(sizeof(FeatureId), static_cast<size_t>(part.dim) * 4 + statistics_bytes);
    }
    status = CheckMessageBytes(bytes, shard);
  }
  if (!status.ok()) return done(status);
  auto fan_in = std::make_shared<FanIn>(links_.size(), std::move(done));
  for (size_t shard = 0; shard < links_.size(); ++shard) {
    if (messages.requests[shard]->tables_size() == 0) {
      fan_in->Finish(shard, Health());
      continue;
    }
    links_[shard]->Call<proto::PullRequest, proto::PullReply>(
        [](Async* async, auto... arguments) { async->Pull(arguments...); },
        messages.requests[shard], {},
        [this, fan_in, shard, parts = std::move(messages.answers[shard])](absl::Status answer,
                                                                          proto::PullReply& reply) {
          if (answer.ok()) answer = TakePull(reply, parts, links_[shard]->address());
          FinishPart(*fan_in, shard, std::move(answer));
        });
  }
}

void GrpcClient::Push(Step step, std::vector<TablePush> tables, float learning_rate_factor,
                      Done done) {
  absl::Status status = CheckPushes(tables, session_);
  PushMessages messages;
  if (status.ok()) {
    proto::PushRequest header;
    header.set_job(session_.job);
    header.set_rank(static_cast<uint32_t>(session_.rank));
    header.set_epoch(session_.epoch);
    header.set_step(static_cast<uint64_t>(step));
    header.set_sequence(next_sequence_.fetch_add(1));
    header.set_incarnation(incarnation_);
    header.set_learning_rate_factor(learning_rate_factor);
    messages = MakePushes(Routes(), header, tables);
  }
  for (size_t shard = 0; shard < messages.requests.size() && status.ok(); ++shard) {
    status = CheckMessageBytes(messages.requests[shard]->ByteSizeLong(), shard);
  }
  if (!status.ok()) return done(status);
  auto fan_in = std::make_shared<FanIn>(links_.size(), std::move(done));
  for (size_t shard = 0; shard < links_.size(); ++shard) {
    links_[shard]->Call<proto::PushRequest, proto::PushReply>(
        [](Async* async, auto... arguments) { async->Push(arguments...); },
        messages.requests[shard], {},
        [this, fan_in, shard, parts = std::move(messages.answers[shard])](absl::Status answer,
                                                                          proto::PushReply& reply) {
          if (answer.ok()) answer = TakeRows(reply.rows(), parts, links_[shard]->address());
          FinishPart(*fan_in, shard, std::move(answer));
        });
  }
}

template <typename Request, typename Reply, typename Start>
absl::StatusOr<std::vector<Reply>> GrpcClient::CallAll(Start start, const Request& request,
                                                       bool retry) {
  return CallEach<Request, Reply>(start, std::vector<Request>(links_.size(), request), retry);
}

template <typename Request, typename Reply, typename Start>
absl::StatusOr<std::vector<Reply>> GrpcClient::CallEach(Start start,
                                                        const std::vector<Request>& requests,
                                                        bool retry) {
  std::vector<Reply> replies(links_.size());
  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;
  absl::Status result;
  auto fan_in = std::make_shared<FanIn>(links_.size(), [&](absl::Status status) {
    std::lock_guard<std::mutex> lock(mutex);
    result = std::move(status);
    done = true;
    ended.notify_one();
  });
  ServerLink::CallOptions options;
  options.retry = retry;
  for (size_t shard = 0; shard < links_.size(); ++shard) {
    links_[shard]->Call<Request, Reply>(
        start, std::make_shared<Request>(requests[shard]), options,
        [&replies, fan_in, shard](absl::Status status, Reply& reply) {
          replies[shard] = std::move(reply);
          fan_in->Finish(shard, std::move(status));
        });
  }
  std::unique_lock<std::mutex> lock(mutex);
  ended.wait(lock, [&] { return done; });
  if (!result.ok()) return result;
  return replies;
}

absl::StatusOr<std::vector<ServerCut>> GrpcClient::PrepareCut(const std::string& cut) {
  proto::PrepareCutRequest request;
  request.set_job(session_.job);
  request.set_cut(cut);
  PAGODA_ASSIGN_OR_RETURN(
      const std::vector<proto::PrepareCutReply> replies,
      (CallAll<proto::PrepareCutRequest, proto::PrepareCutReply>(
          [](Async* async, auto... arguments) { async->PrepareCut(arguments...); }, request,
          /*retry=*/false)));
  std::vector<ServerCut> cuts;
  for (size_t shard = 0; shard < replies.size(); ++shard) {
    const proto::PrepareCutReply& reply = replies[shard];
    cuts.push_back({links_[shard]->address(), reply.directory(), reply.sequence(), reply.rows(),
                    reply.checksum()});
  }
  return cuts;
}

absl::Status GrpcClient::DropCut(const std::string& cut) {
  proto::DropCutRequest request;
  request.set_job(session_.job);
  request.set_cut(cut);
  return CallAll<proto::DropCutRequest, proto::DropCutReply>(
             [](Async* async, auto... arguments) { async->DropCut(arguments...); }, request,
             /*retry=*/true)
      .status();
}

absl::Status GrpcClient::RestoreCut(const CutRestore& restore) {
  proto::RestoreCutRequest request;
  request.set_job(session_.job);
  request.set_cut(restore.cut);
  request.set_epoch(restore.epoch);
  request.set_keep_newer(restore.keep_newer);
  for (const std::string& directory : restore.directories) request.add_directories(directory);
  return CallAll<proto::RestoreCutRequest, proto::RestoreCutReply>(
             [](Async* async, auto... arguments) { async->RestoreCut(arguments...); }, request,
             /*retry=*/false)
      .status();
}

absl::StatusOr<std::vector<uint64_t>> GrpcClient::ImportRows(const RowImport& import) {
  std::vector<proto::ImportRowsRequest> requests(links_.size());
  for (size_t shard = 0; shard < links_.size(); ++shard) {
    proto::ImportRowsRequest& request = requests[shard];
    request.set_job(session_.job);
    request.set_epoch(session_.epoch);
    for (const std::string& directory : import.directories) request.add_directories(directory);
    for (const RowImport::Table& table : import.tables) {
      proto::ImportRowsRequest::Table* asked = request.add_tables();
      asked->set_table(table_ids_[shard][static_cast<size_t>(table.table)]);
      asked->set_source(table.source);
    }
  }
  PAGODA_ASSIGN_OR_RETURN(
      const std::vector<proto::ImportRowsReply> replies,
      (CallEach<proto::ImportRowsRequest, proto::ImportRowsReply>(
          [](Async* async, auto... arguments) { async->ImportRows(arguments...); }, requests,
          /*retry=*/false)));
  std::vector<uint64_t> rows(import.tables.size(), 0);
  for (const proto::ImportRowsReply& reply : replies) {
    for (int t = 0; t < std::min(reply.rows_size(), static_cast<int>(rows.size())); ++t) {
      rows[static_cast<size_t>(t)] += reply.rows(t);
    }
  }
  return rows;
}

absl::StatusOr<std::vector<proto::TableStatReply>> GrpcClient::TableStats() {
  proto::TableStatRequest request;
  request.set_job(session_.job);
  return CallAll<proto::TableStatRequest, proto::TableStatReply>(
      [](Async* async, auto... arguments) { async->GetTableStat(arguments...); }, request,
      /*retry=*/true);
}

absl::Status GrpcClient::SetKey(const std::string& key, const std::string& value) {
  auto request = std::make_shared<proto::SetKeyRequest>();
  request->set_job(session_.job);
  request->set_key(key);
  request->set_value(value);
  ServerLink::CallOptions options;
  options.control = true;
  options.deadline = options_.connect_timeout;
  proto::SetKeyReply reply;
  return links_[0]->CallAndWait<proto::SetKeyRequest, proto::SetKeyReply>(
      [](Async* async, auto... arguments) { async->SetKey(arguments...); }, request, options,
      &reply);
}

absl::StatusOr<std::string> GrpcClient::GetKey(const std::string& key, absl::Duration timeout) {
  constexpr absl::Duration kServerSpeaksFirst = absl::Seconds(2);
  auto request = std::make_shared<proto::GetKeyRequest>();
  request->set_job(session_.job);
  request->set_key(key);
  request->set_timeout_ms(
      static_cast<uint32_t>(absl::ToInt64Milliseconds(std::min(timeout, options_.call_deadline))));
  ServerLink::CallOptions options;
  options.control = true;
  options.deadline = std::max(options_.connect_timeout, timeout + kServerSpeaksFirst);
  proto::GetKeyReply reply;
  PAGODA_RETURN_IF_ERROR((links_[0]->CallAndWait<proto::GetKeyRequest, proto::GetKeyReply>(
      [](Async* async, auto... arguments) { async->GetKey(arguments...); }, request, options,
      &reply)));
  return std::move(*reply.mutable_value());
}

proto::HeartbeatRequest GrpcClient::HeartbeatWords() const {
  proto::HeartbeatRequest request;
  request.set_job(session_.job);
  request.set_rank(static_cast<uint32_t>(session_.rank));
  request.set_incarnation(incarnation_);
  return request;
}

void GrpcClient::Leave(const absl::Status& cause) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    heartbeats_ = false;
  }
  joined_ = false;
  proto::HeartbeatRequest request = HeartbeatWords();
  if (cause.ok()) {
    request.set_leaving(true);
  } else {
    request.set_failure(std::string(cause.message()));
  }
  // Links that have failed cannot carry it: these words get connections of their own.
  std::vector<std::unique_ptr<ServerLink>> links;
  for (const std::string& server : options_.servers) {
    links.push_back(std::make_unique<ServerLink>(
        ServerLinkOptions{server, options_.message_bytes_max, options_.call_deadline}));
  }
  const absl::Duration deadline = std::min(session_.timeout, absl::Seconds(2));
  ServerLink::CallOptions options;
  options.deadline = deadline;
  options.retry = false;
  options.control = true;
  std::mutex mutex;
  std::condition_variable ended;
  size_t left = links.size();
  for (auto& link : links) {
    link->Call<proto::HeartbeatRequest, proto::HeartbeatReply>(
        [](Async* async, auto... arguments) { async->Heartbeat(arguments...); },
        std::make_shared<proto::HeartbeatRequest>(request), options,
        [&](absl::Status, proto::HeartbeatReply&) {
          std::lock_guard<std::mutex> lock(mutex);
          if (--left == 0) ended.notify_one();
        });
  }
  {
    std::unique_lock<std::mutex> lock(mutex);
    ended.wait(lock, [&] { return left == 0; });
  }
  for (auto& link : links) link->Fail(absl::CancelledError("the client has left"));
}

void GrpcClient::Fail(const absl::Status& cause) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!failure_.ok()) return;
    failure_ = cause;
  }
  for (auto& link : links_) link->Fail(cause);
}

void GrpcClient::SendHeartbeats(const proto::HeartbeatRequest& words, absl::Duration deadline) {
  for (auto& link : links_) {
    const std::string address = link->address();
    link->Heartbeat(words, deadline, [this, address](const std::string& why) {
      if (!why.empty()) Fail(absl::AbortedError(absl::StrCat("server ", address, ": ", why)));
    });
  }
}

void GrpcClient::CheckSilence(Clock::time_point now, absl::Duration timeout) {
  for (auto& link : links_) {
    const absl::Duration silence = absl::FromChrono(now - link->last_answer());
    if (silence <= timeout) continue;
    const std::string error = link->last_error();
    Fail(absl::UnavailableError(absl::StrFormat("server %s has not answered for %.1f s%s%s",
                                                link->address(), absl::ToDoubleSeconds(silence),
                                                error.empty() ? "" : ": ", error)));
  }
}

void GrpcClient::Tick() {
  Clock::time_point previous = Clock::now();
  Clock::time_point next_heartbeat = previous;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stop_) {
    wake_.wait_for(lock, kTick);
    const bool heartbeats = heartbeats_ && failure_.ok() && session_.timeout > absl::ZeroDuration();
    const absl::Duration timeout = session_.timeout;
    const proto::HeartbeatRequest words = HeartbeatWords();
    lock.unlock();
    const Clock::time_point now = Clock::now();
    for (auto& link : links_) link->RunDueRetries(now);
    if (heartbeats) {
      const bool paused = absl::FromChrono(now - previous) > timeout / 2;  // We, not the servers.
      for (auto& link : links_) {
        if (paused) link->ForgiveSilence(now);
      }
      if (now >= next_heartbeat) {
        next_heartbeat = now + absl::ToChronoMilliseconds(timeout / 4);
        SendHeartbeats(words, timeout / 2);
      }
      CheckSilence(now, timeout);
    }
    previous = now;
    lock.lock();
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ParameterClient>> MakeGrpcClient(const GrpcClientOptions& options) {
  if (options.servers.empty()) return absl::InvalidArgumentError("no parameter server is named");
  std::set<std::string> seen;
  for (const std::string& server : options.servers) {
    PAGODA_ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(server));
    if (!seen.insert(server).second) {
      return absl::InvalidArgumentError(absl::StrCat("server ", server, " is named twice"));
    }
    if (!IsLoopbackHost(address.host) && !options.insecure_plaintext) {
      return absl::FailedPreconditionError(
          absl::StrCat("server ", server,
                       " is another machine, and nothing is encrypted: ask for it by name "
                       "with --insecure-plaintext, on a trusted network only"));
    }
  }
  return std::unique_ptr<ParameterClient>(std::make_unique<GrpcClient>(options));
}

}  // namespace pagoda
