// Resume: a job that was stopped, or killed, ends with the bits of one that was not.
// (Trainer and CutKeeper; worker/trainer.h.)

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "tests/worker/stored_rows.h"
#include "tests/worker/training_world.h"
#include "worker/job_cut.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

// Everything that may go wrong on a resume is in play: shuffling windows, warm-up,
// Adam's step count, dropout, batch norm, evaluations with plateau and patience.
TrainerOptions LongJob(const std::string& directory, const std::string& output) {
  TrainerOptions options = SmallJob("deepfm", directory + "/train.csv", directory + "/" + output);
  REQUIRE(options.model_options.Set("dropout", 0.2).ok());
  REQUIRE(options.model_options.Set("batch_norm", true).ok());
  options.stages[0].epochs = 13;
  options.stages[0].steps_max = 400;
  options.dense.args.kind = DenseOptimizerKind::kAdam;
  options.dense.args.learning_rate = 0.01f;
  options.schedule.kind = "plateau";
  options.schedule.warmup_steps = 50;
  options.schedule.plateau_patience = 1;
  options.evaluation.data.files = {directory + "/valid.csv"};
  options.evaluation.every_steps = 40;
  options.checkpoints_kept = 3;
  return options;
}

void WriteData(const std::string& directory) {
  WriteWorld(directory + "/train.csv", {});
  WriteWorld(directory + "/valid.csv", {.rows = 300, .seed = 2});
}

void RequireSameEnd(const RunTrace& a, const RunTrace& b) {
  REQUIRE(a.result.steps == b.result.steps);
  const auto cut_a = ReadJobCut(a.result.final_cut), cut_b = ReadJobCut(b.result.final_cut);
  REQUIRE(cut_a.ok());
  REQUIRE(cut_b.ok());
  REQUIRE(cut_a->values == cut_b->values);
  REQUIRE(cut_a->slots == cut_b->slots);
  REQUIRE(cut_a->manifest.optimizer_steps() == cut_b->manifest.optimizer_steps());
  REQUIRE(cut_a->manifest.samples() == cut_b->manifest.samples());
  REQUIRE(cut_a->manifest.positions(0).SerializeAsString() ==
          cut_b->manifest.positions(0).SerializeAsString());
  REQUIRE(
      std::vector<double>(cut_a->manifest.schedule().begin(), cut_a->manifest.schedule().end()) ==
      std::vector<double>(cut_b->manifest.schedule().begin(), cut_b->manifest.schedule().end()));
  REQUIRE(cut_a->manifest.early_stopping().best() == cut_b->manifest.early_stopping().best());
  REQUIRE(cut_a->manifest.early_stopping().evaluations_without_gain() ==
          cut_b->manifest.early_stopping().evaluations_without_gain());
  const CutRows rows_a = ReadCutRows(a.result.final_cut), rows_b = ReadCutRows(b.result.final_cut);
  REQUIRE(rows_a.rows == rows_b.rows);
  REQUIRE(rows_a.content_hash == rows_b.content_hash);
}

TEST_CASE("400 steps equal 200, a stop, and 200 more, to the last bit") {
  TemporaryDirectory dir;
  WriteData(dir.path());
  const Step stop = GENERATE(Step{1}, Step{131}, Step{200}, Step{384});
  CAPTURE(stop);
  const RunTrace whole = RunAlone(LongJob(dir.path(), "whole"), 2);
  INFO(whole.status.ToString());
  REQUIRE(whole.status.ok());
  REQUIRE(whole.losses.size() == 400);

  const TrainerOptions halves = LongJob(dir.path(), "halves");
  RunOptions first_half;
  first_half.stop_after = stop;
  const RunTrace first = RunAlone(halves, 2, first_half);
  REQUIRE(first.status.ok());
  REQUIRE(first.result.interrupted);
  REQUIRE(first.result.steps == stop);  // The very boundary, not a step later.
  REQUIRE(NewestJobCut(dir / "halves")->directory == first.result.final_cut);

  RunOptions second_half;
  second_half.resume_cut = first.result.final_cut;
  const RunTrace second = RunAlone(halves, 2, second_half);
  INFO(second.status.ToString());
  REQUIRE(second.status.ok());
  std::vector<double> joined = first.losses;
  joined.insert(joined.end(), second.losses.begin(), second.losses.end());
  REQUIRE(joined == whole.losses);
  REQUIRE(second.result.samples + first.result.samples == whole.result.samples);
  RequireSameEnd(whole, second);
}

// The child of the next test: trains and kills itself. Not run by itself.
TEST_CASE("trains until it kills itself", "[.][child]") {
  const char* directory = std::getenv("PAGODA_TEST_DIR");
  if (directory == nullptr) return;
  TrainerOptions options = LongJob(directory, "killed");
  options.checkpoint_every_steps = 50;
  RunOptions run;
  run.on_step = [](Step step) {
    if (step == 133) kill(getpid(), SIGKILL);
  };
  RunAlone(options, 2, run);
}

