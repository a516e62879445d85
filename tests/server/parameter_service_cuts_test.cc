// Cuts, rewinds, and the sessions that only read them.
#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/server/service_session.h"
#include "tests/worker/temporary_directory.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

const std::vector<proto::TableSpec> kTables = {MakeTable("user", 2), MakeTable("item", 3, "adam")};
const std::vector<FeatureId> kIds = {1, 2, 3};

std::vector<Rows> RowsOf(Step step) {
  const float value = static_cast<float>(step);
  return {{0, kIds, std::vector<float>(6, value)}, {1, kIds, std::vector<float>(9, -value)}};
}

std::vector<float> AllRows(ParameterService& service, const std::string& job = "job") {
  std::vector<float> rows = PullAndWait(service, 0, kIds, 0, job).value();
  const std::vector<float> more = PullAndWait(service, 1, kIds, 0, job).value();
  rows.insert(rows.end(), more.begin(), more.end());
  return rows;
}

proto::RestoreCutRequest Restore(const std::string& cut, uint64_t epoch) {
  proto::RestoreCutRequest request;
  request.set_job("job");
  request.set_cut(cut);
  request.set_epoch(epoch);
  return request;
}

TEST_CASE("tables take the rows of another job's cut, by any name and on any shard") {
  const TemporaryDirectory directory;
  std::string cut;
  std::vector<float> items;
  {
    auto source = OpenService(directory / "source");
    REQUIRE(source->Hello(MakeHelloOf(0, 1, kTables)).ok());
    REQUIRE(PushAndWait(*source, MakeHeader(0, 1), RowsOf(1)).ok());
    items = PullAndWait(*source, 1, kIds, 0).value();
    cut = source->PrepareCut("last")->directory();
  }
  auto service = OpenService(directory / "next");
  std::vector<proto::TableSpec> tables = {MakeTable("a", 3), MakeTable("b", 3)};
  tables[1].set_frozen(true);
  REQUIRE(service->Hello(MakeHelloOf(0, 1, tables)).ok());
  proto::ImportRowsRequest request;
  request.set_job("job");
  request.set_epoch(1);
  request.add_directories(cut);
  for (uint32_t table = 0; table < 2; ++table) {
    proto::ImportRowsRequest::Table* asked = request.add_tables();
    asked->set_table(table);
    asked->set_source("item");
  }
  for (int time = 0; time < 2; ++time) {  // Again: the same rows.
    const auto taken = service->ImportRows(request);
    INFO(taken.status());
    REQUIRE(taken.ok());
    CHECK(taken->rows(0) == 3);
    CHECK(taken->rows(1) == 3);
    CHECK(PullAndWait(*service, 0, kIds, 0).value() == items);
    CHECK(PullAndWait(*service, 1, kIds, 0).value() == items);
    // As pushed once, before the first step; also those of a frozen table.
    for (uint32_t table = 0; table < 2; ++table) {
      CHECK(PullStatistics(*service, table, {kIds[0], 987654321}).value() ==
            std::vector<uint32_t>{1, 0, 0, 0});
    }
  }
  const auto stats = service->TableStats();
  REQUIRE(stats.ok());
  CHECK(stats->tables(0).rows() == 3);
  CHECK(stats->tables(0).pushed() == 0);

  const auto refused = [&](auto change, const std::string& words) {
    proto::ImportRowsRequest wrong = request;
    change(wrong);
    const absl::Status status = service->ImportRows(wrong).status();
    INFO(status);
    CHECK_THAT(std::string(status.message()), Catch::Matchers::Contains(words));
    CHECK(PullAndWait(*service, 0, kIds, 0).value() == items);
  };
  refused([](auto& r) { r.mutable_tables(0)->set_source("user"); }, "rows of 2 weights");
  refused([](auto& r) { r.mutable_tables(0)->set_source("other"); }, "no table \"other\"");
  refused([](auto& r) { r.mutable_tables(1)->set_table(7); }, "no table of index 7");
  refused([](auto& r) { r.set_directories(0, "/nowhere"); }, "cannot read the directory /nowhere");
  refused([](auto& r) { r.set_job("another"); }, "another");
  refused([](auto& r) { r.set_epoch(0); }, "epoch 0");
}

