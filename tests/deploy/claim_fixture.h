// A small claim file in a folder of its own, for tests of claims.
#pragma once

#include <string>

#include "deploy/claim_file.h"
#include "tests/deploy/scratch_directory.h"

namespace pagoda {

// Two trained arms, an oracle, a control world, and a check of each sort. `{seed}` in the
// directories of the worlds stands for the seed.
inline const char* const kClaimText = R"toml([claim]
title = "deep is better than flat"
source = "a paper, section 1"
seeds = 3
fast_seeds = 1

[world.planted]
directory = "planted-{seed}"

[world.null]
directory = "null-{seed}"
control = true

[arm.flat]
job = "job.toml"
set = ["model.name=lr"]

[arm.deep]
job = "job.toml"
set = ["model.name=dnn", "train.epochs=2"]
fast_set = ["model.name=dnn"]

[arm.oracle]
column = "q"

[metric.auc]
kind = "auc"
target = "q"

[metric.gauc]
kind = "gauc"
target = "q"
user = "user"
user_weight = "impressions"
rows = ["slice == cold", "q <= 0.9"]

[check.deep_wins]
world = "planted"
metric = "auc"
arm = "deep"
over = "flat"
margin = 0.01
fast_margin = 0.0
gap = "auc(oracle) - auc(flat)"
gap_closure = 0.2
null_world = "null"
null_band = 0.02

[check.deep_is_good]
world = "planted"
value = "auc(deep)"
at_least = 0.6
)toml";

// Writes claim.toml (with `from` replaced by `to`) and its job file, and reads it.
inline absl::StatusOr<Claim> ReadClaimWith(const ScratchDirectory& scratch,
                                           const std::string& from = "", const std::string& to = "",
                                           bool fast = false) {
  std::string text = kClaimText;
  if (!from.empty()) {
    const size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    text.replace(at, from.size(), to);
  }
  scratch.Write("job.toml", "[job]\nname = \"small\"\n");
  return ReadClaim(scratch.Write("claim.toml", text), fast);
}

}  // namespace pagoda
