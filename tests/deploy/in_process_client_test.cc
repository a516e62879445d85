// The in-process client, and that it gives the bits that real servers give.
#include "deploy/in_process_client.h"

#include <array>
#include <catch2/catch.hpp>
#include <limits>
#include <map>

#include "base/random.h"
#include "server/parameter_server_grpc.h"
#include "tests/server/service_session.h"
#include "tests/worker/temporary_directory.h"
#include "worker/parameter_client_grpc.h"

namespace pagoda {
namespace {

const std::vector<proto::TableSpec> kTables = {MakeTable("user", 4), MakeTable("item", 3, "adam")};

struct Shards {
  explicit Shards(size_t count) : directories(count) {
    for (const TemporaryDirectory& directory : directories) {
      services.push_back(OpenService(directory.path()));
    }
  }
  std::vector<ParameterService*> pointers() const {
    std::vector<ParameterService*> pointers;
    for (const auto& service : services) pointers.push_back(service.get());
    return pointers;
  }
  // Closes the services: the sum of the shards' content hashes.
  uint64_t ContentHash() {
    services.clear();
    uint64_t hash = 0;
    for (const TemporaryDirectory& directory : directories) hash += ContentHashOf(directory.path());
    return hash;
  }
  std::vector<TemporaryDirectory> directories;
  std::vector<std::unique_ptr<ParameterService>> services;
};

SessionOptions Session(int rank, int num_workers) {
  SessionOptions session;
  session.job = "job";
  session.rank = rank;
  session.num_workers = num_workers;
  session.tables = kTables;
  return session;
}

// How often the ids of some steps were pushed to, and the last step that did.
using Expected = std::map<FeatureId, std::array<uint32_t, 2>>;

void CheckStatistics(ParameterClient& client, const Expected& expected) {
  std::vector<FeatureId> ids = {123456789};  // Never pushed.
  std::vector<uint32_t> want = {0, 0};
  for (const auto& [id, row] : expected) {
    ids.push_back(id);
    want.insert(want.end(), row.begin(), row.end());
  }
  std::vector<float> users(ids.size() * 4), items(ids.size() * 3);
  std::vector<uint32_t> statistics(2 * ids.size(), 12345);
  Answer pull;
  client.Pull({{0, ids, users.data()}, {1, ids, items.data(), statistics.data()}}, 5, pull.Done());
  REQUIRE(pull.Get().ok());
  CHECK(statistics == want);
}

// Two workers push five steps of random rows; the rows read after each.
std::vector<float> Train(std::vector<std::unique_ptr<ParameterClient>> workers) {
  const int num_workers = static_cast<int>(workers.size());
  for (int rank = 0; rank < num_workers; ++rank) {
    const absl::Status status =
        workers[static_cast<size_t>(rank)]->Open(Session(rank, num_workers));
    INFO(status.ToString());
    REQUIRE(status.ok());
  }
  std::vector<float> seen;
  Expected expected;
  for (Step step = 1; step <= 5; ++step) {
    std::vector<Answer> answers(workers.size());
    std::vector<std::vector<FeatureId>> ids(workers.size());
    std::vector<std::vector<float>> gradients(workers.size());
    // Of table 0, each worker asks every fifth row back; of table 1 the last alone.
    std::vector<std::vector<uint32_t>> fifths(workers.size()), last(workers.size());
    std::vector<std::vector<float>> fifth_rows(workers.size()), last_row(workers.size());
    for (size_t rank = 0; rank < workers.size(); ++rank) {
      const RandomKey key = RandomKey{12}.Derive(rank).Derive(static_cast<uint64_t>(step));
      for (FeatureId id = 0; id < 400; ++id) {
        if (RandomUniform(key, id) < 0.5f) ids[rank].push_back(MixBits(id));
      }
      for (const FeatureId id : ids[rank]) {
        std::array<uint32_t, 2>& row = expected[id];
        if (row[1] != static_cast<uint32_t>(step)) ++row[0];
        row[1] = static_cast<uint32_t>(step);
      }
      for (size_t i = 0; i < ids[rank].size() * 4; ++i) {
        gradients[rank].push_back(RandomNormal(key.Derive(1), i));
      }
      for (uint32_t i = 0; i < ids[rank].size(); i += 5) fifths[rank].push_back(i);
      last[rank] = {static_cast<uint32_t>(ids[rank].size() - 1)};
      fifth_rows[rank].resize(fifths[rank].size() * 4);
      last_row[rank].resize(3);
      workers[rank]->Push(
          step,
          {{0, ids[rank], gradients[rank].data(), fifths[rank], fifth_rows[rank].data()},
           {1, ids[rank], gradients[rank].data(), last[rank], last_row[rank].data()}},
          0.5f, answers[rank].Done());
    }
    for (Answer& answer : answers) REQUIRE(answer.Get().ok());
    for (size_t rank = 0; rank < workers.size(); ++rank) {
      std::vector<float> users(ids[rank].size() * 4), items(ids[rank].size() * 3);
      Answer pull;
      workers[rank]->Pull({{0, ids[rank], users.data()}, {1, ids[rank], items.data()}}, step,
                          pull.Done());
      REQUIRE(pull.Get().ok());
      for (size_t i = 0; i < fifths[rank].size(); ++i) {
        REQUIRE(std::equal(fifth_rows[rank].begin() + static_cast<ptrdiff_t>(i * 4),
                           fifth_rows[rank].begin() + static_cast<ptrdiff_t>(i * 4 + 4),
                           users.begin() + static_cast<ptrdiff_t>(fifths[rank][i] * 4)));
      }
      REQUIRE(std::equal(last_row[rank].begin(), last_row[rank].end(), items.end() - 3));
    }
    std::vector<float> users(ids[0].size() * 4), items(ids[0].size() * 3);
    Answer pull;
    workers[0]->Pull({{1, ids[0], items.data()}, {0, ids[0], users.data()}}, step, pull.Done());
    REQUIRE(pull.Get().ok());
    seen.insert(seen.end(), users.begin(), users.end());
    seen.insert(seen.end(), items.begin(), items.end());
  }
  CheckStatistics(*workers.back(), expected);
  for (auto& worker : workers) worker->Leave(absl::OkStatus());
  return seen;
}

struct Outcome {
  std::vector<float> rows;
  uint64_t hash = 0;
};

Outcome TrainEmbedded(size_t num_shards, size_t num_workers) {
  Shards shards(num_shards);
  std::vector<std::unique_ptr<ParameterClient>> workers;
  for (size_t i = 0; i < num_workers; ++i)
    workers.push_back(MakeInProcessClient(shards.pointers()));
  Outcome outcome;
  outcome.rows = Train(std::move(workers));
  outcome.hash = shards.ContentHash();
  return outcome;
}

Outcome TrainOverGrpc(size_t num_shards, size_t num_workers) {
  Shards shards(num_shards);
  Outcome outcome;
  {
    std::vector<std::unique_ptr<GrpcServer>> servers;
    GrpcClientOptions options;
    for (ParameterService* service : shards.pointers()) {
      servers.push_back(StartGrpcServer({}, service).value());
      options.servers.push_back(servers.back()->address());
    }
    std::vector<std::unique_ptr<ParameterClient>> workers;
    for (size_t i = 0; i < num_workers; ++i) workers.push_back(MakeGrpcClient(options).value());
    outcome.rows = Train(std::move(workers));
  }
  outcome.hash = shards.ContentHash();
  return outcome;
}

TEST_CASE("any number of shards, embedded or over gRPC: the same bits") {
  for (const size_t num_workers : {1u, 2u}) {
    CAPTURE(num_workers);
    const Outcome expected = TrainEmbedded(1, num_workers);
    for (const size_t num_shards : {1u, 2u, 4u}) {
      CAPTURE(num_shards);
      const Outcome embedded = TrainEmbedded(num_shards, num_workers);
      CHECK(embedded.rows == expected.rows);
      CHECK(embedded.hash == expected.hash);
      const Outcome remote = TrainOverGrpc(num_shards, num_workers);
      CHECK(remote.rows == expected.rows);
      CHECK(remote.hash == expected.hash);
    }
  }
}

TEST_CASE("errors of the caller and of the service come back") {
  Shards shards(2);
  auto client = MakeInProcessClient(shards.pointers());
  SessionOptions bad = Session(0, 1);
  bad.tables[0].set_dim(0);
  CHECK_THAT(std::string(client->Open(bad).message()), Catch::Contains("embedded server 0"));
  REQUIRE(client->Open(Session(0, 1)).ok());
  const std::vector<FeatureId> ids = {1};
  const std::vector<float> nan(4, std::numeric_limits<float>::quiet_NaN());
  Answer not_finite, no_table;
  client->Push(1, {{0, ids, nan.data()}}, 1.0f, not_finite.Done());
  CHECK(not_finite.Get().code() == absl::StatusCode::kInvalidArgument);
  client->Pull({{2, ids, nullptr}}, 0, no_table.Done());
  CHECK(no_table.Get().code() == absl::StatusCode::kInvalidArgument);
  CHECK(client->SetKey("k", "v").ok());
  CHECK(client->GetKey("k", absl::Seconds(1)).value() == "v");
  CHECK(client->GetKey("other", absl::Milliseconds(10)).status().code() ==
        absl::StatusCode::kDeadlineExceeded);
  const std::vector<ServerCut> cuts = client->PrepareCut("c").value();
  REQUIRE(cuts.size() == 2);
  RowImport import;
  import.directories = {cuts[0].directory, cuts[1].directory};
  import.tables = {{0, "user"}, { 0, "user" }};
  CHECK(client->ImportRows(import).value() == std::vector<uint64_t>{0, 0});
  import.directories.push_back("/nowhere");
  CHECK_THAT(std::string(client->ImportRows(import).status().message()),
             Catch::Contains("embedded server 0") && Catch::Contains("/nowhere"));
  CHECK(client->RestoreCut({"c", 1, "", {}}).ok());
  CHECK(client->DropCut("c").ok());
  CHECK(client->TableStats().value().size() == 2);
}

TEST_CASE("a client that ends without leaving fails its job; a new one may follow") {
  Shards shards(1);
  auto client = MakeInProcessClient(shards.pointers());
  REQUIRE(client->Open(Session(0, 1)).ok());
  client.reset();
  CHECK_FALSE(shards.services[0]->JobHealth().ok());
  client = MakeInProcessClient(shards.pointers());
  REQUIRE(client->Open(Session(0, 1)).ok());
  CHECK(client->Health().ok());
  client->Leave(absl::OkStatus());
  CHECK(shards.services[0]->JobFinished());
}

}  // namespace
}  // namespace pagoda
