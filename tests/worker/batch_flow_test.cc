#include "worker/batch_flow.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <thread>

#include "tests/worker/scripted_client.h"
#include "tests/worker/training_world.h"

namespace pagoda {
namespace {

// A flow over 10 batches of 20 rows, against a scripted server whose rows change with
// every push (ScriptedClient adds 10000 to what is pushed).
struct Fixture {
  TemporaryDirectory dir;
  ScriptedClient client;
  std::unique_ptr<ModelInstance> model;
  StageTimes times;
  std::unique_ptr<BatchFlow> flow;

  Fixture(const std::string& mode, int64_t pull_ahead, int num_workers = 1) {
    WriteWorld(dir / "train.csv", {.rows = 200, .num_users = 10});
    TrainerOptions options = SmallJob("dnn", dir / "train.csv", dir / "out");
    REQUIRE(options.model_options.Set("embedding_dim", int64_t{2}).ok());
    options.mode = mode;
    options.pull_ahead = pull_ahead;
    model = *ModelInstance::Create(options);
    ReaderOptions reader;
    reader.data = options.stages[0].data;
    reader.schema = options.schema;
    reader.batch_size = 20;
    reader.num_workers = num_workers;
    auto started = BatchFlow::Start(reader, {}, *model, &client, &times);
    REQUIRE(started.ok());
    flow = *std::move(started);
  }

  void PushAll(const PulledBatch& batch, Step step) {
    std::vector<TablePush> tables;
    std::vector<std::vector<float>> zeros;
    const auto& ids = batch.data->prepared.unique_ids;
    for (const auto& table : ids) zeros.emplace_back(2 * table.size(), 0.0f);
    for (size_t t = 0; t < ids.size(); ++t) {
      tables.push_back({static_cast<int>(t), ids[t], zeros[t].data()});
    }
    client.Push(step, tables, 1.0f, [](const absl::Status&) {});
  }

  // What a pull at this moment would give.
  std::vector<std::vector<float>> Now(const PulledBatch& batch) {
    std::vector<std::vector<float>> rows;
    std::vector<TablePull> tables;
    const auto& ids = batch.data->prepared.unique_ids;
    for (const auto& table : ids) rows.emplace_back(2 * table.size());
    for (size_t t = 0; t < ids.size(); ++t) {
      tables.push_back({static_cast<int>(t), ids[t], rows[t].data()});
    }
    client.Pull(tables, 0, [](const absl::Status&) {});
    return rows;
  }
};

TEST_CASE("sync: each batch has the rows as of the step in front, pulled early or not") {
  const int64_t pull_ahead = GENERATE(0, 2);
  const bool prompt = GENERATE(true, false);  // Whether early pulls find a batch ready.
  CAPTURE(pull_ahead, prompt);
  Fixture f("sync", pull_ahead);
  int early = 0;
  for (Step step = 1; step <= 10; ++step) {
    const auto batch = f.flow->Take(step - 1);
    REQUIRE(batch.ok());
    REQUIRE((*batch)->data->is_prepared);
    if (prompt) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const size_t pulls = f.client.pulls_after.size();
    f.flow->PullAhead(step - 1);
    early += f.client.pulls_after.size() > pulls ? 1 : 0;
    const auto wanted = f.Now(**batch);
    for (size_t t = 0; t < wanted.size(); ++t) {
      const std::vector<float> got(
          (*batch)->rows[t].begin(),
          (*batch)->rows[t].begin() + static_cast<int64_t>(wanted[t].size()));
      REQUIRE(got == wanted[t]);
    }
    f.PushAll(**batch, step);
    f.flow->StepPushed(step);
    f.flow->Recycle(**batch);
  }
  REQUIRE(*f.flow->Peek(10) == nullptr);
  if (pull_ahead == 0) REQUIRE(early == 0);
  if (pull_ahead > 0 && prompt) REQUIRE(early > 0);
  f.flow->AddPrefetchTimes();
  REQUIRE(f.times.read > 0.0);
}

TEST_CASE("sync: a step that was left out changes nothing for the batch pulled early") {
  Fixture f("sync", 2);
  const auto first = f.flow->Take(0);
  REQUIRE(first.ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  f.flow->PullAhead(0);  // Step 1 does not take place: no push.
  const auto second = f.flow->Take(0);
  REQUIRE(second.ok());
  const auto wanted = f.Now(**second);
  REQUIRE(std::equal(wanted[0].begin(), wanted[0].end(), (*second)->rows[0].begin()));
}

TEST_CASE("sync with several workers never pulls before the step in front has been pushed") {
  Fixture f("sync", 2, 2);
  REQUIRE(f.flow->Take(0).ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const size_t pulls = f.client.pulls_after.size();
  f.flow->PullAhead(0);
  REQUIRE(f.client.pulls_after.size() == pulls);
  f.flow->StepPushed(1);
  REQUIRE(f.client.pulls_after.size() == pulls + 1);
  REQUIRE(f.client.pulls_after.back() == 1);
}

TEST_CASE("async: as many batches are pulled ahead as asked, after no step") {
  Fixture f("async", 3);
  REQUIRE(f.flow->Take(0).ok());
  for (int i = 0; i < 100 && f.client.pulls_after.size() < 4; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    f.flow->PullAhead(1);
  }
  REQUIRE(f.client.pulls_after == std::vector<Step>{0, 0, 0, 0});
  f.flow->PullAhead(1);
  REQUIRE(f.client.pulls_after.size() == 4);
}

TEST_CASE("at the end of the data a worker gets empty batches, for as long as the others go on") {
  Fixture f("sync", 0);
  for (Step step = 1; step <= 10; ++step) {
    REQUIRE(f.flow->Take(step - 1).ok());
    f.flow->StepPushed(step);
  }
  for (Step step = 11; step <= 13; ++step) {
    REQUIRE(*f.flow->Peek(step - 1) == nullptr);
    const auto empty = f.flow->Take(step - 1);
    REQUIRE(empty.ok());
    REQUIRE((*empty)->data->prepared.batch.size == 0);
    REQUIRE((*empty)->data->prepared.unique_ids.size() == f.model->tables().size());
  }
}

}  // namespace
}  // namespace pagoda
