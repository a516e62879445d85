#include "deploy/claim_sections.h"

#include <catch2/catch.hpp>

using namespace pagoda;

namespace {

Claim Filled(const std::string& text, bool fast) {
  const absl::StatusOr<JobDocument> document = ParseJobText("c.toml", text);
  REQUIRE(document.ok());
  Claim claim;
  const absl::Status status = FillClaim(*document, fast, &claim);
  INFO(status);
  REQUIRE(status.ok());
  return claim;
}

}  // namespace

TEST_CASE("keys that begin with fast_ take the place of others, in fast runs alone") {
  const std::string text =
      "[claim]\ntitle = \"t\"\nseeds = 4\n[world.w]\ngenerator = \"g\"\noptions = [\"--rows\", "
      "\"9\"]\nfast_options = [\"--rows\", \"3\"]\n[check.c]\nworld = \"w\"\nvalue = "
      "\"a(b)\"\nat_most = 1\nfast_skip = true\n";
  const Claim full = Filled(text, false), fast = Filled(text, true);
  CHECK(full.worlds[0].options == std::vector<std::string>{"--rows", "9"});
  CHECK(fast.worlds[0].options == std::vector<std::string>{"--rows", "3"});
  CHECK_FALSE(full.checks[0].skip);
  CHECK(fast.checks[0].skip);
  CHECK(full.seeds == 4);
  CHECK(fast.seeds == Claim().seeds);  // The reader's default: no fast_seeds.
}

TEST_CASE("conditions on rows have three parts") {
  const absl::StatusOr<ClaimFilter> filter = ParseClaimFilter("train_count <= 3");
  REQUIRE(filter.ok());
  CHECK(filter->column == "train_count");
  CHECK(filter->op == "<=");
  CHECK(filter->value == "3");
  CHECK(ParseClaimFilter("slice == limited few")->value == "limited few");
  for (const char* bad : {"", "a", "a ==", "a = 3", "== 3", "a==3", "a ~ 3"}) {
    INFO(bad);
    CHECK_FALSE(ParseClaimFilter(bad).ok());
  }
}
