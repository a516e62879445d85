#include "server/parameter_server_grpc.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <future>
#include <thread>

#include "proto/parameter_server.grpc.pb.h"
#include "tests/server/service_session.h"
#include "tests/worker/temporary_directory.h"

namespace pagoda {
namespace {

using Stub = proto::ParameterServer::Stub;

struct RunningServer {
  explicit RunningServer(GrpcServerOptions options = {}) : service(OpenService(directory.path())) {
    auto started = StartGrpcServer(options, service.get());
    INFO(started.status().ToString());
    REQUIRE(started.ok());
    server = *std::move(started);
    channel = grpc::CreateChannel(server->address(), grpc::InsecureChannelCredentials());
    stub = proto::ParameterServer::NewStub(channel);
  }

  grpc::Status Hello(const std::vector<proto::TableSpec>& tables, uint32_t num_workers = 1) {
    grpc::ClientContext context;
    proto::HelloReply reply;
    return stub->Hello(&context, MakeHelloOf(0, num_workers, tables), &reply);
  }

  TemporaryDirectory directory;
  std::unique_ptr<ParameterService> service;
  std::unique_ptr<GrpcServer> server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<Stub> stub;
};

std::string Bytes(const std::vector<FeatureId>& ids) {
  return std::string(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(FeatureId));
}
std::string Bytes(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}
std::vector<float> Floats(const std::string& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

proto::PushRequest Push(Step step, const std::string& ids, const std::string& gradients) {
  proto::PushRequest request;
  request.set_job("job");
  request.set_epoch(1);
  request.set_step(static_cast<uint64_t>(step));
  request.set_sequence(static_cast<uint64_t>(step));
  request.set_incarnation(1000);
  request.set_learning_rate_factor(1);
  proto::TableGradients& table = *request.add_tables();
  table.set_ids(ids);
  table.set_gradients(gradients);
  return request;
}

proto::PullRequest Pull(const std::string& ids) {
  proto::PullRequest request;
  request.set_job("job");
  request.add_tables()->set_ids(ids);
  return request;
}

// Sends raw bytes to a method and returns the first answer's; for services whose
// stubs are not installed.
std::string CallRaw(RunningServer& running, const std::string& method, const std::string& request) {
  grpc::GenericStub generic(running.channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  grpc::CompletionQueue queue;
  auto stream = generic.PrepareCall(&context, method, &queue);
  auto wait = [&] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  stream->StartCall(nullptr);
  REQUIRE(wait());
  const grpc::Slice slice(request);
  stream->Write(grpc::ByteBuffer(&slice, 1), nullptr);
  REQUIRE(wait());
  stream->WritesDone(nullptr);
  REQUIRE(wait());
  grpc::ByteBuffer answer;
  stream->Read(&answer, nullptr);
  REQUIRE(wait());
  std::vector<grpc::Slice> slices;
  REQUIRE(answer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& part : slices) {
    bytes.append(reinterpret_cast<const char*>(part.begin()), part.size());
  }
  context.TryCancel();
  return bytes;
}

TEST_CASE("rows travel as raw little-endian bytes") {
  RunningServer running;
  REQUIRE(running.Hello({MakeTable("user", 2, "sgd")}).ok());
  const std::vector<FeatureId> ids = {3, 0xfedcba9876543210u};
  grpc::ClientContext before_context, push_context, after_context;
  proto::PullReply before, after;
  REQUIRE(running.stub->Pull(&before_context, Pull(Bytes(ids)), &before).ok());
  REQUIRE(before.rows_size() == 1);
  CHECK(Floats(before.rows(0)) == PullAndWait(*running.service, 0, ids).value());

  proto::PushReply pushed;
  REQUIRE(
      running.stub
          ->Push(&push_context, Push(1, Bytes(ids), Bytes(std::vector<float>{1, 2, 3, 4})), &pushed)
          .ok());
  CHECK(pushed.applied_step() == 1);
  REQUIRE(running.stub->Pull(&after_context, Pull(Bytes(ids)), &after).ok());
  const std::vector<float> old_rows = Floats(before.rows(0)), new_rows = Floats(after.rows(0));
  for (size_t i = 0; i < 4; ++i) {
    CHECK(new_rows[i] == Approx(old_rows[i] - 0.05f * static_cast<float>(i + 1)));
  }
}

TEST_CASE("statistics travel where they are asked for, and nothing of them elsewhere") {
  RunningServer running;
  REQUIRE(running.Hello({MakeTable("user", 2, "sgd"), MakeTable("item", 2, "sgd")}).ok());
  const std::vector<FeatureId> ids = {3, 5, 3};
  for (Step step = 1; step <= 2; ++step) {
    grpc::ClientContext context;
    proto::PushReply pushed;
    proto::PushRequest request =
        Push(step, Bytes(std::vector<FeatureId>{3}), Bytes(std::vector<float>{1, 2}));
    request.mutable_tables(0)->set_table(1);
    REQUIRE(running.stub->Push(&context, request, &pushed).ok());
  }
  for (const bool asks : {false, true}) {
    proto::PullRequest request = Pull(Bytes(ids));
    proto::TableIds& items = *request.add_tables();
    items.set_table(1);
    items.set_ids(Bytes(ids));
    items.set_statistics(asks);
    grpc::ClientContext context;
    proto::PullReply reply;
    REQUIRE(running.stub->Pull(&context, request, &reply).ok());
    REQUIRE(reply.rows_size() == 2);
    CHECK(Floats(reply.rows(1)) == PullAndWait(*running.service, 1, ids).value());
    REQUIRE(reply.statistics_size() == (asks ? 2 : 0));
    if (!asks) continue;
    CHECK(reply.statistics(0).empty());
    const std::vector<uint32_t> want = {2, 2, 0, 0, 2, 2};
    REQUIRE(reply.statistics(1).size() == 24);
    CHECK(std::memcmp(reply.statistics(1).data(), want.data(), 24) == 0);
  }
}

TEST_CASE("bytes that are no whole number of values are refused") {
  RunningServer running;
  REQUIRE(running.Hello({MakeTable("user", 2)}).ok());
  grpc::ClientContext contexts[3];
  proto::PullReply pulled;
  const grpc::Status odd_ids = running.stub->Pull(&contexts[0], Pull("1234567"), &pulled);
  CHECK(odd_ids.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CHECK_THAT(odd_ids.error_message(), Catch::Contains("multiple of 8"));
  proto::PushReply pushed;
  CHECK(running.stub->Push(&contexts[1], Push(1, "123456789", ""), &pushed).error_code() ==
        grpc::StatusCode::INVALID_ARGUMENT);
  const grpc::Status odd_gradients = running.stub->Push(
      &contexts[2], Push(1, Bytes(std::vector<FeatureId>{1}), "1234567"), &pushed);
  CHECK(odd_gradients.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CHECK_THAT(odd_gradients.error_message(), Catch::Contains("multiple of 4"));
}

TEST_CASE("codes and words of the service reach the client") {
  RunningServer running;
  proto::HelloRequest hello = MakeHelloOf(0, 1, {});
  hello.set_version("0.0.1");
  grpc::ClientContext context;
  proto::HelloReply reply;
  const grpc::Status status = running.stub->Hello(&context, hello, &reply);
  CHECK(status.error_code() == grpc::StatusCode::FAILED_PRECONDITION);
  CHECK_THAT(status.error_message(), Catch::Contains("0.0.1"));
}

TEST_CASE("a reply above the limit is refused before any work, and says the limit") {
  GrpcServerOptions options;
  options.message_bytes_max = 1 << 20;
  RunningServer running(options);
  REQUIRE(running.Hello({MakeTable("wide", 4096)}).ok());
  grpc::ClientContext context;
  proto::PullReply pulled;
  const std::vector<FeatureId> ids(65, 7);  // 65 rows of 16 KiB.
  const grpc::Status status = running.stub->Pull(&context, Pull(Bytes(ids)), &pulled);
  CHECK(status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
  CHECK_THAT(status.error_message(), Catch::Contains("1048576"));
  // 64 rows fit, but not with their statistics.
  grpc::ClientContext contexts[2];
  proto::PullRequest request = Pull(Bytes(std::vector<FeatureId>(64, 7)));
  CHECK(running.stub->Pull(&contexts[0], request, &pulled).error_code() !=
        grpc::StatusCode::INVALID_ARGUMENT);
  request.mutable_tables(0)->set_statistics(true);
  CHECK(running.stub->Pull(&contexts[1], request, &pulled).error_code() ==
        grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_CASE("messages of megabytes go through") {
  RunningServer running;
  REQUIRE(running.Hello({MakeTable("user", 16, "sgd")}).ok());
  std::vector<FeatureId> ids(100000);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = i;
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  auto stub = proto::ParameterServer::NewStub(grpc::CreateCustomChannel(
      running.server->address(), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext contexts[2];
  proto::PushReply pushed;
  const grpc::Status push = stub->Push(
      &contexts[0], Push(1, Bytes(ids), Bytes(std::vector<float>(ids.size() * 16, 0.5f))), &pushed);
  INFO(push.error_message());
  REQUIRE(push.ok());
  proto::PullReply pulled;
  REQUIRE(stub->Pull(&contexts[1], Pull(Bytes(ids)), &pulled).ok());
  CHECK(Floats(pulled.rows(0)) == PullAndWait(*running.service, 0, ids).value());
}

TEST_CASE("a port in use is told as such") {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(listen(fd, 1) == 0);
  socklen_t size = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  GrpcServerOptions options;
  options.listen = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  const absl::Status status = StartGrpcServer(options, service.get()).status();
  CHECK(status == absl::AlreadyExistsError(options.listen + ": address already in use"));
  close(fd);
  CHECK(StartGrpcServer(options, service.get()).ok());
}

TEST_CASE("two servers never share a port") {
  RunningServer running;
  GrpcServerOptions options;
  options.listen = running.server->address();
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  CHECK(StartGrpcServer(options, service.get()).status().code() ==
        absl::StatusCode::kAlreadyExists);
}

TEST_CASE("plaintext beyond loopback must be asked for by name") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  GrpcServerOptions options;
  for (const char* listen : {"0.0.0.0:0", "[::]:0", "some-host:0", "10.1.2.3:0"}) {
    options.listen = listen;
    const absl::Status status = StartGrpcServer(options, service.get()).status();
    CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
    CHECK_THAT(std::string(status.message()), Catch::Contains("--insecure-plaintext"));
  }
  options.listen = "0.0.0.0:0";
  options.insecure_plaintext = true;
  CHECK(StartGrpcServer(options, service.get()).ok());
}

TEST_CASE("addresses and options that make no sense are refused") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  GrpcServerOptions options;
  options.listen = "127.0.0.1";
  CHECK(StartGrpcServer(options, service.get()).status().code() ==
        absl::StatusCode::kInvalidArgument);
  options = GrpcServerOptions();
  options.num_threads = 0;
  CHECK(StartGrpcServer(options, service.get()).status().code() ==
        absl::StatusCode::kInvalidArgument);
  options = GrpcServerOptions();
  options.listen = "192.0.2.1:0";  // Documentation range: no machine has it.
  options.insecure_plaintext = true;
  CHECK(StartGrpcServer(options, service.get()).status().code() == absl::StatusCode::kUnavailable);
}

TEST_CASE("the health service answers for the whole and for the service") {
  RunningServer running;
  const std::string serving("\x08\x01", 2);  // status = SERVING
  CHECK(CallRaw(running, "/grpc.health.v1.Health/Check", "") == serving);
  const std::string name = "pagoda.proto.ParameterServer";
  CHECK(CallRaw(running, "/grpc.health.v1.Health/Check",
                std::string("\x0a") + static_cast<char>(name.size()) + name) == serving);
}

TEST_CASE("reflection lists the service") {
  RunningServer running;
  const std::string list_services("\x3a\x01*", 3);
  CHECK_THAT(CallRaw(running, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                     list_services),
             Catch::Contains("pagoda.proto.ParameterServer"));
}

TEST_CASE("heartbeats are answered while requests wait") {
  GrpcServerOptions options;
  options.num_threads = 1;
  RunningServer running(options);
  REQUIRE(running.Hello({MakeTable("user", 2)}, 2).ok());
  // A push that waits for worker 1 holds no thread.
  std::thread pusher([&] {
    grpc::ClientContext context;
    proto::PushReply reply;
    (void)running.stub->Push(&context, Push(1, "", ""), &reply);
  });
  proto::HeartbeatRequest beat;
  beat.set_job("job");
  beat.set_incarnation(1000);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  proto::HeartbeatReply reply;
  CHECK(running.stub->Heartbeat(&context, beat, &reply).ok());
  CHECK(reply.failure().empty());
  running.server->Shutdown(absl::AbortedError("the end"), absl::ZeroDuration());
  pusher.join();
}

TEST_CASE("shutting down answers waiting calls with the cause, within the grace") {
  RunningServer running;
  REQUIRE(running.Hello({MakeTable("user", 2)}, 2).ok());
  grpc::Status status;
  std::thread pusher([&] {
    grpc::ClientContext context;
    proto::PushReply reply;
    status = running.stub->Push(&context, Push(1, "", ""), &reply);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const auto start = std::chrono::steady_clock::now();
  running.server->Shutdown(absl::AbortedError("server is stopping: Ctrl-C"),
                           absl::Milliseconds(300));
  pusher.join();
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(3));
  CHECK(status.error_code() == grpc::StatusCode::ABORTED);
  CHECK(status.error_message() == "server is stopping: Ctrl-C");
  running.server->Shutdown(absl::AbortedError("again"), absl::ZeroDuration());
}

TEST_CASE("keys and cuts and statistics go over the wire") {
  RunningServer running;
  REQUIRE(running.Hello({MakeTable("user", 2)}).ok());
  auto waiting = std::async(std::launch::async, [&] {
    grpc::ClientContext context;
    proto::GetKeyRequest request;
    request.set_job("job");
    request.set_key("k");
    request.set_timeout_ms(10000);
    proto::GetKeyReply reply;
    const grpc::Status status = running.stub->GetKey(&context, request, &reply);
    return status.ok() ? reply.value() : status.error_message();
  });
  grpc::ClientContext contexts[5];
  proto::SetKeyRequest set;
  set.set_job("job");
  set.set_key("k");
  set.set_value(std::string("\0v", 2));
  proto::SetKeyReply set_reply;
  CHECK(running.stub->SetKey(&contexts[0], set, &set_reply).ok());
  CHECK(waiting.get() == std::string("\0v", 2));

  proto::PrepareCutRequest prepare;
  prepare.set_cut("c");
  proto::PrepareCutReply prepared;
  CHECK(running.stub->PrepareCut(&contexts[1], prepare, &prepared).ok());
  CHECK(prepared.directory() == running.directory.path() + "/cuts/c");
  proto::RestoreCutRequest restore;
  restore.set_job("job");
  restore.set_cut("c");
  restore.set_epoch(1);
  proto::RestoreCutReply restored;
  CHECK(running.stub->RestoreCut(&contexts[2], restore, &restored).ok());
  proto::DropCutRequest drop;
  drop.set_cut("c");
  proto::DropCutReply dropped;
  CHECK(running.stub->DropCut(&contexts[3], drop, &dropped).ok());
  proto::TableStatReply stats;
  CHECK(running.stub->GetTableStat(&contexts[4], proto::TableStatRequest(), &stats).ok());
  REQUIRE(stats.tables_size() == 1);
  CHECK(stats.tables(0).spec().name() == "user");
  CHECK(stats.tables(0).spec().optimizer().kind() == "adagrad");
}

}  // namespace
}  // namespace pagoda
