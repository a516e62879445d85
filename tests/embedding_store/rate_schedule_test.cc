#include "embedding_store/rate_schedule.h"

#include <catch2/catch.hpp>
#include <cmath>

namespace pagoda {
namespace {

using Catch::Contains;
using Kind = RateScheduleKind;

TEST_CASE("factors of a table's learning rate") {
  RateSchedule schedule;
  CHECK(RateFactor(schedule, 1) == 1.0f);
  CHECK(RateFactor(schedule, 1000000) == 1.0f);
  schedule.warmup_steps = 10;
  CHECK(RateFactor(schedule, 1) == 0.1f);
  CHECK(RateFactor(schedule, 9) == 0.9f);
  CHECK(RateFactor(schedule, 10) == 1.0f);
  schedule.kind = Kind::kCosine;
  schedule.total_steps = 30;
  schedule.min_factor = 0.25f;
  CHECK(RateFactor(schedule, 5) == 0.5f);
  CHECK(RateFactor(schedule, 10) == 1.0f);
  CHECK(RateFactor(schedule, 20) == Approx(0.625));
  CHECK(RateFactor(schedule, 30) == 0.25f);
  CHECK(RateFactor(schedule, 1000) == 0.25f);
  schedule.kind = Kind::kInverseSqrt;
  CHECK(RateFactor(schedule, 10) == 1.0f);
  CHECK(RateFactor(schedule, 40) == Approx(0.5));
  CHECK(RateFactor(schedule, 1000000) == 0.25f);
  schedule = RateSchedule{Kind::kInverseSqrt, 0, 0, 0.0f};
  CHECK(RateFactor(schedule, 1) == 1.0f);
  CHECK(RateFactor(schedule, 100) == Approx(0.1));
}

TEST_CASE("schedules by name, and what is out of range") {
  for (const Kind kind : {Kind::kConstant, Kind::kCosine, Kind::kInverseSqrt}) {
    const auto parsed = ParseRateSchedule(RateScheduleName(kind));
    REQUIRE(parsed.ok());
    CHECK(*parsed == kind);
  }
  CHECK_THAT(std::string(ParseRateSchedule("cosines").status().message()),
             Contains("cosines") && Contains("inverse_sqrt"));
  CHECK(CheckRateSchedule({}).ok());
  CHECK_THAT(std::string(CheckRateSchedule({Kind::kConstant, -1, 0, 0.0f}).message()),
             Contains("warmup_steps"));
  CHECK_THAT(std::string(CheckRateSchedule({Kind::kCosine, 10, 10, 0.0f}).message()),
             Contains("total_steps"));
  CHECK_THAT(std::string(CheckRateSchedule({Kind::kConstant, 0, 0, NAN}).message()),
             Contains("min_factor"));
}

}  // namespace
}  // namespace pagoda
