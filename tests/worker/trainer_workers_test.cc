// Several workers of one job, as threads over the same in-process servers.
// (Trainer, worker/trainer.h.)

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>

#include "tests/worker/planting_reader.h"
#include "tests/worker/stored_rows.h"
#include "tests/worker/training_world.h"
#include "worker/job_cut.h"

namespace pagoda {
namespace {

using Catch::Matchers::Contains;

void RequireClose(const std::vector<float>& a, const std::vector<float>& b,
                  const std::string& what) {
  REQUIRE(a.size() == b.size());
  double difference = 0.0, scale = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference = std::max(difference, std::fabs(double{a[i]} - double{b[i]}));
    scale = std::max(scale, std::fabs(double{b[i]}));
  }
  CAPTURE(what, difference, scale);
  REQUIRE(difference <= 1e-4 * scale);
}

// Every dense tensor, and every table as a whole.
void RequireCloseCuts(const std::string& cut_a, const std::string& cut_b) {
  const JobCut a = *ReadJobCut(cut_a), b = *ReadJobCut(cut_b);
  for (const auto& dense : a.manifest.dense()) {
    const auto of = [&](const JobCut& cut) {
      int64_t size = 1;
      for (const int64_t s : dense.shape()) size *= s;
      const auto begin = cut.values.begin() + dense.offset();
      return std::vector<float>(begin, begin + size);
    };
    RequireClose(of(a), of(b), dense.name());
  }
  const CutRows rows_a = ReadCutRows(cut_a), rows_b = ReadCutRows(cut_b);
  REQUIRE(rows_a.rows.size() == rows_b.rows.size());
  std::map<std::string, std::pair<std::vector<float>, std::vector<float>>> tables;
  for (const auto& [key, values] : rows_a.rows) {
    const std::vector<float>& other = rows_b.rows.at(key);
    auto& [all_a, all_b] = tables[key.first];
    all_a.insert(all_a.end(), values.begin(), values.end());
    all_b.insert(all_b.end(), other.begin(), other.end());
  }
  for (const auto& [table, values] : tables) RequireClose(values.first, values.second, table);
}

// Users' histories from a side file, sampled negatives alone: nothing depends on how a
// batch is parted.
TrainerOptions SampledJob(const std::string& directory, const std::string& output) {
  std::ofstream train(directory + "/train.csv"), users(directory + "/users.csv");
  std::ofstream items(directory + "/items.csv");
  train << "user,item,click\n";
  users << "user,past\n";
  items << "item\n";
  for (int item = 1; item <= 30; ++item) items << item << '\n';
  for (int user = 0; user < 20; ++user) {
    users << 'u' << user << ',' << 1 + user % 30 << '|' << 1 + (7 * user) % 30 << '\n';
  }
  uint32_t state = 7;
  for (int row = 0; row < 1000; ++row) {
    state = state * 1664525u + 1013904223u;
    train << 'u' << (state >> 16) % 20 << ',' << 1 + (state >> 8) % 30 << ",1\n";
  }
  TrainerOptions options = SmallJob("two_tower", directory + "/train.csv", output);
  FeatureSpec user, item, past;
  user.name = "user";
  item.name = "item";
  item.kind = past.kind = FeatureKind::kId;
  past.name = "past";
  past.table = "item";
  past.separator = "|";
  past.join = "user";
  options.schema.features = {user, item, past};
  JoinSpec join;
  join.name = "user";
  join.files = {directory + "/users.csv"};
  options.schema.joins = {join};
  const std::vector<std::pair<std::string, OptionValue>> model = {
      {"user_features", std::vector<std::string>{"user", "past"}},
      {"item_features", std::vector<std::string>{"item"}},
      {"in_batch", false},
      {"negatives", int64_t{8}},
      {"negative_sampler", std::string("popularity")}};
  for (const auto& [key, value] : model) REQUIRE(options.model_options.Set(key, value).ok());
  options.evaluation.items.files = {directory + "/items.csv"};
  return options;
}

TEST_CASE(
    "negatives and joins: 2 workers on 2 servers match one; threads and prefetch change no bit") {
  TemporaryDirectory dir;
  TrainerOptions options = SampledJob(dir.path(), dir / "one");
  const RunTrace one = RunAlone(options, 1);
  INFO(one.status.ToString());
  REQUIRE(one.status.ok());
  REQUIRE(one.losses.back() < one.losses.front());

  options.output_dir = dir / "other";
  options.num_threads = 3;
  options.pull_ahead = 0;
  const RunTrace other = RunAlone(options, 2);
  REQUIRE(other.status.ok());
  CHECK(other.losses == one.losses);

  options = SampledJob(dir.path(), dir / "two");
  const std::vector<RunTrace> two = RunTogether({options, options}, 2);
  for (const RunTrace& run : two) {
    INFO(run.status.ToString());
    REQUIRE(run.status.ok());
    REQUIRE(run.losses.size() == one.losses.size());
    for (size_t i = 0; i < run.losses.size(); ++i) {
      CAPTURE(i);
      REQUIRE(run.losses[i] == Approx(one.losses[i]).epsilon(1e-4));
    }
  }
  RequireCloseCuts(one.result.final_cut, two[0].result.final_cut);
}

TEST_CASE("a job with negatives resumes with the draws that would have followed") {
  TemporaryDirectory dir;
  TrainerOptions options = SampledJob(dir.path(), dir / "whole");
  const RunTrace whole = RunAlone(options, 1);
  REQUIRE(whole.status.ok());
  options.output_dir = dir / "parts";
  ServerGroup servers(dir / "parts-servers", 1);
  const auto alone = SingleWorker();
  RunOptions run;
  run.stop_after = 9;
  const auto first = servers.MakeClient();
  const RunTrace stopped = RunWorker(options, first.get(), alone.get(), run);
  REQUIRE(stopped.status.ok());
  RunOptions resume;
  resume.resume_cut = stopped.result.final_cut;
  const auto second = servers.MakeClient();
  const RunTrace rest = RunWorker(options, second.get(), alone.get(), resume);
  INFO(rest.status.ToString());
  REQUIRE(rest.status.ok());
  std::vector<double> losses = stopped.losses;
  losses.insert(losses.end(), rest.losses.begin(), rest.losses.end());
  CHECK(losses == whole.losses);
}

TEST_CASE("two workers with half the batch each match one worker after 200 steps") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {.rows = 6000});
  const std::string model = GENERATE("deepfm", "dlrm");
  CAPTURE(model);
  TrainerOptions options = SmallJob(model, dir / "train.csv", dir / "one");
  options.stages[0].epochs = 3;
  options.stages[0].steps_max = 200;
  const RunTrace one = RunAlone(options, 1);
  REQUIRE(one.status.ok());
  options.output_dir = dir / "two";
  const std::vector<RunTrace> two = RunTogether({options, options}, 2);
  for (const RunTrace& run : two) {
    INFO(run.status.ToString());
    REQUIRE(run.status.ok());
    REQUIRE(run.losses.size() == 200);
    REQUIRE(run.losses == two[0].losses);
    REQUIRE(run.result.samples == one.result.samples);
  }
  for (size_t i = 0; i < 200; ++i) REQUIRE(two[0].losses[i] == Approx(one.losses[i]).epsilon(1e-4));
  RequireCloseCuts(two[0].result.final_cut, one.result.final_cut);
}