TEST_CASE("a cut is what had been pushed, and a rewind brings it back") {
  const TemporaryDirectory directory;
  uint64_t hash_at_cut = 0;
  {
    auto service = OpenService(directory.path());
    REQUIRE(service->Hello(MakeHelloOf(0, 1, kTables)).ok());
    for (Step step = 1; step <= 3; ++step) {
      REQUIRE(PushAndWait(*service, MakeHeader(0, step), RowsOf(step)).ok());
    }
  }
  hash_at_cut = ContentHashOf(directory.path());
  {
    auto service = OpenService(directory.path());
    REQUIRE(service->Hello(MakeHelloOf(0, 1, kTables)).ok());
    const std::vector<float> at_cut = AllRows(*service);
    const auto cut = service->PrepareCut("step-3");
    INFO(cut.status().ToString());
    REQUIRE(cut.ok());
    CHECK(cut->rows() == 6);
    CHECK(cut->directory() == directory.path() + "/cuts/step-3");
    CHECK(EmbeddingStore::VerifyCut(cut->directory()).value().checksum == cut->checksum());

    REQUIRE(PushAndWait(*service, MakeHeader(0, 4), RowsOf(4)).ok());
    CHECK(AllRows(*service) != at_cut);
    const auto restored = service->RestoreCut(Restore("step-3", 1));
    INFO(restored.status().ToString());
    REQUIRE(restored.ok());
    CHECK(restored->sequence() == cut->sequence());
    CHECK(AllRows(*service) == at_cut);
    CHECK(EmbeddingStore::VerifyCut(cut->directory()).ok());
  }
  CHECK(ContentHashOf(directory.path()) == hash_at_cut);
}

TEST_CASE("training goes on from a rewind as from the first time") {
  const TemporaryDirectory straight_directory, rewound_directory;
  for (const bool rewind : {false, true}) {
    auto service = OpenService(rewind ? rewound_directory.path() : straight_directory.path());
    REQUIRE(service->Hello(MakeHelloOf(0, 1, kTables)).ok());
    for (Step step = 1; step <= 2; ++step) {
      REQUIRE(PushAndWait(*service, MakeHeader(0, step), RowsOf(step)).ok());
    }
    if (rewind) {
      REQUIRE(service->PrepareCut("two").ok());
      REQUIRE(PushAndWait(*service, MakeHeader(0, 3), RowsOf(77)).ok());
      proto::HeartbeatRequest leave;
      leave.set_job("job");
      leave.set_incarnation(1000);
      leave.set_leaving(true);
      service->Heartbeat(leave);
      proto::HelloRequest resume = MakeHelloOf(0, 1, kTables);
      resume.set_epoch(2);
      resume.set_applied_step(2);
      REQUIRE(service->Hello(resume).ok());
      REQUIRE(service->RestoreCut(Restore("two", 2)).ok());
    }
    for (Step step = 3; step <= 4; ++step) {
      PushHeader header = MakeHeader(0, step);
      header.epoch = rewind ? 2 : 1;
      const absl::Status status = PushAndWait(*service, header, RowsOf(step));
      INFO(status.ToString());
      REQUIRE(status.ok());
    }
  }
  CHECK(ContentHashOf(rewound_directory.path()) == ContentHashOf(straight_directory.path()));
}

TEST_CASE("no cut in the middle of a step") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  for (uint32_t rank = 0; rank < 2; ++rank) {
    REQUIRE(service->Hello(MakeHelloOf(rank, 2, kTables)).ok());
  }
  Answer push;
  const std::vector<Rows> rows = RowsOf(1);
  service->Push(MakeHeader(0, 1), AsPushes(rows), push.Done());
  const absl::Status status = service->PrepareCut("early").status();
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  CHECK_THAT(std::string(status.message()), Catch::Contains("have not been acknowledged"));
  CHECK_FALSE(fs::exists(directory.path() + "/cuts/early"));
  CHECK(service->RestoreCut(Restore("early", 1)).status().code() ==
        absl::StatusCode::kFailedPrecondition);
  CHECK(PushAndWait(*service, MakeHeader(1, 1), {}).ok());
  CHECK(push.Get().ok());
  CHECK(service->PrepareCut("now").ok());
}

