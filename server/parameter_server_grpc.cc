#include "server/parameter_server_grpc.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/host_port.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "proto/parameter_server.grpc.pb.h"
#include "server/task_queue.h"

namespace pagoda {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the wire format is the memory's; a big-endian port must swap bytes here");

// Streams a client may have open at once: bounds what one worker can queue up.
constexpr int kStreamsPerConnectionMax = 256;

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

//   INVALID_ARGUMENT  the bytes are no whole number of ids
absl::StatusOr<std::span<const FeatureId>> IdsOf(const std::string& bytes, uint32_t table) {
  if (bytes.size() % sizeof(FeatureId) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("table of index ", table, ": ", bytes.size(),
                                                   " bytes of ids are not a multiple of 8"));
  }
  PAGODA_CHECK(reinterpret_cast<uintptr_t>(bytes.data()) % alignof(FeatureId) == 0);
  return std::span<const FeatureId>(reinterpret_cast<const FeatureId*>(bytes.data()),
                                    bytes.size() / sizeof(FeatureId));
}

absl::StatusOr<std::span<const float>> FloatsOf(const std::string& bytes, uint32_t table) {
  if (bytes.size() % sizeof(float) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("table of index ", table, ": ", bytes.size(),
                                                   " bytes of gradients are not a multiple of 4"));
  }
  return std::span<const float>(reinterpret_cast<const float*>(bytes.data()),
                                bytes.size() / sizeof(float));
}

absl::StatusOr<std::span<const uint32_t>> PositionsOf(const std::string& bytes, uint32_t table) {
  if (bytes.size() % sizeof(uint32_t) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("table of index ", table, ": ", bytes.size(),
                                                   " bytes of positions are not a multiple of 4"));
  }
  return std::span<const uint32_t>(reinterpret_cast<const uint32_t*>(bytes.data()),
                                   bytes.size() / sizeof(uint32_t));
}

