// A claim file: what must be so if a system does what its paper says. docs/claims.md
// explains every key; here is what they become.
//
//   [claim]            title, how many seeds
//   [world.NAME]       arguments of `pagoda synth`, or a directory that is there
//   [arm.NAME]         a job file and overrides, or a column of the test file (an oracle)
//   [prediction.NAME]  which file is scored with which cut
//   [metric.NAME]      a number per arm, world and seed
//   [check.NAME]       what must hold of an expression over those numbers
//
// Threads: plain data; the functions are pure but for reading files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "deploy/claim_expression.h"

namespace pagoda {

struct ClaimWorld {
  std::string name;
  std::string where;                  // "claim.toml:12", as in all of these
  std::string generator;              // World of `pagoda synth`; or:
  std::string directory;              // Holds the files already; "{seed}" in it is the seed.
  std::vector<std::string> options;   // More arguments of `pagoda synth`.
  bool control = false;               // Takes the claim's control_seeds.
  std::vector<std::string> reported;  // Arms that run here though no check needs them.
};

struct ClaimArm {
  std::string name, where, title;
  std::string job;               // Path; or:
  std::string column;            // Of the truth: the score itself, no training.
  std::vector<std::string> set;  // SECTION.KEY=VALUE; may hold {world}, {claim}, {seed}, {cut:ARM}.
  bool scored = true;            // false: only other arms use its cut.
};

// Scores of a file of the world, and its columns of truth.
struct ClaimPrediction {
  std::string name, where;
  std::string input = "test.csv";
  std::string cut = "best";  // "best" | "last"
  bool labels = false;
  std::vector<std::string> set;
};

// One row condition: COLUMN OP VALUE.
struct ClaimFilter {
  std::string column;
  std::string op;  // == != < <= > >=
  std::string value;
};

struct ClaimMetric {
  std::string name, where;
  std::string kind;
  // auc gauc log_loss calibration mean effective_size:
  std::string prediction = "test";
  std::string score = "score";  // Column of the predictions, else of the world's file.
  std::string target;           // Column of the world's file: labels or probabilities.
  std::string user;             // gauc: column of the users
  std::string user_weight = "one";
  std::vector<ClaimFilter> rows;
  // best_valid last_valid best_step best_evaluation steps_to:
  std::string curve = "AUC";  // Number of the training's evaluation lines.
  bool smaller_is_better = false;
  std::optional<double> level;           // steps_to: this value, or
  std::optional<MeasuredName> level_of;  // that of another metric and arm.
  std::vector<std::string> arms;         // Empty: all.

  bool OfTraining() const;  // Measured from the training log or the cut, not from scores.
  bool AppliesTo(const ClaimArm& arm) const;
};

struct ClaimCheck {
  std::string name, where, title, world;
  ClaimExpression value;
  std::string arm, over, metric;  // For the table; empty where `value` is an expression.
  std::optional<double> margin, at_least, at_most, band;
  double positive_share = 0.8;  // With a margin: share of the seeds with a value above 0.
  bool skip = false;            // Dropped when the file is read.
  bool every_seed = false;      // at_least, at_most: for each seed instead of for the mean.
  std::optional<double> gap_closure;
  std::optional<ClaimExpression> gap;  // Oracle minus baseline.
  std::string null_world;
  double null_band = 0.005;
};

struct Claim {
  std::string name, path, title, source;
  int64_t seeds = 5, control_seeds = 3;
  bool fast = false;
  uint64_t hash = 0;  // XXH3 of the claim file and, after it, of its job files; seeds come of it.
  std::vector<ClaimWorld> worlds;
  std::vector<ClaimArm> arms;
  std::vector<ClaimPrediction> predictions;  // "test" is always among them.
  std::vector<ClaimMetric> metrics;
  std::vector<ClaimCheck> checks;

  const ClaimWorld* World(const std::string& wanted) const;
  const ClaimArm* Arm(const std::string& wanted) const;
  const ClaimMetric* Metric(const std::string& wanted) const;
  const ClaimPrediction* Prediction(const std::string& wanted) const;

  // Arms whose cuts `arm` starts from: those in {cut:ARM} and {last_cut:ARM} of its
  // overrides, each once.
  std::vector<std::string> CutsOf(const ClaimArm& arm) const;
};

// Reads and checks a claim file; with `fast`, as its fast_ keys say.
//   NOT_FOUND         the claim file or one of its job files cannot be read
//   INVALID_ARGUMENT  "claim.toml:12: ...": not TOML, an unknown section, key or name,
//                     a value out of range, a check without a bound, arms that start from
//                     each other
absl::StatusOr<Claim> ReadClaim(const std::string& path, bool fast);

// The seed of run `index`: 31 bits of XXH3 of the claim's hash, the kind of run, and the
// index.
int64_t ClaimSeed(const Claim& claim, int index);

// A claim file that `name` means: itself when it ends in .toml, else
// DIRECTORY/NAME/claim.toml.
std::string ClaimPath(const std::string& directory, const std::string& name);

// Names with a claim.toml under `directory`, sorted.
std::vector<std::string> ListClaims(const std::string& directory);

}  // namespace pagoda
