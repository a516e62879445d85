#include <cmath>

#include "algorithms/nn/optimizer.h"
#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

Schedule Make(const ScheduleOptions& options) {
  auto schedule = Schedule::Create(options);
  INFO(schedule.status());
  REQUIRE(schedule.ok());
  return *schedule;
}

TEST_CASE("a constant schedule warms up linearly and stays") {
  const Schedule plain = Make({});
  REQUIRE(plain.Factor(1) == 1.0);
  REQUIRE(plain.Factor(1000000) == 1.0);
  const Schedule warm = Make({.warmup_steps = 4});
  REQUIRE(warm.Factor(0) == 0.0);
  REQUIRE(warm.Factor(1) == 0.25);
  REQUIRE(warm.Factor(3) == 0.75);
  REQUIRE(warm.Factor(4) == 1.0);
  REQUIRE(warm.Factor(5) == 1.0);
}

TEST_CASE("a cosine schedule falls from 1 to its minimum and stays there") {
  const Schedule s =
      Make({.kind = "cosine", .warmup_steps = 10, .total_steps = 110, .min_factor = 0.1});
  REQUIRE(s.Factor(5) == Approx(0.5));
  REQUIRE(s.Factor(10) == Approx(1.0));
  REQUIRE(s.Factor(35) == Approx(0.1 + 0.9 * 0.5 * (1.0 + std::cos(0.25 * 3.14159265358979))));
  REQUIRE(s.Factor(60) == Approx(0.55));
  REQUIRE(s.Factor(110) == Approx(0.1));
  REQUIRE(s.Factor(5000) == Approx(0.1));
}

TEST_CASE("a plateau schedule waits for its patience, and never falls below its minimum") {
  Schedule s =
      Make({.kind = "plateau", .min_factor = 0.3, .plateau_factor = 0.5, .plateau_patience = 2});
  s.Report(0.7);
  s.Report(0.6);
  REQUIRE(s.Factor(9) == 1.0);
  s.Report(0.7);  // An equal metric is no gain.
  REQUIRE(s.Factor(9) == 0.5);
  s.Report(std::nan(""));
  REQUIRE(s.Factor(9) == 0.5);
  s.Report(0.8);  // A gain starts the count again.
  s.Report(0.1);
  REQUIRE(s.Factor(9) == 0.5);
  s.Report(0.1);
  REQUIRE(s.Factor(9) == 0.3);

  Schedule restored =
      Make({.kind = "plateau", .min_factor = 0.3, .plateau_factor = 0.5, .plateau_patience = 2});
  REQUIRE(restored.Load(s.Save()).ok());
  REQUIRE(restored.Factor(9) == 0.3);
  restored.Report(0.75);  // Below the restored best of 0.8.
  REQUIRE(restored.Save()[2] == 1.0);
}

TEST_CASE("reports do not move other schedules, and malformed state is refused") {
  Schedule s = Make({});
  for (int i = 0; i < 10; ++i) s.Report(0.1);
  REQUIRE(s.Factor(1) == 1.0);
  RequireInvalid(s.Load({1.0}), "malformed");
  RequireInvalid(s.Load({0.0, 0.0, 0.0}), "malformed");
  RequireInvalid(s.Load({1.0, 0.0, -1.0}), "malformed");
}

TEST_CASE("schedules refuse options out of range, by name") {
  RequireInvalid(Schedule::Create({.kind = "cosin"}).status(), "did you mean 'cosine'");
  RequireInvalid(Schedule::Create({.kind = "x"}).status(), "constant, cosine, plateau");
  RequireInvalid(Schedule::Create({.warmup_steps = -1}).status(), "warmup_steps");
  RequireInvalid(Schedule::Create({.min_factor = 1.5}).status(), "min_factor");
  RequireInvalid(Schedule::Create({.min_factor = std::nan("")}).status(), "min_factor");
  RequireInvalid(Schedule::Create({.kind = "cosine", .warmup_steps = 5, .total_steps = 5}).status(),
                 "total_steps");
  RequireInvalid(Schedule::Create({.kind = "plateau", .plateau_factor = 1.0}).status(),
                 "plateau_factor");
  RequireInvalid(Schedule::Create({.kind = "plateau", .plateau_patience = 0}).status(),
                 "plateau_patience");
}

}  // namespace
}  // namespace pagoda
