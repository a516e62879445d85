#include "deploy/stage_runner.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/worker/temporary_directory.h"
#include "worker/durable_file.h"
#include "worker/hand_over.h"
#include "worker/job_cut.h"

namespace pagoda {
namespace {

using Catch::Matchers::Contains;

// A job of three stages, each from the one before.
struct Staged {
  TemporaryDirectory scratch;
  std::vector<JobConfig> jobs;

  Staged() {
    for (const char* name : {"a", "b", "c"}) {
      JobConfig& job = jobs.emplace_back();
      job.path = "job.toml";
      job.trainer.start.stage = name;
      job.trainer.output_dir = scratch / name;
      if (jobs.size() > 1) job.trainer.start.from_stage = jobs[jobs.size() - 2].trainer.start.stage;
    }
  }
  void Cut(size_t stage) {
    REQUIRE(MakeDirectories(jobs[stage].trainer.output_dir + "/cuts").ok());
    const auto directory = BeginJobCut(jobs[stage].trainer.output_dir, CutName(1, 1));
    REQUIRE(directory.ok());
    JobCut cut;
    cut.manifest.set_cut(CutName(1, 1));
    REQUIRE(WriteJobCut(*directory, cut).ok());
  }
  void Finish(size_t stage) {
    Cut(stage);
    REQUIRE(WriteFinished(jobs[stage].trainer.output_dir, CutName(1, 1)).ok());
  }
  // "a b+ (c)": fresh, resumed, finished before; or the error.
  std::string Plan(const StartArguments& start, const std::string& stage = "",
                   const std::string& from_stage = "") const {
    JobArguments arguments;
    arguments.stage = stage;
    arguments.from_stage = from_stage;
    const auto plan = PlanStages(jobs, arguments, start);
    if (!plan.ok()) return std::string(plan.status().message());
    std::string text;
    for (const StageStart& one : *plan) {
      const std::string name = one.job->trainer.start.stage;
      text += (one.finished ? "(" + name + ")" : name + (one.start.resume ? "+" : "")) + " ";
    }
    return text;
  }
};

StartArguments Resume() {
  StartArguments start;
  start.resume = true;
  return start;
}
StartArguments Overwrite() {
  StartArguments start;
  start.overwrite = true;
  return start;
}

TEST_CASE("a fresh start runs all stages, and none that has been run") {
  Staged staged;
  CHECK(staged.Plan({}) == "a b c ");
  CHECK(staged.Plan(Resume()) == "a b c ");
  staged.Cut(1);
  CHECK_THAT(staged.Plan({}), Contains("earlier run of stage 'b'") && Contains("--resume"));
  CHECK(staged.Plan(Overwrite()) == "a b c ");
}

TEST_CASE("resuming leaves what has finished, and goes on with what was interrupted") {
  Staged staged;
  staged.Finish(0);
  CHECK(staged.Plan(Resume()) == "(a) b c ");
  staged.Cut(1);
  CHECK(staged.Plan(Resume()) == "(a) b+ c ");
  staged.Cut(2);
  CHECK_THAT(staged.Plan(Resume()),
             Contains("stage 'c'") && Contains("'b', which has not finished"));
  REQUIRE(WriteFinished(staged.jobs[1].trainer.output_dir, CutName(1, 1)).ok());
  CHECK(staged.Plan(Resume()) == "(a) (b) c+ ");
}

TEST_CASE("one stage, or those from one on, need the stage they start from") {
  Staged staged;
  CHECK_THAT(staged.Plan({}, "b"), Contains("stage 'b' starts from stage 'a', which has not"));
  CHECK_THAT(staged.Plan({}, "", "c"), Contains("starts from stage 'b'"));
  CHECK(staged.Plan({}, "a") == "a ");
  staged.Finish(0);
  CHECK(staged.Plan({}, "b") == "b ");
  CHECK(staged.Plan({}, "", "b") == "b c ");
  CHECK(staged.Plan(Resume(), "a") == "a+ ");  // Named alone: it goes on.
  CHECK_THAT(staged.Plan({}, "x"), Contains("has the stages a, b, c"));
  CHECK_THAT(staged.Plan({}, "a", "b"), Contains("choose one"));
  StartArguments cut = Resume();
  cut.resume_cut = "somewhere";
  CHECK_THAT(staged.Plan(cut), Contains("name it with --stage"));
  staged.jobs[2].trainer.start.cut = "last";
  CHECK(staged.Plan({}, "c") == "c ");
}

TEST_CASE("each of several stages writes its own trace, and the first that fails ends the run") {
  Staged staged;
  StartArguments start;
  start.trace_path = "losses";
  const auto plan = PlanStages(staged.jobs, {}, start);
  REQUIRE(plan.ok());
  CHECK((*plan)[1].start.trace_path == "losses.b");
  std::string ran;
  std::vector<std::string> said;
  const auto run = [&](int code_of_b) {
    ran.clear();
    return RunStages(
        *plan,
        [&](const JobConfig& job, const StartArguments&) -> absl::StatusOr<int> {
          ran += job.trainer.start.stage;
          return job.trainer.start.stage == "b" ? code_of_b : 0;
        },
        [&](const std::string& line) { said.push_back(line); });
  };
  CHECK(*run(0) == 0);
  CHECK(ran == "abc");
  CHECK(said[1] == "stage b, 2 of 3");
  CHECK(*run(130) == 130);
  CHECK(ran == "ab");
}

}  // namespace
}  // namespace pagoda
