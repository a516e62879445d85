#include "deploy/claim_verdict.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>

using namespace pagoda;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

ClaimCheck CheckOf(const std::string& value) {
  ClaimCheck check;
  check.name = "c";
  check.world = "w";
  check.value = ClaimExpression::Parse(value).value();
  return check;
}

// The verdict on one check, with the values of m(x) in world w, and in the null world n.
CheckResult Judged(ClaimCheck check, const std::vector<double>& values,
                   const std::vector<double>& null_values = {}) {
  Claim claim;
  claim.checks.push_back(std::move(check));
  ClaimValues measured;
  for (size_t i = 0; i < values.size(); ++i) {
    measured.Set("w", static_cast<int>(i), {"m", "x"}, values[i]);
    measured.Set("w", static_cast<int>(i), {"m", "y"}, 0.2);
  }
  for (size_t i = 0; i < null_values.size(); ++i) {
    measured.Set("n", static_cast<int>(i), {"m", "x"}, null_values[i]);
  }
  const ClaimVerdict verdict = JudgeClaim(claim, measured);
  REQUIRE(verdict.checks.size() == 1);
  CHECK(verdict.pass == verdict.checks[0].met);
  CheckResult result = verdict.checks[0];
  result.check = nullptr;  // The claim goes out of scope.
  return result;
}

}  // namespace

TEST_CASE("a margin asks for the mean, and for 4 of 5 seeds above 0") {
  ClaimCheck check = CheckOf("m(x)");
  check.margin = 0.01;
  CHECK(Judged(check, {0.02, 0.02, 0.02, 0.02, 0.02}).met);
  CHECK(Judged(check, {0.02, 0.03, 0.02, 0.02, -0.01}).met);
  CHECK(Judged(check, {0.05, 0.05, 0.05, -0.01, -0.01}).failures ==
        std::vector<std::string>{"3 of 5 seeds are above 0, 4 are needed"});
  CHECK(Judged(check, {0.009, 0.009, 0.009, 0.009, 0.009}).failures ==
        std::vector<std::string>{"the mean 0.009 is below the margin 0.01"});
  CHECK_FALSE(Judged(check, {0.05, 0.05, 0.0}).met);  // 3 of 3; and 0 is not above 0.
  CHECK(DescribeBounds(check, 5) == ">= 0.01, 4/5 seeds > 0");
}

TEST_CASE("limits hold for the mean, or for each seed") {
  ClaimCheck check = CheckOf("m(x)");
  check.at_least = 0.1;
  check.at_most = 0.3;
  CHECK(Judged(check, {0.0, 0.4}).met);
  check.every_seed = true;
  CHECK(Judged(check, {0.0, 0.4}).failures.size() == 2);
  CHECK(Judged(check, {0.1, 0.3}).met);
  CHECK_FALSE(Judged(check, {0.2, kNan}).met);
  CHECK_FALSE(Judged(check, {kNan, 0.2}).met);
  CHECK(DescribeBounds(check, 2) == "each >= 0.1, each <= 0.3");
}

TEST_CASE("a band is on both sides of 0") {
  ClaimCheck check = CheckOf("m(x)");
  check.band = 0.005;
  CHECK(Judged(check, {0.004, -0.012, 0.003}).met);
  CHECK_FALSE(Judged(check, {-0.006, -0.006}).met);
  CHECK_FALSE(Judged(check, {0.006, 0.006}).met);
  CHECK_FALSE(Judged(check, {kNan, 0.0}).met);
}

TEST_CASE("the gap closed is a quotient of means, and needs a gap") {
  ClaimCheck check = CheckOf("m(x)");
  check.gap = ClaimExpression::Parse("m(y)").value();
  check.gap_closure = 0.2;
  const CheckResult closed = Judged(check, {0.03, 0.06});
  CHECK(closed.met);
  CHECK(closed.closure.value() == Approx(0.225));
  CHECK_FALSE(Judged(check, {0.03, 0.03}).met);
  check.gap = ClaimExpression::Parse("0 * m(y)").value();
  CHECK(Judged(check, {0.03, 0.06}).failures ==
        std::vector<std::string>{"the gap 0 is not above 0"});
}

TEST_CASE("a win in the null world breaks the claim, as does a loss") {
  ClaimCheck check = CheckOf("m(x)");
  check.margin = 0.01;
  check.null_world = "n";
  CHECK(Judged(check, {0.02, 0.02}, {0.004, -0.008}).met);
  const CheckResult broken = Judged(check, {0.02, 0.02}, {0.02, 0.01});
  CHECK_FALSE(broken.met);
  CHECK_FALSE(broken.null_met);
  CHECK(broken.failures ==
        std::vector<std::string>{"in the null world 0.015 is not within 0.005 of 0"});
  CHECK_FALSE(Judged(check, {0.02, 0.02}, {-0.02, -0.01}).met);
  CHECK_FALSE(Judged(check, {0.02, 0.02}, {kNan, 0.0}).met);
}

TEST_CASE("what is not defined, or never, meets nothing") {
  ClaimCheck check = CheckOf("m(x)");
  check.at_most = 5;
  CHECK(Judged(check, {kNan}).failures.front() == "a value is not defined");
  CHECK_FALSE(Judged(check, {std::numeric_limits<double>::infinity(), 1}).met);
}