TEST_CASE("a cut may be taken again under its name, and dropped") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  REQUIRE(service->Hello(MakeHelloOf(0, 1, kTables)).ok());
  REQUIRE(PushAndWait(*service, MakeHeader(0, 1), RowsOf(1)).ok());
  const auto first = service->PrepareCut("a").value();
  REQUIRE(PushAndWait(*service, MakeHeader(0, 2), RowsOf(2)).ok());
  const auto second = service->PrepareCut("a").value();
  CHECK(second.sequence() > first.sequence());
  CHECK(EmbeddingStore::VerifyCut(second.directory()).value().checksum == second.checksum());
  CHECK(service->DropCut("a").ok());
  CHECK_FALSE(fs::exists(second.directory()));
  CHECK(service->DropCut("a").ok());
  CHECK_FALSE(service->RestoreCut(Restore("a", 1)).ok());
  CHECK(AllRows(*service).size() == 15);  // A rewind that fails leaves the rows.
}

TEST_CASE("names of cuts cannot leave the directory") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  REQUIRE(service->Hello(MakeHelloOf(0, 1, kTables)).ok());
  for (const char* name : {"", "..", "../../etc", "a/b", ".x"}) {
    CHECK(service->PrepareCut(name).status().code() == absl::StatusCode::kInvalidArgument);
    CHECK(service->DropCut(name).code() == absl::StatusCode::kInvalidArgument);
    CHECK(service->RestoreCut(Restore(name, 1)).status().code() ==
          absl::StatusCode::kInvalidArgument);
  }
  proto::RestoreCutRequest request = Restore("x", 1);
  request.set_keep_newer("/tmp/elsewhere");
  CHECK(service->RestoreCut(request).status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("a rewind of an older epoch, or of another job, is refused") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  proto::HelloRequest hello = MakeHelloOf(0, 1, kTables);
  hello.set_epoch(5);
  REQUIRE(service->Hello(hello).ok());
  REQUIRE(service->PrepareCut("a").ok());
  const absl::Status older = service->RestoreCut(Restore("a", 4)).status();
  CHECK(older.code() == absl::StatusCode::kFailedPrecondition);
  CHECK_THAT(std::string(older.message()), Catch::Contains("epoch 4"));
  proto::RestoreCutRequest other = Restore("a", 5);
  other.set_job("other");
  CHECK(service->RestoreCut(other).status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(service->RestoreCut(Restore("a", 5)).ok());
}

TEST_CASE("newer rows are set aside when a name is given") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  REQUIRE(service->Hello(MakeHelloOf(0, 1, kTables)).ok());
  REQUIRE(service->PrepareCut("empty").ok());
  REQUIRE(PushAndWait(*service, MakeHeader(0, 1), RowsOf(1)).ok());
  proto::RestoreCutRequest request = Restore("empty", 1);
  request.set_keep_newer("before-rewind");
  const auto restored = service->RestoreCut(request);
  INFO(restored.status().ToString());
  REQUIRE(restored.ok());
  CHECK(fs::exists(directory.path() + "/set_aside/before-rewind"));
  CHECK(service->TableStats()->tables(0).rows() == 0);
}

TEST_CASE("a cut can be served read-only, and is the same before and after") {
  const TemporaryDirectory directory;
  std::vector<float> rows;
  std::string cut;
  {
    auto service = OpenService(directory.path());
    REQUIRE(service->Hello(MakeHelloOf(0, 1, kTables)).ok());
    REQUIRE(PushAndWait(*service, MakeHeader(0, 1), RowsOf(1)).ok());
    rows = AllRows(*service);
    cut = service->PrepareCut("a").value().directory();
    REQUIRE(PushAndWait(*service, MakeHeader(0, 2), RowsOf(2)).ok());
  }
  {
    ParameterServiceOptions options;
    options.data_dir = cut;
    options.read_only_cut = true;
    options.memory_bytes = 32 << 20;
    auto opened = ParameterService::Open(options);
    INFO(opened.status().ToString());
    REQUIRE(opened.ok());
    ParameterService& service = **opened;

    proto::HelloRequest hello = MakeHelloOf(0, 1, kTables);
    CHECK(service.Hello(hello).status().code() == absl::StatusCode::kFailedPrecondition);
    hello.set_training(false);
    hello.set_job("prediction");
    const auto reply = service.Hello(hello);
    INFO(reply.status().ToString());
    REQUIRE(reply.ok());
    CHECK(AllRows(service, "prediction") == rows);
    CHECK(PullAndWait(service, 0, {12345}, 0, "prediction").ok());

    hello.mutable_tables(0)->set_seed(99);
    const absl::Status seed = service.Hello(hello).status();
    CHECK(seed.code() == absl::StatusCode::kFailedPrecondition);
    CHECK_THAT(std::string(seed.message()), Catch::Contains("seed"));
    hello.mutable_tables(0)->set_name("unknown");
    CHECK(service.Hello(hello).status().code() == absl::StatusCode::kNotFound);
    hello = MakeHelloOf(0, 1, kTables);
    hello.set_training(false);
    hello.set_num_shards(2);
    CHECK_THAT(std::string(service.Hello(hello).status().message()),
               Catch::Contains("shard 0 of 1"));
    CHECK(service.PrepareCut("b").status().code() == absl::StatusCode::kFailedPrecondition);
    CHECK(service.DropCut("b").code() == absl::StatusCode::kFailedPrecondition);
    CHECK(service.RestoreCut(Restore("a", 9)).status().code() ==
          absl::StatusCode::kFailedPrecondition);
  }
  CHECK(EmbeddingStore::VerifyCut(cut).ok());
}

