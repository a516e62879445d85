#include "deploy/claim_file.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <filesystem>
#include <set>

#include "tests/deploy/claim_fixture.h"
#include "tests/deploy/scratch_directory.h"

using namespace pagoda;

namespace {

// The message that a change of the claim file earns, after the path of the scratch folder.
std::string Refusal(const std::string& from, const std::string& to) {
  ScratchDirectory scratch;
  const absl::StatusOr<Claim> claim = ReadClaimWith(scratch, from, to);
  INFO(from << " -> " << to);
  REQUIRE_FALSE(claim.ok());
  std::string message(claim.status().message());
  const std::string prefix = scratch.path() + "/";
  for (size_t at = message.find(prefix); at != std::string::npos; at = message.find(prefix)) {
    message.erase(at, prefix.size());
  }
  return message;
}

}  // namespace

TEST_CASE("a claim file becomes a claim") {
  ScratchDirectory scratch;
  const absl::StatusOr<Claim> claim = ReadClaimWith(scratch);
  INFO(claim.status());
  REQUIRE(claim.ok());
  CHECK(claim->title == "deep is better than flat");
  CHECK(claim->seeds == 3);
  CHECK(claim->control_seeds == 3);
  REQUIRE(claim->worlds.size() == 2);
  CHECK(claim->worlds[0].directory == scratch.File("planted-{seed}"));
  CHECK(claim->worlds[1].control);
  REQUIRE(claim->arms.size() == 3);
  CHECK(claim->Arm("deep")->set.size() == 2);
  CHECK(claim->Arm("deep")->job == scratch.File("job.toml"));
  CHECK(claim->Metric("gauc")->rows[1].op == "<=");
  CHECK(claim->Prediction("test")->input == "test.csv");
  CHECK(claim->checks[0].value.text() == "auc(deep) - auc(flat)");
  CHECK(claim->checks[0].margin == 0.01);
  CHECK(claim->checks[1].at_least == 0.6);
  CHECK_FALSE(claim->checks[1].margin.has_value());
}

TEST_CASE("a fast claim has its own numbers, and its own seeds") {
  ScratchDirectory scratch;
  const absl::StatusOr<Claim> full = ReadClaimWith(scratch);
  const absl::StatusOr<Claim> fast = ReadClaimWith(scratch, "", "", true);
  REQUIRE((full.ok() && fast.ok()));
  CHECK(fast->seeds == 1);
  CHECK(fast->control_seeds == 2);
  CHECK(fast->Arm("deep")->set.size() == 1);
  CHECK(fast->checks[0].margin == 0.0);
  CHECK(fast->hash == full->hash);
  std::set<int64_t> seeds;
  for (int i = 0; i < 5; ++i) {
    for (const Claim* claim : {&*full, &*fast}) {
      CHECK(ClaimSeed(*claim, i) >= 0);
      CHECK(ClaimSeed(*claim, i) < (int64_t{1} << 31));
      seeds.insert(ClaimSeed(*claim, i));
    }
  }
  CHECK(seeds.size() == 10);
}

TEST_CASE("seeds follow from the bytes of the claim and of its jobs, and nothing else") {
  ScratchDirectory scratch, other;
  const absl::StatusOr<Claim> first = ReadClaimWith(scratch);
  const absl::StatusOr<Claim> same = ReadClaimWith(other);
  REQUIRE((first.ok() && same.ok()));
  CHECK(first->hash == same->hash);
  const absl::StatusOr<Claim> changed = ReadClaimWith(other, "0.01", "0.02");
  REQUIRE(changed.ok());
  CHECK(changed->hash != first->hash);
  CHECK(ClaimSeed(*changed, 0) != ClaimSeed(*first, 0));
  scratch.Write("job.toml", "[job]\nname = \"larger\"\n");
  const absl::StatusOr<Claim> job = ReadClaim(scratch.File("claim.toml"), false);
  REQUIRE(job.ok());
  CHECK(job->hash != first->hash);
}

