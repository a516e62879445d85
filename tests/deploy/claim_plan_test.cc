#include "deploy/claim_plan.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <filesystem>

#include "tests/deploy/claim_fixture.h"
#include "tests/deploy/scratch_directory.h"

using namespace pagoda;

namespace {

ClaimRunOptions OptionsIn(const ScratchDirectory& scratch) {
  ClaimRunOptions options;
  options.executable = scratch.Write("program", "bytes");
  options.output_dir = scratch.File("out");
  options.seeds = {11, 12, 13};
  options.control_seeds = {11, 12};
  return options;
}

// "deep in planted 11", in the order of the plan.
std::vector<std::string> RunsOf(const ClaimPlan& plan) {
  std::vector<std::string> runs;
  for (const PlannedRun& run : plan.runs) {
    const PlannedWorld& world = plan.worlds[static_cast<size_t>(run.world)];
    runs.push_back(absl::StrCat(run.arm->name, " in ", world.world->name, " ", world.seed));
  }
  return runs;
}

bool Has(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

TEST_CASE("a plan holds what the checks need, seed by seed") {
  ScratchDirectory scratch;
  const absl::StatusOr<Claim> claim = ReadClaimWith(scratch);
  REQUIRE(claim.ok());
  const absl::StatusOr<ClaimPlan> plan = PlanClaim(*claim, OptionsIn(scratch));
  REQUIRE(plan.ok());
  // The oracle is not needed in the null world, which has two seeds.
  CHECK(RunsOf(*plan) ==
        std::vector<std::string>{"flat in planted 11", "deep in planted 11", "oracle in planted 11",
                                 "flat in null 11", "deep in null 11", "flat in planted 12",
                                 "deep in planted 12", "oracle in planted 12", "flat in null 12",
                                 "deep in null 12", "flat in planted 13", "deep in planted 13",
                                 "oracle in planted 13"});
  CHECK(plan->worlds[0].directory == scratch.File("planted-11"));
  // Every metric is reported in the planted world, and only what is checked in the null one.
  CHECK(plan->runs[0].metrics.size() == 2);
  CHECK(plan->runs[3].metrics.size() == 1);
  CHECK(plan->runs[0].predictions.size() == 1);
}

TEST_CASE("keys change with all that a result depends on, and with nothing else") {
  ScratchDirectory scratch;
  const auto keys = [&](const std::string& from, const std::string& to, ClaimRunOptions options) {
    const absl::StatusOr<Claim> claim = ReadClaimWith(scratch, from, to);
    REQUIRE(claim.ok());
    const absl::StatusOr<ClaimPlan> plan = PlanClaim(*claim, options);
    REQUIRE(plan.ok());
    return std::pair(plan->runs[0].key, plan->runs[1].key);  // flat, deep
  };
  const ClaimRunOptions options = OptionsIn(scratch);
  const auto before = keys("", "", options);
  CHECK(before.first != before.second);
  CHECK(keys("", "", options) == before);
  CHECK(keys("margin = 0.01", "margin = 0.02", options) == before);
  const auto override = keys("train.epochs=2", "train.epochs=3", options);
  CHECK(override.first == before.first);
  CHECK(override.second != before.second);
  ClaimRunOptions other = options;
  other.seeds = {12};
  CHECK(keys("", "", other).first != before.first);
  const auto world = keys("planted-{seed}", "planted2-{seed}", options);
  CHECK(world.first != before.first);
  scratch.Write("program", "other bytes");
  CHECK(keys("", "", options).first != before.first);
}

TEST_CASE("an arm comes after those it starts from, and hashes them") {
  ScratchDirectory scratch;
  const ClaimRunOptions options = OptionsIn(scratch);
  const auto plan_with = [&](const std::string& epochs) {
    // `flat` starts from `deep`, which stands after it in the file.
    static std::vector<Claim> claims;
    claims.reserve(8);
    absl::StatusOr<Claim> claim =
        ReadClaimWith(scratch, "\"model.name=lr\"]",
                      "\"model.name=lr\", \"train.from={cut:deep}\", \"x.y={world}/{seed}\"]");
    REQUIRE(claim.ok());
    claim->arms[1].set[1] = epochs;
    claims.push_back(*std::move(claim));
    return std::pair(&claims.back(), PlanClaim(claims.back(), options).value());
  };
  const auto [claim, plan] = plan_with("train.epochs=2");
  // deep, then the oracle, which needs nothing, then flat.
  REQUIRE(plan.runs[2].arm->name == "flat");
  CHECK(plan.runs[2].starts_from == std::vector<int>{0});
  const auto [other_claim, other] = plan_with("train.epochs=3");
  CHECK(plan.runs[2].key != other.runs[2].key);
  CHECK(plan.runs[1].key == other.runs[1].key);
  const std::vector<std::string> words =
      TrainWords(*claim, options, plan.worlds[0], plan.runs[2], {{"deep", {"/best", "/last"}}});
  CHECK(Has(words, "train.from=/best"));
  CHECK(Has(words, absl::StrCat("x.y=", scratch.File("planted-11"), "/11")));
}

TEST_CASE("commands name the files of the world that are there") {
  ScratchDirectory scratch;
  const absl::StatusOr<Claim> claim = ReadClaimWith(scratch);
  REQUIRE(claim.ok());
  ClaimRunOptions options = OptionsIn(scratch);
  const absl::StatusOr<ClaimPlan> plan = PlanClaim(*claim, options);
  REQUIRE(plan.ok());
  std::filesystem::create_directories(scratch.File("planted-11"));
  scratch.Write("planted-11/train.csv", "");
  const std::vector<std::string> words =
      TrainWords(*claim, options, plan->worlds[0], plan->runs[0], {});
  CHECK(words[0] == options.executable);
  CHECK(words[1] == "train");
  CHECK(words[2] == scratch.File("job.toml"));
  CHECK(words.back() == "model.name=lr");
  CHECK(Has(words, "job.seed=11"));
  CHECK(Has(words, absl::StrCat("data.files=[\"", scratch.File("planted-11/train.csv"), "\"]")));
  CHECK(std::none_of(words.begin(), words.end(), [](const std::string& word) {
    return word.find("valid.csv") != std::string::npos;
  }));
  ClaimPrediction prediction = claim->predictions[0];
  prediction.cut = "last";
  prediction.labels = true;
  prediction.set = {"model.serve=true"};
  const std::vector<std::string> predict =
      PredictWords(*claim, options, plan->worlds[0], plan->runs[0], prediction, {"/b", "/l"});
  CHECK(predict == std::vector<std::string>{options.executable, "predict", "--cut", "/l", "--input",
                                            scratch.File("planted-11/test.csv"), "--output",
                                            plan->runs[0].directory + "/test.csv", "--labels",
                                            "--set", "model.serve=true"});
}
