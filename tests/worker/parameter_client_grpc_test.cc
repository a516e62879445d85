#include "worker/parameter_client_grpc.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <limits>
#include <thread>

#include "absl/time/clock.h"
#include "base/hash.h"
#include "server/parameter_server_grpc.h"
#include "tests/server/service_session.h"
#include "tests/worker/temporary_directory.h"

namespace pagoda {
namespace {

struct Servers {
  explicit Servers(size_t count, const std::string& version = kPagodaVersion) : directories(count) {
    for (size_t i = 0; i < count; ++i) {
      ParameterServiceOptions options;
      options.data_dir = directories[i].path();
      options.memory_bytes = 32 << 20;
      options.version = version;
      services.push_back(ParameterService::Open(options).value());
      servers.push_back(StartGrpcServer({}, services.back().get()).value());
      addresses.push_back(servers.back()->address());
    }
  }
  std::vector<TemporaryDirectory> directories;
  std::vector<std::unique_ptr<ParameterService>> services;
  std::vector<std::unique_ptr<GrpcServer>> servers;
  std::vector<std::string> addresses;
};

std::unique_ptr<ParameterClient> Client(const std::vector<std::string>& servers,
                                        absl::Duration connect_timeout = absl::Seconds(10)) {
  GrpcClientOptions options;
  options.servers = servers;
  options.connect_timeout = connect_timeout;
  return MakeGrpcClient(options).value();
}

SessionOptions Session(int rank = 0, int num_workers = 1) {
  SessionOptions session;
  session.job = "job";
  session.rank = rank;
  session.num_workers = num_workers;
  session.tables = {MakeTable("user", 4), MakeTable("item", 3, "adam")};
  session.timeout = absl::Seconds(2);
  return session;
}

absl::Status PushOf(ParameterClient& client, Step step, const std::vector<FeatureId>& ids,
                    const std::vector<float>& gradients) {
  Answer answer;
  client.Push(step, {{0, ids, gradients.data()}}, 1.0f, answer.Done());
  return answer.Get();
}

absl::StatusOr<std::vector<float>> PullOf(ParameterClient& client,
                                          const std::vector<FeatureId>& ids, Step after = 0) {
  std::vector<float> rows(ids.size() * 4);
  Answer answer;
  client.Pull({{0, ids, rows.data()}}, after, answer.Done());
  PAGODA_RETURN_IF_ERROR(answer.Get());
  return rows;
}

double SecondsSince(absl::Time start) {
  return absl::ToDoubleSeconds(absl::Now() - start);
}

TEST_CASE("addresses are checked before anything is sent") {
  GrpcClientOptions options;
  CHECK(MakeGrpcClient(options).status().code() == absl::StatusCode::kInvalidArgument);
  options.servers = {"127.0.0.1"};
  CHECK(MakeGrpcClient(options).status().code() == absl::StatusCode::kInvalidArgument);
  options.servers = {"127.0.0.1:7000", "127.0.0.1:7000"};
  CHECK(MakeGrpcClient(options).status().code() == absl::StatusCode::kInvalidArgument);
  options.servers = {"127.0.0.1:7000", "far-away:7000"};
  const absl::Status plain = MakeGrpcClient(options).status();
  CHECK(plain.code() == absl::StatusCode::kFailedPrecondition);
  CHECK_THAT(std::string(plain.message()), Catch::Contains("--insecure-plaintext"));
  options.insecure_plaintext = true;
  CHECK(MakeGrpcClient(options).ok());
}

TEST_CASE("Open names the server that is not there") {
  Servers servers(1);
  auto client = Client({servers.addresses[0], "127.0.0.1:1"}, absl::Seconds(3));
  SessionOptions session = Session();
  const absl::Time start = absl::Now();
  const absl::Status status = client->Open(session);
  CHECK(SecondsSince(start) < 8);
  INFO(status.ToString());
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK_THAT(std::string(status.message()),
             Catch::Contains("server 127.0.0.1:1 has not answered for 3.0 s") &&
                 Catch::Contains("Connection refused"));
}

TEST_CASE("Open names a server that accepts and never speaks") {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(listen(fd, 10) == 0);
  socklen_t size = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  const std::string name = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  auto client = Client({name}, absl::Seconds(1));
  const absl::Time start = absl::Now();
  const absl::Status status = client->Open(Session());
  CHECK(SecondsSince(start) < 5);
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK_THAT(std::string(status.message()), Catch::Contains("server " + name));
  close(fd);
}

TEST_CASE("Open waits for a server that is still starting") {
  GrpcServerOptions options;
  {
    Servers probe(1);
    options.listen = probe.addresses[0];  // A port that is free afterwards.
  }
  const TemporaryDirectory directory;
  std::unique_ptr<ParameterService> service;
  std::unique_ptr<GrpcServer> server;
  std::thread starting([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(700));
    service = OpenService(directory.path());
    server = StartGrpcServer(options, service.get()).value();
  });
  auto client = Client({options.listen}, absl::Seconds(20));
  const absl::Status status = client->Open(Session());
  starting.join();
  INFO(status.ToString());
  CHECK(status.ok());
}

TEST_CASE("Open brings a server's refusal, with its address") {
  Servers servers(1, "0.0.7");
  auto client = Client(servers.addresses);
  const absl::Status status = client->Open(Session());
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  CHECK_THAT(std::string(status.message()),
             Catch::Contains(servers.addresses[0]) && Catch::Contains("version 0.0.7"));
}

TEST_CASE("rows come back to their places, from any number of servers") {
  for (const size_t count : {1u, 3u}) {
    Servers servers(count);
    auto client = Client(servers.addresses);
    REQUIRE(client->Open(Session()).ok());
    CHECK(client->num_servers() == static_cast<int>(count));
    std::vector<FeatureId> ids(1001);
    std::vector<float> gradients;
    for (size_t i = 0; i < ids.size(); ++i) {
      ids[i] = MixBits(i);
      for (int k = 0; k < 4; ++k) gradients.push_back(static_cast<float>(i % 7) - 3.0f);
    }
    const std::vector<float> before = PullOf(*client, ids).value();
    CHECK(PushOf(*client, 1, ids, gradients).ok());
    const std::vector<float> after = PullOf(*client, ids, 1).value();
    for (size_t i = 0; i < ids.size(); ++i) {
      const float change = after[4 * i] - before[4 * i];
      const float gradient = gradients[4 * i];
      CHECK((gradient == 0 ? change == 0 : change * gradient < 0));
    }
    CHECK(PullOf(*client, {}).ok());
    CHECK(PushOf(*client, 2, {}, {}).ok());
    uint64_t rows = 0;
    const auto stats = client->TableStats();
    REQUIRE(stats.ok());
    for (const proto::TableStatReply& reply : *stats) rows += reply.tables(0).rows();
    CHECK(rows == ids.size());
    client->Leave(absl::OkStatus());
    for (auto& service : servers.services) CHECK(service->JobFinished());
  }
}

TEST_CASE("a gradient that is not finite reaches no server") {
  Servers servers(2);
  auto client = Client(servers.addresses);
  REQUIRE(client->Open(Session()).ok());
  std::vector<FeatureId> ids;
  for (FeatureId id = 0; id < 100; ++id) ids.push_back(id);
  std::vector<float> gradients(400, 1.0f);
  gradients[333] = std::numeric_limits<float>::quiet_NaN();
  const absl::Status status = PushOf(*client, 1, ids, gradients);
  CHECK(status == absl::InvalidArgumentError("table 'user': the gradient of id 83 is not finite"));
  for (auto& service : servers.services) CHECK(service->TableStats()->tables(0).rows() == 0);
}

TEST_CASE("a message above the limit is told before it is sent") {
  Servers servers(1);
  GrpcClientOptions options;
  options.servers = servers.addresses;
  options.message_bytes_max = 4096;
  auto client = MakeGrpcClient(options).value();
  REQUIRE(client->Open(Session()).ok());
  std::vector<FeatureId> ids(300);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = i;
  const absl::Status pull = PullOf(*client, ids).status();
  CHECK(pull.code() == absl::StatusCode::kResourceExhausted);
  CHECK_THAT(std::string(pull.message()), Catch::Contains("smaller batches"));
  CHECK(PushOf(*client, 1, ids, std::vector<float>(1200)).code() ==
        absl::StatusCode::kResourceExhausted);
}

TEST_CASE("two workers' steps complete together") {
  Servers servers(2);
  auto first = Client(servers.addresses);
  auto second = Client(servers.addresses);
  REQUIRE(first->Open(Session(0, 2)).ok());
  REQUIRE(second->Open(Session(1, 2)).ok());
  const std::vector<FeatureId> ids = {1, 2, 3, 4, 5};
  const std::vector<float> gradients(20, 1.0f);
  for (Step step = 1; step <= 5; ++step) {
    Answer push, pull;
    std::vector<float> rows(20);
    first->Push(step, {{0, ids, gradients.data()}}, 1.0f, push.Done());
    first->Pull({{0, ids, rows.data()}}, step, pull.Done());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    CHECK_FALSE(push.here());
    CHECK_FALSE(pull.here());
    CHECK(PushOf(*second, step, ids, gradients).ok());
    CHECK(push.Get().ok());
    CHECK(pull.Get().ok());
    CHECK(PullOf(*second, ids, step).value() == rows);
  }
}

TEST_CASE("waiting for a slow worker may take longer than the timeout, while all live") {
  Servers servers(1);
  auto first = Client(servers.addresses);
  auto second = Client(servers.addresses);
  SessionOptions session = Session(0, 2);
  session.timeout = absl::Seconds(1);
  REQUIRE(first->Open(session).ok());
  session.rank = 1;
  REQUIRE(second->Open(session).ok());
  Answer push;
  first->Push(1, {}, 1.0f, push.Done());
  std::this_thread::sleep_for(std::chrono::milliseconds(2500));
  CHECK_FALSE(push.here());
  CHECK(first->Health().ok());
  CHECK(PushOf(*second, 1, {}, {}).ok());
  CHECK(push.Get().ok());
}

TEST_CASE("a worker that fails tells the others through the servers") {
  Servers servers(2);
  auto first = Client(servers.addresses);
  auto second = Client(servers.addresses);
  REQUIRE(first->Open(Session(0, 2)).ok());
  REQUIRE(second->Open(Session(1, 2)).ok());
  Answer push;
  const absl::Time start = absl::Now();
  first->Push(1, {}, 1.0f, push.Done());
  second->Leave(absl::InvalidArgumentError("ratings.csv:17: bad number"));
  CHECK(push.Get().code() == absl::StatusCode::kAborted);
  CHECK_THAT(std::string(push.Get().message()),
             Catch::Contains("worker 1 (rank 1) has failed: ratings.csv:17: bad number"));
  while (first->Health().ok() && SecondsSince(start) < 5) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(SecondsSince(start) < 2);  // One heartbeat.
  CHECK_THAT(std::string(first->Health().message()), Catch::Contains("ratings.csv:17"));
  CHECK(PullOf(*first, {1}).status() == first->Health());
}

TEST_CASE("a client that ends without a word fails the job at once") {
  Servers servers(1);
  auto first = Client(servers.addresses);
  auto second = Client(servers.addresses);
  REQUIRE(first->Open(Session(0, 2)).ok());
  REQUIRE(second->Open(Session(1, 2)).ok());
  second.reset();
  CHECK_THAT(std::string(servers.services[0]->JobHealth().message()),
             Catch::Contains("worker 1 (rank 1) has failed: it closed its session"));
}

TEST_CASE("a server that shuts down ends its clients' calls, named") {
  Servers servers(2);
  auto client = Client(servers.addresses);
  REQUIRE(client->Open(Session(0, 2)).ok());
  Answer push;
  client->Push(1, {}, 1.0f, push.Done());
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const absl::Time start = absl::Now();
  servers.servers[1]->Shutdown(absl::AbortedError("Ctrl-C"), absl::ZeroDuration());
  const absl::Status status = push.Get();
  CHECK(SecondsSince(start) < 4);
  INFO(status.ToString());
  CHECK_THAT(std::string(status.message()), Catch::Contains(servers.addresses[1]));
}

TEST_CASE("keys meet over the first server") {
  Servers servers(2);
  auto first = Client(servers.addresses);
  auto second = Client(servers.addresses);
  REQUIRE(first->Open(Session(0, 2)).ok());
  REQUIRE(second->Open(Session(1, 2)).ok());
  const std::string value("\x01\x00\xff", 3);
  std::thread setting([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    (void)second->SetKey("k", value);
  });
  CHECK(first->GetKey("k", absl::Seconds(10)).value() == value);
  setting.join();
  const absl::Time start = absl::Now();
  const absl::Status late = first->GetKey("nobody's", absl::Milliseconds(300)).status();
  CHECK(late.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK_THAT(std::string(late.message()), Catch::Contains("nobody's"));
  CHECK(SecondsSince(start) < 2);
}

TEST_CASE("cuts are taken, restored and dropped on every server") {
  Servers servers(2);
  auto client = Client(servers.addresses);
  REQUIRE(client->Open(Session()).ok());
  const std::vector<FeatureId> ids = {1, 2, 3, 4, 5, 6, 7, 8};
  REQUIRE(PushOf(*client, 1, ids, std::vector<float>(32, 1.0f)).ok());
  const std::vector<float> at_cut = PullOf(*client, ids).value();
  const auto cuts = client->PrepareCut("c");
  REQUIRE(cuts.ok());
  REQUIRE(cuts->size() == 2);
  CHECK((*cuts)[0].server == servers.addresses[0]);
  CHECK((*cuts)[0].rows + (*cuts)[1].rows == 8);
  REQUIRE(PushOf(*client, 2, ids, std::vector<float>(32, 1.0f)).ok());
  CHECK(PullOf(*client, ids).value() != at_cut);
  CHECK(client->RestoreCut({"c", 1, "", {}}).ok());
  CHECK(PullOf(*client, ids).value() == at_cut);
  CHECK(client->DropCut("c").ok());
  const absl::Status gone = client->RestoreCut({"c", 1, "", {}});
  CHECK_FALSE(gone.ok());
  CHECK_THAT(std::string(gone.message()), Catch::Contains("server 127.0.0.1:"));
}

TEST_CASE("rows of a cut are taken into another job's tables on any number of servers") {
  const std::vector<FeatureId> ids = {1, 2, 3, 4, 5, 6, 7, 8};
  Servers two(2);
  auto source = Client(two.addresses);
  REQUIRE(source->Open(Session()).ok());
  REQUIRE(PushOf(*source, 1, ids, std::vector<float>(32, 1.0f)).ok());
  const std::vector<float> rows = PullOf(*source, ids).value();
  RowImport import;
  for (const ServerCut& cut : source->PrepareCut("c").value()) {
    import.directories.push_back(cut.directory);
  }
  import.tables = {{ 0, "user" }};
  for (const size_t num_servers : {1, 3}) {
    Servers next(num_servers);
    auto client = Client(next.addresses);
    REQUIRE(client->Open(Session()).ok());
    const auto taken = client->ImportRows(import);
    INFO(taken.status());
    REQUIRE(taken.ok());
    CHECK(*taken == std::vector<uint64_t>{8});
    CHECK(PullOf(*client, ids).value() == rows);
    RowImport wrong = import;
    wrong.tables = {{0, "item"}};
    const absl::Status refused = client->ImportRows(wrong).status();
    CHECK_THAT(std::string(refused.message()), Catch::Contains("rows of 3 weights"));
    wrong.directories = {"/nowhere"};
    CHECK(absl::IsNotFound(client->ImportRows(wrong).status()));
    CHECK(PullOf(*client, ids).value() == rows);
  }
}

TEST_CASE("a session that reads stores nothing and may not push") {
  Servers servers(1);
  auto trainer = Client(servers.addresses);
  REQUIRE(trainer->Open(Session()).ok());
  REQUIRE(PushOf(*trainer, 1, {1}, {1, 1, 1, 1}).ok());
  auto reader = Client(servers.addresses);
  SessionOptions session = Session();
  session.job = "report";
  session.training = false;
  REQUIRE(reader->Open(session).ok());
  CHECK(PullOf(*reader, {1, 2}).value() == PullOf(*trainer, {1, 2}).value());
  CHECK(PushOf(*reader, 1, {1}, {1, 1, 1, 1}).code() == absl::StatusCode::kFailedPrecondition);
  reader.reset();
  CHECK(trainer->Health().ok());
  CHECK(PushOf(*trainer, 2, {1}, {1, 1, 1, 1}).ok());
}

}  // namespace
}  // namespace pagoda