TEST_CASE("a job killed between cuts resumes from the newest one with the same bits") {
  TemporaryDirectory dir;
  WriteData(dir.path());
  const pid_t child = fork();
  if (child == 0) {  // Nothing but exec: the parent may have threads.
    setenv("PAGODA_TEST_DIR", dir.path().c_str(), 1);
    execl("/proc/self/exe", "child", "trains until it kills itself", nullptr);
    _exit(127);
  }
  int state = 0;
  REQUIRE(waitpid(child, &state, 0) == child);
  REQUIRE(WIFSIGNALED(state));
  REQUIRE(WTERMSIG(state) == SIGKILL);

  const auto newest = NewestJobCut(dir / "killed");
  REQUIRE(newest.ok());
  REQUIRE(newest->manifest.step() >= 100);  // 100, or a best evaluation's at 120.
  REQUIRE(newest->manifest.step() <= 120);
  TrainerOptions options = LongJob(dir.path(), "killed");
  options.checkpoint_every_steps = 50;
  RunOptions resume;
  resume.resume_cut = newest->directory;
  const RunTrace resumed = RunAlone(options, 2, resume);
  INFO(resumed.status.ToString());
  REQUIRE(resumed.status.ok());
  REQUIRE(resumed.cuts.back().second.ends_with(".epoch2"));

  const RunTrace whole = RunAlone(LongJob(dir.path(), "whole"), 2);
  REQUIRE(whole.status.ok());
  const auto from = static_cast<int64_t>(newest->manifest.step());
  REQUIRE(resumed.losses == std::vector<double>(whole.losses.begin() + from, whole.losses.end()));
  RequireSameEnd(whole, resumed);
}

TEST_CASE("an unfinished cut is dropped at the next start, and its name is free again") {
  TemporaryDirectory dir;
  WriteData(dir.path());
  TrainerOptions options = LongJob(dir.path(), "out");
  RunOptions first;
  first.stop_after = 30;
  const RunTrace stopped = RunAlone(options, 1, first);
  REQUIRE(stopped.status.ok());
  // As if the second run had died while it made the cut of step 60.
  REQUIRE(BeginJobCut(dir / "out", CutName(60, 2)).ok());
  options.stages[0].steps_max = 60;
  RunOptions second;
  second.resume_cut = stopped.result.final_cut;
  const RunTrace resumed = RunAlone(options, 1, second);
  INFO(resumed.status.ToString());
  REQUIRE(resumed.status.ok());
  REQUIRE(resumed.result.final_cut == CutDirectory(dir / "out", CutName(60, 2)));
}

TEST_CASE("a finished job resumes to nothing, and goes on when given more steps") {
  TemporaryDirectory dir;
  WriteData(dir.path());
  TrainerOptions options = LongJob(dir.path(), "out");
  options.evaluation = EvaluationOptions();
  options.schedule = ScheduleOptions();
  options.stages[0].steps_max = 100;
  const RunTrace first = RunAlone(options, 1);
  REQUIRE(first.status.ok());
  RunOptions resume;
  resume.resume_cut = first.result.final_cut;
  const RunTrace nothing = RunAlone(options, 1, resume);
  INFO(nothing.status.ToString());
  REQUIRE(nothing.status.ok());
  REQUIRE(nothing.losses.empty());
  REQUIRE(nothing.result.final_cut == first.result.final_cut);
  options.stages[0].steps_max = 150;
  const RunTrace more = RunAlone(options, 1, resume);
  INFO(more.status.ToString());
  REQUIRE(more.status.ok());
  REQUIRE(more.losses.size() == 50);

  options.output_dir = dir / "whole";
  const RunTrace whole = RunAlone(options, 1);
  REQUIRE(whole.status.ok());
  RequireSameEnd(whole, more);
}

TEST_CASE("a cut of another job, model, seed or optimizer is refused in words") {
  TemporaryDirectory dir;
  WriteData(dir.path());
  TrainerOptions options = LongJob(dir.path(), "out");
  RunOptions stop;
  stop.stop_after = 5;
  const RunTrace first = RunAlone(options, 1, stop);
  REQUIRE(first.status.ok());
  RunOptions resume;
  resume.resume_cut = first.result.final_cut;
  using Catch::Matchers::Contains;
  const auto refused = [&](const std::function<void(TrainerOptions&)>& change) {
    TrainerOptions changed = options;
    change(changed);
    const RunTrace run = RunAlone(changed, 1, resume);
    INFO(run.status.ToString());
    REQUIRE(absl::IsFailedPrecondition(run.status));
    return std::string(run.status.message());
  };
  REQUIRE_THAT(refused([](auto& o) { o.job = "other"; }), Contains("job tiny"));
  REQUIRE_THAT(refused([](auto& o) { o.seed = 18; }), Contains("seed"));
  REQUIRE_THAT(refused([](auto& o) { o.dense.args.kind = DenseOptimizerKind::kAdagrad; }),
               Contains("slots"));
  REQUIRE_THAT(refused([](auto& o) {
                 REQUIRE(o.model_options.Set("hidden", std::vector<int64_t>{16, 4}).ok());
               }),
               Contains("dense parameter"));
  resume.resume_cut = dir / "nowhere";
  REQUIRE(absl::IsNotFound(RunAlone(options, 1, resume).status));
}

}  // namespace
}  // namespace pagoda
