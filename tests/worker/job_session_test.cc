#include "worker/job_session.h"

#include <catch2/catch.hpp>
#include <thread>

#include "tests/worker/scripted_client.h"
#include "tests/worker/thread_allreduce.h"
#include "tests/worker/training_world.h"

namespace pagoda {
namespace {

using Catch::Matchers::Contains;

std::unique_ptr<ModelInstance> Model(const std::string& output_dir,
                                     const std::string& name = "deepfm") {
  return *ModelInstance::Create(SmallJob(name, "/data.csv", output_dir));
}

// A cut of `model` as worker 0 would have written it.
std::string WriteCut(ModelInstance& model, const std::string& output_dir) {
  JobCut cut;
  cut.manifest.set_job("tiny");
  cut.manifest.set_model(model.options().model);
  cut.manifest.set_seed(model.options().seed);
  cut.manifest.set_step(30);
  cut.manifest.set_epoch(4);
  cut.manifest.set_cut(CutName(30, 4));
  cut.manifest.add_servers();
  DescribeModel(model, &cut.manifest);
  cut.values = *model.DenseValues();
  cut.slots = {{1.0f, 2.0f}};
  cut.job_text = "text";
  const auto directory = BeginJobCut(output_dir, cut.manifest.cut());
  REQUIRE(directory.ok());
  REQUIRE(WriteJobCut(*directory, cut).ok());
  return *directory;
}

TEST_CASE("a fresh start claims epoch 1 and opens the client for training") {
  TemporaryDirectory dir;
  const auto model = Model(dir.path());
  ScriptedClient client;
  const auto alone = SingleWorker();
  const auto session = StartSession(*model, &client, alone.get(), "");
  REQUIRE(session.ok());
  REQUIRE(session->epoch == 1);
  REQUIRE_FALSE(session->resumed.has_value());
  REQUIRE(client.events == std::vector<std::string>{"open tiny"});
}

TEST_CASE("a resume reaches every worker, though only the first has the cut") {
  TemporaryDirectory dir, elsewhere;
  const auto first = Model(dir.path());
  const std::string cut = WriteCut(*first, dir.path());
  const auto second = Model(elsewhere.path());
  ModelInstance* models[] = {first.get(), second.get()};
  ScriptedClient clients[2];
  ThreadAllReduceGroup group(2);
  absl::StatusOr<JobSession> sessions[2];
  std::vector<std::thread> threads;
  for (int r = 0; r < 2; ++r) {
    threads.emplace_back([&, r] {
      ThreadAllReduce allreduce(&group, r);
      sessions[r] = StartSession(*models[r], &clients[r], &allreduce, r == 0 ? cut : "");
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& session : sessions) {
    INFO(session.status().ToString());
    REQUIRE(session.ok());
    REQUIRE(session->epoch == 5);
    REQUIRE(session->resumed.has_value());
    REQUIRE(session->resumed->values == *first->DenseValues());
    REQUIRE(session->resumed->slots == std::vector<std::vector<float>>{{1.0f, 2.0f}});
    REQUIRE(session->resumed->job_text == "text");
    REQUIRE(session->resumed->manifest.step() == 30);
  }
}

TEST_CASE("one worker that cannot join ends the start of all, by name") {
  TemporaryDirectory dir;
  ScriptedClient clients[2];
  clients[1].refuse["open"] = absl::FailedPreconditionError("version 0.0.9");
  ThreadAllReduceGroup group(2);
  absl::Status status[2];
  std::vector<std::thread> threads;
  for (int r = 0; r < 2; ++r) {
    threads.emplace_back([&, r] {
      ThreadAllReduce allreduce(&group, r);
      const auto created = ModelInstance::Create(SmallJob("lr", "/data.csv", dir.path()));
      status[r] = StartSession(**created, &clients[r], &allreduce, "").status();
    });
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(absl::IsFailedPrecondition(status[1]));
  REQUIRE(absl::IsAborted(status[0]));
  REQUIRE_THAT(std::string(status[0].message()), Contains("worker 1 could not join"));
}

TEST_CASE("only a resume says that a restore follows, also to another number of servers") {
  TemporaryDirectory dir, fresh;
  const auto model = Model(dir.path());
  const std::string cut = WriteCut(*model, dir.path());
  auto manifest = *ReadJobCut(cut);
  manifest.manifest.add_servers();
  REQUIRE(WriteJobCut(cut, manifest).ok());
  const auto alone = SingleWorker();
  ScriptedClient resumed, begun;
  REQUIRE(StartSession(*model, &resumed, alone.get(), cut).ok());
  REQUIRE(resumed.session.restoring);
  REQUIRE(resumed.session.applied_step == 30);
  REQUIRE(StartSession(*Model(fresh.path()), &begun, alone.get(), "").ok());
  REQUIRE_FALSE(begun.session.restoring);
}

TEST_CASE("another model's parameters are told apart by name and shape") {
  TemporaryDirectory dir;
  const auto model = Model(dir.path());
  proto::JobCut manifest;
  DescribeModel(*model, &manifest);
  REQUIRE(manifest.dense_size() > 3);
  REQUIRE(manifest.tables_size() == static_cast<int>(model->tables().size()));
  REQUIRE(CheckSameModel(manifest, *model).ok());
  proto::JobCut reshaped = manifest, shorter = manifest;
  reshaped.mutable_dense(2)->set_shape(0, 999);
  shorter.mutable_dense()->RemoveLast();
  for (const auto& other : {reshaped, shorter, proto::JobCut()}) {
    REQUIRE(absl::IsFailedPrecondition(CheckSameModel(other, *model)));
  }
}

TEST_CASE("positions go through a cut: shared, or each worker's own") {
  std::vector<ReaderPosition> positions(2);
  for (int64_t r = 0; r < 2; ++r) {
    ReaderPosition& p = positions[static_cast<size_t>(r)];
    p.epoch = 1 + r;
    p.window = 2 + r;
    p.window_file = 3 + r;
    p.window_byte = (int64_t{1} << 50) + r;
    p.window_line = 5 + r;
    p.window_row = 6 + r;
    p.window_file_row = 7 + r;
    p.row_in_window = 8 + r;
    p.global_sample = (uint64_t{1} << 52) + static_cast<uint64_t>(r);
    p.bad_rows = 10 + r;
  }
  proto::JobCut manifest;
  SavePositions(positions, "files", &manifest);
  const auto fields = [](const ReaderPosition& p) {
    return std::tuple(p.epoch, p.window, p.window_file, p.window_byte, p.window_line, p.window_row,
                      p.window_file_row, p.row_in_window, p.global_sample, p.bad_rows);
  };
  for (int r = 0; r < 2; ++r) {
    const auto loaded = LoadPosition(manifest, r, 2);
    REQUIRE(loaded.ok());
    REQUIRE(fields(*loaded) == fields(positions[static_cast<size_t>(r)]));
  }
  REQUIRE(absl::IsFailedPrecondition(LoadPosition(manifest, 0, 3).status()));
  manifest.set_sharding("rows");
  const auto newcomer = LoadPosition(manifest, 2, 3);
  REQUIRE(newcomer.ok());
  REQUIRE(fields(*newcomer) == fields(positions[0]));

  const auto alone = SingleWorker();
  const auto gathered = GatherPositions(*alone, positions[1]);
  REQUIRE(gathered.ok());
  REQUIRE(gathered->size() == 1);
  REQUIRE(fields((*gathered)[0]) == fields(positions[1]));
}

}  // namespace
}  // namespace pagoda
