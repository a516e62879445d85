#include "worker/trainer.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <numeric>

#include "deploy/in_process_client.h"
#include "server/parameter_service.h"
#include "tests/worker/stored_rows.h"
#include "tests/worker/training_world.h"
#include "worker/job_cut.h"
#include "worker/trained_model.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

double Mean(const std::vector<double>& values, size_t begin, size_t end) {
  return std::accumulate(values.begin() + static_cast<int64_t>(begin),
                         values.begin() + static_cast<int64_t>(end), 0.0) /
         static_cast<double>(end - begin);
}

void AddEvaluation(TrainerOptions& options, const std::string& file) {
  options.evaluation.data.files = {file};
  options.evaluation.batch_size = 100;
}

TEST_CASE("training lowers the loss, evaluates, writes events and a cut") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {});
  WriteWorld(dir / "valid.csv", {.rows = 730, .seed = 2});
  TrainerOptions options = SmallJob("deepfm", dir / "train.csv", dir / "out");
  options.stages[0].epochs = 6;
  AddEvaluation(options, dir / "valid.csv");
  options.job_text = "# the job\n";
  const RunTrace run = RunAlone(options, 1);
  INFO(run.status.ToString());
  REQUIRE(run.status.ok());
  REQUIRE(run.result.steps == 6 * 32);  // ceil(2000 / 64) a pass.
  REQUIRE(run.result.samples == 12000);
  REQUIRE(run.losses.size() == 192);
  REQUIRE(Mean(run.losses, 160, 192) < 0.93 * Mean(run.losses, 0, 16));
  REQUIRE(run.evaluations.size() == 6);
  REQUIRE(run.evaluations[0].first == 32);
  REQUIRE(run.evaluations.back().first == 192);
  REQUIRE(run.evaluations.back().second.samples == 730);
  REQUIRE(run.evaluations.back().second.auc > 0.70);
  REQUIRE(run.result.best.auc >= run.evaluations.back().second.auc);
  REQUIRE_FALSE(run.result.interrupted);
  REQUIRE(run.result.final_cut == dir / "out/cuts/step-000000192");
  const auto cut = ReadJobCut(run.result.final_cut);
  REQUIRE(cut.ok());
  REQUIRE(cut->manifest.step() == 192);
  REQUIRE(cut->manifest.samples() == 12000);
  REQUIRE(cut->job_text == "# the job\n");
  REQUIRE(fs::exists(run.result.final_cut + "/job.toml"));
  REQUIRE_FALSE(fs::is_empty(dir / "out/tensorboard"));
  REQUIRE(run.result.times.forward > 0.0);
  REQUIRE(run.result.times.push > 0.0);
}

TEST_CASE(
    "losses are the same bits on 1 or 4 servers, with 1, 2 or 8 threads, pulled early or not") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {});
  const std::string model = GENERATE("deepfm", "dlrm", "dcnv2", "wide_deep");
  CAPTURE(model);
  struct Layout {
    int servers, threads;
    int64_t pull_ahead;
  };
  std::vector<RunTrace> runs;
  std::vector<CutRows> rows;
  for (const Layout layout : {Layout{1, 1, 0}, Layout{4, 1, 2}, Layout{1, 2, 2}, Layout{4, 8, 0}}) {
    TrainerOptions options =
        SmallJob(model, dir / "train.csv", dir / ("out" + std::to_string(runs.size())));
    options.num_threads = layout.threads;
    options.pull_ahead = layout.pull_ahead;
    options.dense.clip_norm = 1.0;
    options.schedule.warmup_steps = 10;
    runs.push_back(RunAlone(options, layout.servers));
    INFO(runs.back().status.ToString());
    REQUIRE(runs.back().status.ok());
    REQUIRE(runs.back().losses.size() == 64);
    rows.push_back(ReadCutRows(runs.back().result.final_cut));
    REQUIRE(runs.back().losses == runs[0].losses);
    REQUIRE(rows.back().rows == rows[0].rows);
    REQUIRE(rows.back().content_hash == rows[0].content_hash);
    REQUIRE(ReadJobCut(runs.back().result.final_cut)->values ==
            ReadJobCut(runs[0].result.final_cut)->values);
  }
}

TEST_CASE("exact tables have the same bits on 1 or 4 servers, pulled early or not") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {});
  std::vector<RunTrace> runs;
  std::vector<CutRows> rows;
  struct Layout {
    int servers, threads;
    int64_t pull_ahead;
  };
  for (const Layout layout : {Layout{1, 1, 0}, Layout{1, 2, 2}, Layout{4, 1, 2}}) {
    TrainerOptions options =
        SmallJob("dnn", dir / "train.csv", dir / ("out" + std::to_string(runs.size())));
    options.num_threads = layout.threads;
    options.pull_ahead = layout.pull_ahead;
    options.schedule.warmup_steps = 10;
    proto::TableSpec::Optimizer& optimizer = options.sparse.optimizer;
    optimizer.set_kind("adamw");
    optimizer.set_epsilon(1e-8f);
    optimizer.set_beta1(0.9f);
    optimizer.set_beta2(0.999f);
    optimizer.set_weight_decay(0.1f);
    optimizer.set_exact(true);
    runs.push_back(RunAlone(options, layout.servers));
    INFO(runs.back().status.ToString());
    REQUIRE(runs.back().status.ok());
    rows.push_back(ReadCutRows(runs.back().result.final_cut));
    REQUIRE(runs.back().losses == runs[0].losses);
    REQUIRE(rows.back().rows == rows[0].rows);
    REQUIRE(rows.back().content_hash == rows[0].content_hash);
  }
}