TEST_CASE("bad claim files are refused with file, line and key") {
  CHECK(Refusal("seeds = 3", "seeds = 0") ==
        "claim.toml:4: claim.seeds: 0 is out of range: 1 to 100");
  CHECK(Refusal("seeds = 3", "seed = 3") ==
        "claim.toml:4: unknown key 'seed' in [claim]; did you mean 'seeds'?");
  CHECK(Refusal("fast_seeds = 1", "fast_seeds = \"x\"") ==
        "claim.toml:5: claim.seeds: expected integer, found text");
  CHECK(Refusal("[arm.flat]", "[arms.flat]") ==
        "claim.toml:14: unknown section [arms]; a claim has [claim], [world.NAME], "
        "[arm.NAME], [prediction.NAME], [metric.NAME] and [check.NAME]; did you mean arm?");
  CHECK(Refusal("[arm.flat]", "[arm.\"a b\"]") ==
        "claim.toml:14: [arm.a b]: a name has letters, digits and _ alone");
  CHECK(Refusal("over = \"flat\"", "over = \"flap\"") ==
        "claim.toml:37: there is no arm \"flap\"; did you mean \"flat\"?");
  CHECK(Refusal("value = \"auc(deep)\"", "value = \"auc(deep\"") ==
        "claim.toml:49: check.deep_is_good.value: \"auc(deep\": expected \")\" at column 9, found "
        "the end");
  CHECK(Refusal("value = \"auc(deep)\"", "value = \"1\"") ==
        "claim.toml:49: [check.deep_is_good] measures nothing");
  CHECK(Refusal("at_least = 0.6\n", "") ==
        "claim.toml:49: [check.deep_is_good] needs margin, at_least, at_most, band or gap_closure");
  CHECK(Refusal("gap_closure = 0.2\n", "") ==
        "claim.toml:37: [check.deep_wins] needs gap and gap_closure together");
  CHECK(Refusal("rows = [\"slice == cold\"", "rows = [\"slice=cold\"") ==
        "claim.toml:30: metric.gauc.rows: \"slice=cold\": expected COLUMN OPERATOR VALUE, the "
        "operator one of == != < <= > >=");
  CHECK(Refusal("kind = \"auc\"", "kind = \"mean\"") ==
        "claim.toml:26: [metric.auc], kind mean, has no use for target");
  CHECK(Refusal("user = \"user\"\n", "") ==
        "claim.toml:30: [metric.gauc], kind gauc, needs the key user");
  CHECK(Refusal("job = \"job.toml\"\n", "job = \"gone.toml\"\n") ==
        "claim.toml:14: arm.flat.job: cannot open gone.toml: No such file or directory");
  CHECK(Refusal("column = \"q\"", "title = \"x\"") ==
        "claim.toml:23: [arm.oracle] needs either job or column");
  CHECK(Refusal("[claim]", "x = 1\n[claim]") ==
        "claim.toml:1: key 'x' stands before the first [section]");
  CHECK(Refusal("null_world = \"null\"", "null_world = \"nil\"") ==
        "claim.toml:37: there is no world \"nil\"");
}

TEST_CASE("arms may start from others, in no circle") {
  ScratchDirectory scratch;
  const absl::StatusOr<Claim> chain =
      ReadClaimWith(scratch, "set = [\"model.name=lr\"]",
                    "set = [\"a.b={cut:deep}/x\", \"a.c={last_cut:deep}\"]");
  INFO(chain.status());
  REQUIRE(chain.ok());
  CHECK(chain->CutsOf(*chain->Arm("flat")) == std::vector<std::string>{"deep"});
  CHECK(Refusal("model.name=lr", "a.b={cut:flat}") ==
        "claim.toml:14: arm \"flat\" starts, by way of others, from itself");
  CHECK(Refusal("model.name=lr", "a.b={cut:oracle}") ==
        "claim.toml:14: arm \"oracle\" is not trained: it has no cut");
  CHECK(Refusal("model.name=lr", "a.b={cut:dep}") ==
        "claim.toml:14: there is no arm \"dep\"; did you mean \"deep\"?");
}

TEST_CASE("claims are found by name, and listed") {
  ScratchDirectory scratch;
  std::filesystem::create_directories(scratch.File("usd"));
  std::filesystem::create_directories(scratch.File("lr"));
  scratch.Write("usd/claim.toml", "");
  CHECK(ListClaims(scratch.path()) == std::vector<std::string>{"usd"});
  CHECK(ListClaims(scratch.File("nothing")).empty());
  CHECK(ClaimPath("algorithms", "usd") == "algorithms/usd/claim.toml");
  CHECK(ClaimPath("algorithms", "some/own.toml") == "some/own.toml");
}

TEST_CASE("every claim of the tree can be read, full and fast") {
  const std::string directory = PAGODA_SOURCE_DIR "/algorithms";
  const std::vector<std::string> names = ListClaims(directory);
  CHECK(names.size() >= 5);
  for (const std::string& name : names) {
    for (const bool fast : {false, true}) {
      const absl::StatusOr<Claim> claim = ReadClaim(ClaimPath(directory, name), fast);
      INFO(name << ": " << claim.status());
      REQUIRE(claim.ok());
      CHECK(claim->name == name);
      // Five seeds, or two; and a world in which nothing may be found.
      CHECK(claim->seeds == (fast ? 2 : 5));
      CHECK(std::any_of(claim->worlds.begin(), claim->worlds.end(),
                        [](const ClaimWorld& world) { return world.control; }));
      CHECK(std::any_of(claim->checks.begin(), claim->checks.end(),
                        [](const ClaimCheck& check) { return check.margin.has_value(); }));
    }
  }
}
