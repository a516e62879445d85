#include "deploy/claim_values.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <filesystem>
#include <limits>

#include "base/status_macros.h"
#include "tests/deploy/claim_fixture.h"
#include "tests/deploy/scratch_directory.h"

using namespace pagoda;

namespace {

// A claim of one world and one arm, measured from files written by hand.
struct Measured {
  ScratchDirectory scratch;
  std::string truth = "user,q,slice\na,1,cold\na,0,cold\nb,1,warm\nb,0,cold\n";
  std::string scores = "score,weight\n0.9,1\n0.8,1\n0.1,1\n0.2,3\n";
  std::string log =
      "evaluation at step 5: AUC 0.6  log-loss 0.7\nevaluation at step 9: AUC 0.8  "
      "log-loss 0.4\nevaluation at step 12: AUC 0.75  log-loss 0.5\n";

  absl::StatusOr<double> Value(const std::string& metric) {
    scratch.Write("job.toml", "[job]\nname = \"x\"\n");
    const std::string path = scratch.Write(
        "claim.toml",
        "[claim]\ntitle = \"t\"\n[world.w]\ndirectory = \"w\"\n[arm.a]\njob = \"job.toml\"\n"
        "[metric.base]\nkind = \"best_valid\"\n[metric.m]\n" +
            metric + "\n[check.c]\nworld = \"w\"\nvalue = \"m(a)\"\nat_least = 0\n");
    const absl::StatusOr<Claim> claim = ReadClaim(path, false);
    INFO(claim.status());
    REQUIRE(claim.ok());
    ClaimRunOptions options;
    options.executable = path;
    options.output_dir = scratch.path();
    options.seeds = {1};
    const absl::StatusOr<ClaimPlan> plan = PlanClaim(*claim, options);
    REQUIRE(plan.ok());
    const std::string& run = plan->runs[0].directory;
    std::filesystem::create_directories(run);
    std::filesystem::create_directories(scratch.File("w"));
    std::ofstream(scratch.File("w/test.csv")) << truth;
    std::ofstream(run + "/test.csv") << scores;
    std::ofstream(run + "/train.log") << log;
    std::ofstream(run + "/done") << "parameters 77\n";
    PAGODA_ASSIGN_OR_RETURN(const ClaimValues values, MeasureClaim(*claim, *plan));
    return values.Find("w", {"m", "a"})->at(0);
  }
};

}  // namespace

TEST_CASE("metrics of scores are joined to the truth by row") {
  Measured measured;
  CHECK(measured.Value("kind = \"auc\"\ntarget = \"q\"").value() == Approx(0.5));
  CHECK(measured.Value("kind = \"auc\"\ntarget = \"q\"\nrows = [\"slice == cold\"]").value() ==
        1.0);
  CHECK(measured.Value("kind = \"auc\"\ntarget = \"q\"\nrows = [\"slice != cold\"]").ok());
  CHECK(std::isnan(measured.Value("kind = \"auc\"\ntarget = \"q\"\nrows = [\"q > 0.5\"]").value()));
  CHECK(measured.Value("kind = \"gauc\"\ntarget = \"q\"\nuser = \"user\"").value() == Approx(0.5));
  CHECK(measured.Value("kind = \"mean\"").value() == Approx(0.5));
  CHECK(measured.Value("kind = \"calibration\"\ntarget = \"q\"").value() == Approx(1.0));
  CHECK(measured.Value("kind = \"effective_size\"\nscore = \"weight\"").value() == Approx(3.0));
  CHECK(measured.Value("kind = \"mean\"\nscore = \"q\"").value() == Approx(0.5));
}

TEST_CASE("metrics of a training come from its log and its cut") {
  Measured measured;
  CHECK(measured.Value("kind = \"best_valid\"").value() == 0.8);
  CHECK(measured.Value("kind = \"last_valid\"").value() == 0.75);
  CHECK(measured.Value("kind = \"best_step\"").value() == 9);
  CHECK(measured.Value("kind = \"best_evaluation\"").value() == 2);
  CHECK(measured.Value("kind = \"best_step\"\ncurve = \"log-loss\"\nsmaller_is_better = true")
            .value() == 9);
  CHECK(measured.Value("kind = \"steps_to\"\nlevel = 0.7").value() == 9);
  CHECK(measured.Value("kind = \"steps_to\"\nlevel_of = \"base(a)\"").value() == 9);
  CHECK(std::isinf(measured.Value("kind = \"steps_to\"\nlevel = 0.9").value()));
  CHECK(measured
            .Value("kind = \"steps_to\"\nlevel = 0.6\ncurve = \"log-loss\"\n"
                   "smaller_is_better = true")
            .value() == 9);
  CHECK(measured.Value("kind = \"parameters\"").value() == 77);
  measured.log.clear();
  CHECK(std::isnan(measured.Value("kind = \"best_valid\"").value()));
}

TEST_CASE("files that do not fit are refused with metric, arm and world") {
  Measured measured;
  const auto refusal = [&](const std::string& metric) {
    return std::string(measured.Value(metric).status().message());
  };
  CHECK(refusal("kind = \"auc\"\ntarget = \"p\"").find("m(a) in world w: ") != std::string::npos);
  CHECK(refusal("kind = \"auc\"\ntarget = \"p\"").find("no column \"p\"") != std::string::npos);
  CHECK(refusal("kind = \"mean\"\nscore = \"scor\"").find("did you mean \"score\"") !=
        std::string::npos);
  measured.scores = "score\n0.1\n";
  CHECK(refusal("kind = \"mean\"").find("has 1 rows, test.csv has 4") != std::string::npos);
  measured.scores = "score\n0.1\n0.1\n0.1\n0.1\n";
  measured.truth = "q\n1\n2\n0\n0\n";
  CHECK(refusal("kind = \"auc\"\ntarget = \"q\"").find("holds 2, which is no probability") !=
        std::string::npos);
}

TEST_CASE("expressions are evaluated seed by seed") {
  ClaimValues values;
  values.Set("w", 1, {"m", "a"}, 3.0);
  values.Set("w", 0, {"m", "a"}, 1.0);
  values.Set("w", 0, {"m", "b"}, 0.5);
  const std::vector<double> difference =
      values.Evaluate("w", ClaimExpression::Parse("m(a)").value());
  CHECK(difference == std::vector<double>{1.0, 3.0});
  CHECK(values.Find("v", {"m", "a"}) == nullptr);
  CHECK(values.Find("w", {"n", "a"}) == nullptr);
}