// Counts calls between arrival and answer, so that a shutdown can wait for them.
class CallCounter {
 public:
  void Begin() {
    std::lock_guard<std::mutex> lock(mutex_);
    ++active_;
  }
  void End() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--active_ == 0) idle_.notify_all();
  }
  void WaitIdle(absl::Duration limit) {
    std::unique_lock<std::mutex> lock(mutex_);
    idle_.wait_for(lock, absl::ToChronoMilliseconds(limit), [&] { return active_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable idle_;
  int64_t active_ = 0;
};

class Skin final : public proto::ParameterServer::CallbackService {
 public:
  Skin(const GrpcServerOptions& options, ParameterService* service)
      : options_(options),
        service_(service),
        data_queue_(options.num_threads, static_cast<size_t>(options.requests_waiting_max)),
        control_queue_(1, static_cast<size_t>(options.requests_waiting_max)) {}

  CallCounter& calls() { return calls_; }

  grpc::ServerUnaryReactor* Hello(grpc::CallbackServerContext* context,
                                  const proto::HelloRequest* request,
                                  proto::HelloReply* reply) override {
    return Enqueue(control_queue_, context,
                   [=, this](Finisher finish) { finish(Set(reply, service_->Hello(*request))); });
  }

  grpc::ServerUnaryReactor* Pull(grpc::CallbackServerContext* context,
                                 const proto::PullRequest* request,
                                 proto::PullReply* reply) override {
    return Enqueue(data_queue_, context,
                   [=, this](Finisher finish) { RunPull(*request, reply, std::move(finish)); });
  }

  grpc::ServerUnaryReactor* Push(grpc::CallbackServerContext* context,
                                 const proto::PushRequest* request,
                                 proto::PushReply* reply) override {
    return Enqueue(data_queue_, context,
                   [=, this](Finisher finish) { RunPush(*request, reply, std::move(finish)); });
  }

  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context,
                                      const proto::HeartbeatRequest* request,
                                      proto::HeartbeatReply* reply) override {
    Finisher finish = Begin(context);
    *reply = service_->Heartbeat(*request);
    return finish(absl::OkStatus());
  }

  grpc::ServerUnaryReactor* SetKey(grpc::CallbackServerContext* context,
                                   const proto::SetKeyRequest* request,
                                   proto::SetKeyReply*) override {
    return Begin(context)(service_->SetKey(request->job(), request->key(), request->value()));
  }

  grpc::ServerUnaryReactor* GetKey(grpc::CallbackServerContext* context,
                                   const proto::GetKeyRequest* request,
                                   proto::GetKeyReply* reply) override {
    Finisher finish = Begin(context);
    grpc::ServerUnaryReactor* reactor = finish.reactor;
    service_->GetKey(request->job(), request->key(), absl::Milliseconds(request->timeout_ms()),
                     [finish, reply](absl::StatusOr<std::string> value) {
                       if (value.ok()) reply->set_value(*std::move(value));
                       finish(value.status());
                     });
    return reactor;
  }

  grpc::ServerUnaryReactor* PrepareCut(grpc::CallbackServerContext* context,
                                       const proto::PrepareCutRequest* request,
                                       proto::PrepareCutReply* reply) override {
    return Enqueue(control_queue_, context, [=, this](Finisher finish) {
      finish(Set(reply, service_->PrepareCut(request->cut())));
    });
  }

  grpc::ServerUnaryReactor* DropCut(grpc::CallbackServerContext* context,
                                    const proto::DropCutRequest* request,
                                    proto::DropCutReply*) override {
    return Enqueue(control_queue_, context,
                   [=, this](Finisher finish) { finish(service_->DropCut(request->cut())); });
  }

  grpc::ServerUnaryReactor* RestoreCut(grpc::CallbackServerContext* context,
                                       const proto::RestoreCutRequest* request,
                                       proto::RestoreCutReply* reply) override {
    return Enqueue(control_queue_, context, [=, this](Finisher finish) {
      finish(Set(reply, service_->RestoreCut(*request)));
    });
  }

  grpc::ServerUnaryReactor* ImportRows(grpc::CallbackServerContext* context,
                                       const proto::ImportRowsRequest* request,
                                       proto::ImportRowsReply* reply) override {
    return Enqueue(control_queue_, context, [=, this](Finisher finish) {
      finish(Set(reply, service_->ImportRows(*request)));
    });
  }

  grpc::ServerUnaryReactor* GetTableStat(grpc::CallbackServerContext* context,
                                         const proto::TableStatRequest*,
                                         proto::TableStatReply* reply) override {
    return Enqueue(control_queue_, context,
                   [=, this](Finisher finish) { finish(Set(reply, service_->TableStats())); });
  }

 private:
  // Answers one call, once.
  struct Finisher {
    grpc::ServerUnaryReactor* reactor;
    CallCounter* calls;
    grpc::ServerUnaryReactor* operator()(const absl::Status& status) const {
      calls->End();  // First: once all are finished, the counter may be gone.
      reactor->Finish(ToGrpc(status));
      return reactor;
    }
  };

  Finisher Begin(grpc::CallbackServerContext* context) {
    calls_.Begin();
    return Finisher{context->DefaultReactor(), &calls_};
  }

  grpc::ServerUnaryReactor* Enqueue(TaskQueue& queue, grpc::CallbackServerContext* context,
                                    std::function<void(Finisher)> body) {
    Finisher finish = Begin(context);
    if (queue.TryAdd([body = std::move(body), finish] { body(finish); })) return finish.reactor;
    return finish(absl::ResourceExhaustedError(
        absl::StrCat(options_.requests_waiting_max, " requests wait in this server already")));
  }

  template <typename Reply>
  static absl::Status Set(Reply* reply, absl::StatusOr<Reply> result) {
    if (result.ok()) *reply = *std::move(result);
    return result.status();
  }

  // Makes room in the reply for every table's rows, and statistics where they are wanted.
  absl::StatusOr<std::vector<ServicePull>> LayOutPull(const proto::PullRequest& request,
                                                      proto::PullReply* reply) {
    constexpr size_t kStatisticsBytes = 2 * sizeof(uint32_t);
    std::vector<ServicePull> pulls;
    std::vector<size_t> row_bytes;
    size_t total = 0;
    bool statistics = false;
    for (const proto::TableIds& table : request.tables()) {
      PAGODA_ASSIGN_OR_RETURN(const auto ids, IdsOf(table.ids(), table.table()));
      PAGODA_ASSIGN_OR_RETURN(const int64_t dim, service_->TableDim(table.table()));
      row_bytes.push_back(ids.size() * static_cast<size_t>(dim) * sizeof(float));
      total += row_bytes.back();
      if (table.statistics()) total += ids.size() * kStatisticsBytes;
      statistics = statistics || table.statistics();
      pulls.push_back({table.table(), ids, nullptr});
    }
    if (total > static_cast<size_t>(options_.message_bytes_max)) {
      return absl::ResourceExhaustedError(absl::StrCat("the rows asked for are ", total,
                                                       " bytes; the limit of one reply is ",
                                                       options_.message_bytes_max));
    }
    for (size_t i = 0; i < pulls.size(); ++i) {
      std::string* rows = reply->add_rows();
      rows->resize(row_bytes[i]);
      pulls[i].rows = reinterpret_cast<float*>(rows->data());
      if (!statistics) continue;
      std::string* numbers = reply->add_statistics();
      if (!request.tables(static_cast<int>(i)).statistics()) continue;
      numbers->resize(pulls[i].ids.size() * kStatisticsBytes);
      pulls[i].statistics = reinterpret_cast<uint32_t*>(numbers->data());
    }
    return pulls;
  }

  void RunPull(const proto::PullRequest& request, proto::PullReply* reply, Finisher finish) {
    auto pulls = LayOutPull(request, reply);
    if (!pulls.ok()) {
      finish(pulls.status());
      return;
    }
    service_->Pull(request.job(), request.rank(), static_cast<Step>(request.after_step()),
                   *std::move(pulls), [finish](absl::Status status) { finish(status); });
  }

  // With room in the reply for the rows that come back.
  absl::StatusOr<std::vector<ServicePush>> ReadPush(const proto::PushRequest& request,
                                                    proto::PushReply* reply) {
    std::vector<ServicePush> pushes;
    size_t total = 0;
    for (const proto::TableGradients& table : request.tables()) {
      PAGODA_ASSIGN_OR_RETURN(const auto ids, IdsOf(table.ids(), table.table()));
      PAGODA_ASSIGN_OR_RETURN(const auto gradients, FloatsOf(table.gradients(), table.table()));
      PAGODA_ASSIGN_OR_RETURN(const auto returned, PositionsOf(table.returned(), table.table()));
      pushes.push_back({table.table(), ids, gradients, returned});
      std::string* const rows = reply->add_rows();
      if (returned.empty()) continue;
      if (returned.size() > ids.size()) {
        return absl::InvalidArgumentError(absl::StrCat("table ", table.table(), ": ",
                                                       returned.size(), " rows of ", ids.size(),
                                                       " are asked back"));
      }
      PAGODA_ASSIGN_OR_RETURN(const int64_t dim, service_->TableDim(table.table()));
      const size_t bytes = returned.size() * static_cast<size_t>(dim) * sizeof(float);
      total += bytes;
      if (total > static_cast<size_t>(options_.message_bytes_max)) {
        return absl::ResourceExhaustedError(absl::StrCat("the rows asked back are more than the ",
                                                         options_.message_bytes_max,
                                                         " bytes of one reply"));
      }
      rows->resize(bytes);
      pushes.back().rows = reinterpret_cast<float*>(rows->data());
    }
    return pushes;
  }

  void RunPush(const proto::PushRequest& request, proto::PushReply* reply, Finisher finish) {
    auto pushes = ReadPush(request, reply);
    if (!pushes.ok()) {
      finish(pushes.status());
      return;
    }
    PushHeader header;
    header.job = request.job();
    header.rank = request.rank();
    header.epoch = request.epoch();
    header.step = static_cast<Step>(request.step());
    header.sequence = request.sequence();
    header.incarnation = request.incarnation();
    header.learning_rate_factor = request.learning_rate_factor();
    reply->set_applied_step(request.step());
    service_->Push(header, *std::move(pushes), [finish](absl::Status status) { finish(status); });
  }

  const GrpcServerOptions options_;
  ParameterService* const service_;
  CallCounter calls_;
  TaskQueue data_queue_;
  TaskQueue control_queue_;  // Hello, cuts, statistics: may take seconds.
};

class GrpcServerImpl final : public GrpcServer {
 public:
  GrpcServerImpl(const GrpcServerOptions& options, ParameterService* service)
      : service_(service), skin_(std::make_unique<Skin>(options, service)) {}

  ~GrpcServerImpl() override {
    Shutdown(absl::AbortedError("the parameter server is closing"), absl::ZeroDuration());
  }

  absl::Status Start(const GrpcServerOptions& options, const HostPort& listen) {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsPerConnectionMax);
    builder.SetMaxReceiveMessageSize(options.message_bytes_max);
    builder.SetMaxSendMessageSize(options.message_bytes_max);
    builder.AddListeningPort(options.listen, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(skin_.get());
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port_ == 0) {
      return absl::UnavailableError(absl::StrCat(options.listen, ": cannot listen there"));
    }
    const bool v6 = listen.host.find(':') != std::string::npos;
    address_ =
        v6 ? absl::StrCat("[", listen.host, "]:", port_) : absl::StrCat(listen.host, ":", port_);
    server_->GetHealthCheckService()->SetServingStatus("pagoda.proto.ParameterServer", true);
    return absl::OkStatus();
  }

  int port() const override { return port_; }
  std::string address() const override { return address_; }

  void Shutdown(const absl::Status& cause, absl::Duration grace) override {
    std::lock_guard<std::mutex> lock(shutdown_mutex_);
    if (server_ == nullptr) return;
    server_->GetHealthCheckService()->SetServingStatus(false);
    // Stops the listening at once and returns when every call is answered: those
    // that wait in the service are, below.
    constexpr absl::Duration kLastAnswers = absl::Seconds(2);
    std::thread closing([this, grace] {
      server_->Shutdown(absl::ToChronoTime(absl::Now() + grace + kLastAnswers));
    });
    skin_->calls().WaitIdle(grace);
    service_->Shutdown(cause);
    closing.join();
    server_.reset();
  }

 private:
  ParameterService* const service_;
  std::unique_ptr<Skin> skin_;
  std::mutex shutdown_mutex_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::string address_;
};