TEST_CASE("workers with unequal data join the others' steps until all are done") {
  TemporaryDirectory dir;
  WriteWorld(dir / "a.csv", {.rows = 900, .seed = 1});
  WriteWorld(dir / "b.csv", {.rows = 70, .seed = 2});
  WriteWorld(dir / "c.csv", {.rows = 500, .seed = 3});
  const std::string mode = GENERATE("sync", "async");
  CAPTURE(mode);
  TrainerOptions options = SmallJob("deepfm", "", dir / mode);
  options.mode = mode;
  options.stages[0].data.files = {dir / "a.csv", dir / "b.csv", dir / "c.csv"};
  options.stages[0].data.sharding = "files";  // Worker 0: a, c; worker 1: b.
  options.evaluation.data.files = {dir / "b.csv"};
  const std::vector<RunTrace> runs = RunTogether({options, options}, 2);
  for (const RunTrace& run : runs) {
    INFO(run.status.ToString());
    REQUIRE(run.status.ok());
    REQUIRE(run.result.steps == runs[0].result.steps);
    REQUIRE(run.result.samples == 2 * (900 + 70 + 500));
    REQUIRE(run.losses == runs[0].losses);
    REQUIRE(run.evaluations.size() == runs[0].evaluations.size());
    REQUIRE(run.evaluations.back().second.auc == runs[0].evaluations.back().second.auc);
  }
  REQUIRE(runs[0].result.steps > 2 * 1400 / 64);
}

