#include "deploy/claim_runner.h"

#include <signal.h>

#include <catch2/catch.hpp>

#include <filesystem>

#include "deploy/stop_signal.h"
#include "tests/deploy/claim_fixture.h"
#include "tests/deploy/scratch_directory.h"
#include "worker/job_cut.h"

using namespace pagoda;

namespace {

namespace fs = std::filesystem;

// A program that takes the words of `pagoda`, notes them in "calls", and writes what a
// training leaves: a log and a cut that the test prepared. It fails where the test says so.
constexpr const char* kProgram = R"sh(#!/bin/sh
here="$(dirname "$0")"
words="$*"
bad="$(cat "$here/fail")"
echo "$words" >> "$here/calls"
if echo "$words" | grep -q -e "$bad"; then echo "as asked"; exit 9; fi
if [ "$1" = synth ]; then touch "$6/train.csv"; fi
if [ "$1" = predict ]; then : > "$7"; fi
if [ "$1" = train ]; then
  output="$(echo "$words" | sed 's/.*job.output="\([^"]*\)".*/\1/')"
  mkdir -p "$output/cuts"
  cp -r "$here/made/cuts/." "$output/cuts/"
  echo "best cut: somewhere/else/step-000000004"
fi
)sh";

struct Setting {
  ScratchDirectory scratch;
  Claim claim;
  ClaimRunOptions options;
  ClaimPlan plan;
  std::vector<std::string> lines;

  // `flat` starts from `deep`.
  Setting() {
    absl::StatusOr<Claim> read = ReadClaimWith(scratch, "\"model.name=lr\"]",
                                               "\"model.name=lr\", \"train.from={cut:deep}\"]");
    REQUIRE(read.ok());
    claim = *std::move(read);
    claim.worlds[0].directory.clear();
    claim.worlds[0].generator = "some_world";
    claim.worlds[1].directory = scratch.path();
    options.executable = scratch.Write("program", kProgram);
    fs::permissions(options.executable, fs::perms::owner_all);
    scratch.Write("fail", "no such word");
    scratch.Write("calls", "");
    options.output_dir = scratch.File("out");
    options.seeds = options.control_seeds = {5};
    options.parallel = 2;
    plan = PlanClaim(claim, options).value();
    fs::create_directories(scratch.File("made"));
    JobCut cut;
    cut.manifest.set_num_elements(3);
    cut.values = {1, 2, 3};
    const std::string directory = BeginJobCut(scratch.File("made"), CutName(4, 1)).value();
    REQUIRE(WriteJobCut(directory, cut).ok());
  }

  absl::Status Run() {
    lines.clear();
    return RunClaimPlan(claim, options, plan,
                        [this](const std::string& line) { lines.push_back(line); });
  }

  // The calls since the last time, by their first words.
  std::string Calls() {
    std::ifstream file(scratch.File("calls"));
    std::string calls;
    for (std::string line; std::getline(file, line);) calls += line.substr(0, 2) + " ";
    scratch.Write("calls", "");
    return calls;
  }

  const PlannedRun& RunOf(const std::string& arm) const {
    for (const PlannedRun& run : plan.runs) {
      if (run.arm->name == arm && !run.directory.empty()) return run;
    }
    FAIL("no run of " << arm);
    return plan.runs[0];
  }
};

}  // namespace

TEST_CASE("a plan is run once, and its models are removed") {
  Setting setting;
  const absl::Status status = setting.Run();
  INFO(status);
  REQUIRE(status.ok());
  // One world; deep and flat in it and in the null world, each trained and predicted.
  const std::string calls = setting.Calls();
  CHECK(calls.size() / 3 == 9);
  for (const PlannedRun& run : setting.plan.runs) {
    if (run.directory.empty()) continue;
    CHECK(fs::exists(run.directory + "/done"));
    CHECK(fs::exists(run.directory + "/test.csv"));
    CHECK_FALSE(fs::exists(run.ModelDirectory()));
    CHECK(ParametersOfRun(run).value() == 3);
  }
  REQUIRE(setting.Run().ok());
  CHECK(setting.Calls().empty());
  CHECK(setting.lines.size() == 1);
}

TEST_CASE("an arm is given the cut it starts from") {
  Setting setting;
  REQUIRE(setting.Run().ok());
  std::ifstream file(setting.scratch.File("calls"));
  std::string calls((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  CHECK(calls.find("train.from=" + setting.RunOf("deep").ModelDirectory() +
                   "/cuts/step-000000004") != std::string::npos);
}

TEST_CASE("a failure names the log, and what was finished stays finished") {
  Setting setting;
  setting.scratch.Write("fail", "model.name=lr");
  const absl::Status status = setting.Run();
  REQUIRE_FALSE(status.ok());
  const std::string message(status.message());
  INFO(message);
  CHECK(message.find("flat in ") != std::string::npos);
  CHECK(message.find("ended with exit code 9; see ") != std::string::npos);
  CHECK(message.find("/train.log:\n  as asked") != std::string::npos);
  setting.Calls();
  setting.scratch.Write("fail", "no such word");
  REQUIRE(setting.Run().ok());
  // The world and at least one training of deep are not repeated.
  const std::string calls = setting.Calls();
  CHECK(calls.find("sy ") == std::string::npos);
  CHECK(calls.size() / 3 < 8);
}

TEST_CASE("what was finished runs again when another run needs its model") {
  Setting setting;
  REQUIRE(setting.Run().ok());
  setting.Calls();
  fs::remove(setting.RunOf("flat").directory + "/done");
  REQUIRE(setting.Run().ok());
  CHECK(setting.Calls() == "tr pr tr pr ");
  // Damage is noticed.
  setting.scratch.Write("done", "");
  PlannedRun damaged;
  damaged.directory = setting.scratch.path();
  CHECK(absl::IsDataLoss(ParametersOfRun(damaged).status()));
}

TEST_CASE("a claim that is stopped keeps what is finished") {
  Setting setting;
  StopSignal::Install("");
  raise(SIGINT);
  CHECK(absl::IsCancelled(setting.Run()));
  StopSignal::Install("");  // Forgets the signal.
  CHECK(setting.Run().ok());
}

TEST_CASE("a world that is not there is named") {
  Setting setting;
  setting.claim.worlds[1].directory = "/no/such/world";
  setting.plan = PlanClaim(setting.claim, setting.options).value();
  CHECK(setting.Run().message() ==
        setting.claim.worlds[1].where + ": there is no directory /no/such/world");
}