// Binds a socket of our own first: gRPC says only that it failed, not why.
absl::Status ProbeListening(const GrpcServerOptions& options, const HostPort& listen) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int failed =
      getaddrinfo(listen.host.c_str(), absl::StrCat(listen.port).c_str(), &hints, &found);
  if (failed != 0) {
    return absl::UnavailableError(absl::StrCat(options.listen, ": ", gai_strerror(failed)));
  }
  int error = 0;
  for (const addrinfo* address = found; address != nullptr && error == 0;
       address = address->ai_next) {
    const int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) continue;  // A machine without IPv6, for one.
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->ai_family == AF_INET6) {
      setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || ::listen(fd, 1) != 0) {
      error = errno;
    }
    close(fd);
  }
  freeaddrinfo(found);
  if (error == 0) return absl::OkStatus();
  if (error == EADDRINUSE) {
    return absl::AlreadyExistsError(absl::StrCat(options.listen, ": address already in use"));
  }
  return absl::UnavailableError(absl::StrCat(options.listen, ": ", std::strerror(error)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> StartGrpcServer(const GrpcServerOptions& options,
                                                            ParameterService* service) {
  PAGODA_ASSIGN_OR_RETURN(const HostPort listen, ParseHostPort(options.listen));
  if (options.num_threads < 1 || options.requests_waiting_max < 1 ||
      options.message_bytes_max < 1024) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_threads ", options.num_threads, ", requests_waiting_max ",
                     options.requests_waiting_max, " and message_bytes_max ",
                     options.message_bytes_max, " must be at least 1, 1 and 1024"));
  }
  if (!IsLoopbackHost(listen.host) && !options.insecure_plaintext) {
    return absl::FailedPreconditionError(
        absl::StrCat(options.listen,
                     " can be reached from other machines, and nothing is encrypted: ask for "
                     "it by name with --insecure-plaintext, on a trusted network only"));
  }
  PAGODA_RETURN_IF_ERROR(ProbeListening(options, listen));
  auto server = std::make_unique<GrpcServerImpl>(options, service);
  PAGODA_RETURN_IF_ERROR(server->Start(options, listen));
  return std::unique_ptr<GrpcServer>(std::move(server));
}

}  // namespace pagoda