TEST_CASE("evaluation changes nothing: rows, losses and parameters are as without it") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {});
  // Ids that training never sees: they must not come into being.
  WriteWorld(dir / "valid.csv", {.rows = 333, .num_users = 500, .num_items = 400, .seed = 3});
  TrainerOptions plain = SmallJob("deepfm", dir / "train.csv", dir / "plain");
  TrainerOptions evaluated = SmallJob("deepfm", dir / "train.csv", dir / "evaluated");
  AddEvaluation(evaluated, dir / "valid.csv");
  evaluated.evaluation.every_steps = 7;
  const RunTrace a = RunAlone(plain, 2), b = RunAlone(evaluated, 2);
  REQUIRE(a.status.ok());
  REQUIRE(b.status.ok());
  REQUIRE(b.evaluations.size() == 64 / 7 + 1);  // And one at the end.
  REQUIRE(a.losses == b.losses);
  const CutRows rows_a = ReadCutRows(a.result.final_cut);
  const CutRows rows_b = ReadCutRows(b.result.final_cut);
  REQUIRE(rows_a.rows.size() > 50);
  REQUIRE(rows_a.content_hash == rows_b.content_hash);
  REQUIRE(ReadJobCut(a.result.final_cut)->values == ReadJobCut(b.result.final_cut)->values);
}

TEST_CASE("early stopping ends with the best cut, and rewinds to it") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 300});
  WriteWorld(dir / "valid.csv", {.rows = 400, .seed = 5});
  TrainerOptions options = SmallJob("deepfm", dir / "train.csv", dir / "out");
  options.stages[0].epochs = 60;
  options.sparse.optimizer.set_learning_rate(0.5f);  // Overfits within a few passes.
  AddEvaluation(options, dir / "valid.csv");
  options.evaluation.metric = "log_loss";
  options.evaluation.patience = 3;
  options.checkpoints_kept = 1;
  const RunTrace run = RunAlone(options, 2);
  INFO(run.status.ToString());
  REQUIRE(run.status.ok());
  REQUIRE(run.result.steps < 60 * 5);
  const auto best = std::min_element(
      run.evaluations.begin(), run.evaluations.end(),
      [](const auto& a, const auto& b) { return a.second.log_loss < b.second.log_loss; });
  REQUIRE(best + 4 == run.evaluations.end());  // Three without gain followed.
  REQUIRE(run.result.best_step == best->first);
  REQUIRE(run.result.best.log_loss == best->second.log_loss);
  REQUIRE(run.result.final_cut == CutDirectory(dir / "out", CutName(best->first, 1)));

  // The cut evaluates to the very bits that training saw.
  ServerGroup servers(dir / "out", 2);
  const auto manifest = ReadCutManifest(run.result.final_cut);
  REQUIRE(manifest.ok());
  REQUIRE(manifest->step() == best->first);
  std::vector<std::unique_ptr<ParameterService>> readers;
  std::vector<ParameterService*> shards;
  for (const auto& server : manifest->servers()) {
    ParameterServiceOptions reading;
    reading.data_dir = server.directory();
    reading.read_only_cut = true;
    auto service = ParameterService::Open(reading);
    INFO(service.status().ToString());
    REQUIRE(service.ok());
    shards.push_back(service->get());
    readers.push_back(*std::move(service));
  }
  const auto client = MakeInProcessClient(shards);
  const auto trained = TrainedModel::Load(run.result.final_cut, options, client.get());
  INFO(trained.status().ToString());
  REQUIRE(trained.ok());
  REQUIRE((*trained)->evaluation_batch_size() == 100);
  const auto again = (*trained)->Evaluate(options.evaluation, options.schema);
  REQUIRE(again.ok());
  REQUIRE(again->auc == best->second.auc);
  REQUIRE(again->log_loss == best->second.log_loss);
}

TEST_CASE("old cuts are dropped, the best one is kept") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {});
  TrainerOptions options = SmallJob("lr", dir / "train.csv", dir / "out");
  options.checkpoint_every_steps = 10;
  options.checkpoints_kept = 2;
  const RunTrace run = RunAlone(options, 1);
  REQUIRE(run.status.ok());
  REQUIRE(run.cuts.size() == 7);  // 10, 20, ..., 60, and 64 at the end.
  const auto cuts = ListJobCuts(dir / "out");
  REQUIRE(cuts.ok());
  REQUIRE(cuts->size() == 2);
  REQUIRE((*cuts)[0].name == "step-000000060");
  REQUIRE((*cuts)[1].name == "step-000000064");
}

