#include "deploy/job_plan.h"

#include <catch2/catch.hpp>

using namespace pagoda;

namespace {

// Two tables with numbers that are easy to follow by hand.
PlanInput SmallPlan() {
  PlanInput input;
  input.tables = {{"a", 8, 1000, 100, 60, 5, 50, 96}, {"b", 1, 500, 10, 10, 0, 30, 64}};
  input.batch_size = 256;
  input.steps_per_second = 20;
  input.servers = 2;
  input.workers = 2;
  input.networked = true;
  input.server_memory_bytes = 40000;
  input.server_log_bytes_max = 1000;
  return input;
}

}  // namespace

TEST_CASE("the plan is the formulas of its header, worked out by hand") {
  const JobPlan plan = MakePlan(SmallPlan());
  CHECK(plan.rows == 1500);
  CHECK(plan.unique_per_step == 110);
  CHECK(plan.memory_bytes_all == 1000 * 96 + 500 * 64);
  CHECK(plan.memory_bytes_budget == 80000);
  CHECK(plan.memory_bytes_tier == 60000);
  CHECK(plan.hot_fraction == Approx(60000.0 / 128000.0));
  CHECK(plan.disk_bytes_rows == Approx(1.3 * (1000 * 50 + 500 * 30)));
  CHECK(plan.disk_bytes_log == 2000);
  const double logged = 100 * (8 + 32) + 10 * (8 + 4) + 2 * (56 + 2 * 24);
  CHECK(plan.log_bytes_per_step == Approx(logged));
  CHECK(plan.log_bytes_per_second == Approx(20 * logged));
  const double sent = (2 * 60 + 5) * (8 + 32) + 2 * 10 * (8 + 4) + 2 * 2 * 800;
  CHECK(plan.worker_bytes_per_step == Approx(sent));
  CHECK(plan.worker_bytes_per_second == Approx(20 * sent));
  CHECK(plan.server_bytes_per_second == Approx(20 * sent));  // Two workers, two servers.
  CHECK(plan.samples_per_second == 5120);
}

TEST_CASE("without tables, network or log there is nothing of them") {
  PlanInput input = SmallPlan();
  input.networked = false;
  input.logged = false;
  JobPlan plan = MakePlan(input);
  CHECK(plan.log_bytes_per_step == 0);
  CHECK(plan.disk_bytes_log == 0);
  CHECK(plan.worker_bytes_per_second == 0);
  input.tables.clear();
  plan = MakePlan(input);
  CHECK(plan.hot_fraction == 1);
  CHECK(plan.rows == 0);
}

TEST_CASE("the text names every table and the numbers that matter") {
  const PlanInput input = SmallPlan();
  const std::string text = PlanText(input, MakePlan(input));
  for (const char* part : {"\na ", "\nb ", "46.9 % of all rows", "5120 samples a second",
                           "memory   78.1 KiB for 2 servers", "up to 2.0 KiB of log"}) {
    CAPTURE(text, part);
    CHECK(text.find(part) != std::string::npos);
  }
  CHECK(BytesText(0) == "0 B");
  CHECK(BytesText(1023) == "1023 B");
  CHECK(BytesText(1536) == "1.5 KiB");
  CHECK(BytesText(3.0 * (1 << 30)) == "3.0 GiB");
}