TEST_CASE("evaluation has the same bits on one and on two workers") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {});
  WriteWorld(dir / "valid.csv", {.rows = 777, .seed = 4});
  TrainerOptions options = SmallJob("dlrm", dir / "train.csv", dir / "one");
  options.stages[0].steps_max = 1;  // One step: the sums' order plays no part yet.
  options.batch_size = 1;
  options.schema.group = "user";
  options.evaluation.data.files = {dir / "valid.csv"};
  options.evaluation.batch_size = 50;
  const RunTrace one = RunAlone(options, 1);
  INFO(one.status.ToString());
  REQUIRE(one.status.ok());
  options.output_dir = dir / "two";
  const std::vector<RunTrace> two = RunTogether({options, options}, 3);
  for (const RunTrace& run : two) {
    INFO(run.status.ToString());
    REQUIRE(run.status.ok());
    const EvaluationResult &a = one.evaluations[0].second, &b = run.evaluations[0].second;
    REQUIRE(a.samples == b.samples);
    REQUIRE(a.auc == b.auc);
    REQUIRE(a.has_gauc);
    REQUIRE(a.gauc == b.gauc);
    REQUIRE(a.log_loss == b.log_loss);
    REQUIRE(a.calibration == b.calibration);
  }
}

TEST_CASE("a stop asked of one worker stops both at one step, and both resume") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {});
  TrainerOptions options = SmallJob("deepfm", dir / "train.csv", dir / "halves");
  RunOptions stop;
  stop.stop_after = 21;
  const std::vector<RunTrace> first = RunTogether({options, options}, 2, {RunOptions(), stop});
  for (const RunTrace& run : first) {
    INFO(run.status.ToString());
    REQUIRE(run.status.ok());
    REQUIRE(run.result.interrupted);
    REQUIRE(run.result.steps == first[0].result.steps);
  }
  REQUIRE(first[0].result.steps >= 21);
  RunOptions resume;
  resume.resume_cut = first[0].result.final_cut;
  const std::vector<RunTrace> second = RunTogether({options, options}, 2, {resume, resume});
  options.output_dir = dir / "whole";
  const std::vector<RunTrace> whole = RunTogether({options, options}, 2);
  INFO(second[0].status.ToString());
  REQUIRE(second[0].status.ok());
  REQUIRE(whole[0].status.ok());
  std::vector<double> joined = first[0].losses;
  joined.insert(joined.end(), second[0].losses.begin(), second[0].losses.end());
  REQUIRE(joined == whole[0].losses);
  REQUIRE(ReadCutRows(second[0].result.final_cut).content_hash ==
          ReadCutRows(whole[0].result.final_cut).content_hash);
  REQUIRE(ReadJobCut(second[0].result.final_cut)->values ==
          ReadJobCut(whole[0].result.final_cut)->values);
}

TEST_CASE("a worker's failure ends the other with the cause, not with an echo") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {});
  WriteWorld(dir / "bad.csv", {});
  std::ofstream(dir / "bad.csv", std::ios::app) << "u1,i1,t1,forty,1\n";
  TrainerOptions good = SmallJob("deepfm", dir / "train.csv", dir / "out");
  TrainerOptions bad = SmallJob("deepfm", dir / "bad.csv", dir / "out");
  good.stages[0].epochs = bad.stages[0].epochs = 3;
  const std::vector<RunTrace> runs = RunTogether({good, bad}, 1);
  for (const RunTrace& run : runs) {
    INFO(run.status.ToString());
    REQUIRE_FALSE(run.status.ok());
    REQUIRE_THAT(std::string(run.status.message()), Contains("bad.csv:2002"));
  }
}

TEST_CASE("a NaN on one worker: neither applies anything of the step") {
  TemporaryDirectory dir;
  WriteWorld(dir / "train.csv", {});
  TrainerOptions good = SmallJob("deepfm", dir / "train.csv", dir / "out");
  good.stages[0].data.shuffle_rows = 0;
  good.checkpoint_every_steps = 7;
  TrainerOptions bad = good;
  // Rows 32..63 of each batch are worker 1's: line 2 + 7 * 64 + 40 is in step 8.
  bad.open_reader = PlantAt(2 + 7 * 64 + 40, [](Batch& batch, int64_t row) {
    batch.dense[static_cast<size_t>(row)] = std::nanf("");
  });
  const std::vector<RunTrace> runs = RunTogether({good, bad}, 2);
  for (const RunTrace& run : runs) {
    INFO(run.status.ToString());
    REQUIRE(absl::IsOutOfRange(run.status));
    REQUIRE_THAT(std::string(run.status.message()), Contains("step 8"));
    REQUIRE(run.losses.size() == 7);
  }
  REQUIRE_THAT(std::string(runs[1].status.message()), Contains("train.csv:490"));
  REQUIRE(NewestJobCut(dir / "out")->manifest.step() == 7);
}

}  // namespace
}  // namespace pagoda