TEST_CASE("a fresh start refuses an output directory with cuts, and servers with rows") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 200});
  TrainerOptions options = SmallJob("lr", dir / "train.csv", dir / "out");
  REQUIRE(RunAlone(options, 1).status.ok());
  const RunTrace again = RunAlone(options, 1);
  INFO(again.status.ToString());
  REQUIRE(absl::IsFailedPrecondition(again.status));
  REQUIRE(std::string(again.status.message()).find("step-000000008") != std::string::npos);
  fs::remove_all(dir / "out/cuts");
  const RunTrace with_rows = RunAlone(options, 1);
  INFO(with_rows.status.ToString());
  REQUIRE(absl::IsFailedPrecondition(with_rows.status));
  REQUIRE(std::string(with_rows.status.message()).find("rows of an earlier run") !=
          std::string::npos);
}

TEST_CASE("a frozen table and a frozen dense group keep every byte") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {});
  TrainerOptions options = SmallJob("deepfm", dir / "train.csv", dir / "out");
  options.dense.args.kind = DenseOptimizerKind::kAdamW;
  options.dense.args.weight_decay = 0.1f;  // Would move even a zero gradient's parameter.
  options.stages[0].steps_max = 20;
  const RunTrace before = RunAlone(options, 1);
  REQUIRE(before.status.ok());
  options.stages[0].steps_max = 50;
  const CutRows old_rows = ReadCutRows(before.result.final_cut);
  const std::string table = old_rows.rows.begin()->first.first;
  options.stages[0].frozen_tables = {table};
  options.stages[0].frozen_groups = {"default"};
  const JobCut old_cut = *ReadJobCut(before.result.final_cut);
  RunOptions resume;
  resume.resume_cut = before.result.final_cut;
  const RunTrace after = RunAlone(options, 1, resume);
  INFO(after.status.ToString());
  REQUIRE(after.status.ok());
  REQUIRE(after.result.steps == 50);
  const CutRows new_rows = ReadCutRows(after.result.final_cut);
  int64_t frozen = 0, moved = 0;
  for (const auto& [key, values] : old_rows.rows) {
    if (key.first == table) {
      ++frozen;
      REQUIRE(new_rows.rows.at(key) == values);
    } else {
      moved += new_rows.rows.at(key) != values ? 1 : 0;
    }
  }
  for (const auto& [key, values] : new_rows.rows) {
    if (key.first == table) REQUIRE(old_rows.rows.contains(key));
  }
  REQUIRE(frozen > 0);
  REQUIRE(moved > 0);
  REQUIRE(ReadJobCut(after.result.final_cut)->values == old_cut.values);
}

TEST_CASE("async mode trains, with pulls ahead and pushes in flight") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {});
  TrainerOptions options = SmallJob("deepfm", dir / "train.csv", dir / "out");
  options.mode = "async";
  options.pull_ahead = 3;
  options.pushes_in_flight = 2;
  options.stages[0].epochs = 6;
  const RunTrace run = RunAlone(options, 2);
  INFO(run.status.ToString());
  REQUIRE(run.status.ok());
  REQUIRE(run.losses.size() == 192);
  REQUIRE(Mean(run.losses, 160, 192) < 0.95 * Mean(run.losses, 0, 16));
  REQUIRE(ReadCutRows(run.result.final_cut).rows.size() > 50);
}

TEST_CASE("bad options are refused by name before anything is opened") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 100});
  const auto refused = [&](const std::function<void(TrainerOptions&)>& change) {
    TrainerOptions options = SmallJob("lr", dir / "train.csv", dir / "out");
    change(options);
    const RunTrace run = RunAlone(options, 1);
    REQUIRE_FALSE(run.status.ok());
    return std::string(run.status.message());
  };
  using Catch::Matchers::Contains;
  REQUIRE_THAT(refused([](auto& o) { o.mode = "synch"; }), Contains("'synch'"));
  REQUIRE_THAT(refused([](auto& o) { o.batch_size = 0; }), Contains("batch_size is 0"));
  REQUIRE_THAT(refused([](auto& o) { o.model = "deepfn"; }), Contains("deepfm"));
  REQUIRE_THAT(refused([](auto& o) { o.evaluation.metric = "acu"; }), Contains("'auc'"));
  REQUIRE_THAT(refused([](auto& o) { o.stages[0].frozen_tables = {"users"}; }),
               Contains("'users'"));
  REQUIRE_THAT(refused([](auto& o) { o.stages[0].data.files = {"/no/such.csv"}; }),
               Contains("/no/such.csv"));
  REQUIRE_FALSE(fs::exists(dir / "out/cuts"));
}

}  // namespace
}  // namespace pagoda
