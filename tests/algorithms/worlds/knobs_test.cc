#include "algorithms/worlds/knobs.h"

#include <catch2/catch.hpp>

#include "absl/strings/match.h"

namespace pagoda {
namespace {

const std::vector<Knob> kKnobs = {{"users", 10, 1, 1000, true, "how many"},
                                  {"taste", 0.5, 0, 2, false, "how much"}};
const std::vector<Variant> kVariants = {{"planted", {}}, {"null", {{"taste", 0.0}}}};

absl::StatusOr<KnobValues> Make(const std::vector<std::string>& assignments) {
  return KnobValues::Make(5, kKnobs, kVariants, assignments);
}

TEST_CASE("knobs start at the variant's defaults, and assignments win") {
  const auto plain = Make({});
  REQUIRE(plain.ok());
  CHECK(plain->seed() == 5);
  CHECK(plain->variant() == "planted");
  CHECK(plain->Whole("users") == 10);
  CHECK(plain->Real("taste") == 0.5);
  CHECK(Make({"variant=null"})->Real("taste") == 0.0);
  CHECK(Make({"taste=0.25", "variant=null"})->Real("taste") == 0.25);
  CHECK(Make({"users=2", "users=1e2"})->Whole("users") == 100);
}

TEST_CASE("mistakes in knobs are named") {
  const auto says = [](const std::vector<std::string>& assignments, const std::string& sentence) {
    const auto made = Make(assignments);
    REQUIRE_FALSE(made.ok());
    CHECK(made.status().code() == absl::StatusCode::kInvalidArgument);
    INFO(made.status().message());
    CHECK(absl::StrContains(std::string(made.status().message()), sentence));
  };
  says({"users"}, "'users' is not knob=value");
  says({"=3"}, "'=3' is not knob=value");
  says({"user=3"}, "unknown knob 'user'; did you mean 'users'?");
  says({"varient=null"}, "did you mean 'variant'?");
  says({"variant=nul"}, "unknown variant 'nul'; did you mean 'null'? (planted, null)");
  says({"users=many"}, "knob 'users': 'many' is not a number");
  says({"taste=nan"}, "'nan' is not a number");
  says({"taste=inf"}, "'inf' is not a number");
  says({"users=2.5"}, "2.5 is not a whole number");
  says({"users=0"}, "0 is not between 1 and 1000");
  says({"taste=2.01"}, "2.01 is not between 0 and 2");
}

}  // namespace
}  // namespace pagoda