TEST_CASE("servers take the rows of another number of servers, and refuse until they have") {
  const TemporaryDirectory whole, second;
  std::string cut;
  {
    auto service = OpenService(whole.path());
    REQUIRE(service->Hello(MakeHelloOf(0, 1, kTables)).ok());
    for (Step step = 1; step <= 3; ++step) {
      REQUIRE(PushAndWait(*service, MakeHeader(0, step), RowsOf(step)).ok());
    }
    cut = service->PrepareCut("c")->directory();
  }
  const uint64_t hash = ContentHashOf(whole.path());
  uint64_t sum = 0;
  // The first goes on in the directory that held everything, the second in a new one.
  for (const std::string& directory : {whole.path(), second.path()}) {
    {
      auto service = OpenService(directory);
      proto::HelloRequest hello = MakeHelloOf(0, 1, kTables);
      hello.set_num_shards(2);
      hello.set_shard(directory == whole.path() ? 0 : 1);
      const bool moves = directory == whole.path();
      if (moves) {
        CHECK_THAT(std::string(service->Hello(hello).status().message()),
                   Catch::Contains("holds shard 0 of 1"));
      }
      hello.set_restoring(true);
      REQUIRE(service->Hello(hello).ok());
      if (moves) {
        for (const absl::Status& early : {PushAndWait(*service, MakeHeader(0, 4), RowsOf(4)),
                                          service->PrepareCut("early").status()}) {
          CHECK(absl::IsFailedPrecondition(early));
          CHECK_THAT(std::string(early.message()), Catch::Contains("shard 0 of 2"));
        }
        const absl::Status own = service->RestoreCut(Restore("c", 1)).status();
        CHECK_THAT(std::string(own.message()), Catch::Contains("holds shard 0 of 1"));
      }
      proto::RestoreCutRequest request = Restore("c", 1);
      request.add_directories(directory + "/no-such-place");
      const absl::Status unreadable = service->RestoreCut(request).status();
      CHECK(absl::IsNotFound(unreadable));
      CHECK_THAT(std::string(unreadable.message()), Catch::Contains("/no-such-place"));
      request.set_directories(0, cut);
      const auto restored = service->RestoreCut(request);
      INFO(restored.status());
      REQUIRE(restored.ok());
      CHECK(restored->sequence() == 3);
      REQUIRE(service->PrepareCut("d").ok());
    }
    sum += ContentHashOf(directory);
    proto::HelloRequest back = MakeHelloOf(0, 1, kTables);
    CHECK_THAT(std::string(OpenService(directory)->Hello(back).status().message()),
               Catch::Contains("of 2"));
  }
  CHECK(sum == hash);
}

TEST_CASE("a session that reads creates nothing, and lives beside a training job") {
  const TemporaryDirectory directory;
  auto service = OpenService(directory.path());
  proto::HelloRequest reader = MakeHelloOf(0, 1, kTables);
  reader.set_training(false);
  reader.set_job("report");
  reader.set_incarnation(5);
  CHECK(service->Hello(reader).status().code() == absl::StatusCode::kNotFound);
  CHECK(service->TableStats()->tables_size() == 0);
  REQUIRE(service->Hello(MakeHelloOf(0, 1, kTables)).ok());
  REQUIRE(service->Hello(reader).ok());
  CHECK(PullAndWait(*service, 0, kIds, 0, "report").ok());
  REQUIRE(PushAndWait(*service, MakeHeader(0, 1), RowsOf(1)).ok());
  PushHeader forbidden = MakeHeader(0, 2);
  forbidden.job = "report";
  CHECK(PushAndWait(*service, forbidden, RowsOf(2)).code() ==
        absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace pagoda
