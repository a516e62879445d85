// What a claim runs: worlds times seeds, and in each the arms that its checks need; and
// the names under which results are kept.
//
// A run's key hashes everything that its result depends on: the executable, the world's
// arguments and seed, the job file, the overrides, the predictions, and the keys of the
// runs it starts from. So a result is used again exactly when the same would come out,
// and runs of different claims, seeds or builds never meet.
//
//   <output>/worlds/WORLD-SEED-KEY/   what `pagoda synth` wrote, and "done"
//   <output>/runs/ARM-WORLD-SEED-KEY/ train.log, NAME.csv and NAME.log of each prediction,
//                                     "done"; model/ while something starts from its cut
//
// Threads: pure but for reading files.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "deploy/claim_file.h"

namespace pagoda {

struct ClaimRunOptions {
  std::string executable;  // `pagoda`
  std::string output_dir;
  std::vector<int64_t> seeds, control_seeds;
  int parallel = 1;  // Processes at a time.
};

struct PlannedWorld {
  const ClaimWorld* world = nullptr;
  int seed_index = 0;
  int64_t seed = 0;
  std::string key;        // 16 hexadecimal digits
  std::string directory;  // Of its files.
};

struct PlannedRun {
  int world = 0;  // Index into ClaimPlan::worlds.
  const ClaimArm* arm = nullptr;
  std::vector<const ClaimMetric*> metrics;          // To be measured.
  std::vector<const ClaimPrediction*> predictions;  // That they need, each once.
  std::vector<int> starts_from;                     // Indices into ClaimPlan::runs, all smaller.
  std::string key;
  std::string directory;  // Empty for an arm that is a column.

  std::string TrainLog() const { return directory + "/train.log"; }
  std::string ModelDirectory() const { return directory + "/model"; }
  std::string Scores(const ClaimPrediction& prediction) const {
    return directory + "/" + prediction.name + ".csv";
  }
};

struct ClaimPlan {
  std::vector<PlannedWorld> worlds;
  std::vector<PlannedRun> runs;  // Those of one world and seed together.
};

// The plan; pointers in it are into `claim`.
//   NOT_FOUND  the executable or a job file cannot be read
absl::StatusOr<ClaimPlan> PlanClaim(const Claim& claim, const ClaimRunOptions& options);

// The arguments of `pagoda synth` for a world, the executable first.
std::vector<std::string> SynthWords(const ClaimRunOptions& options, const PlannedWorld& world);

// Cuts of finished runs: by arm.
struct ArmCuts {
  std::string best, last;
};

// The arguments of `pagoda train` for a run. Before the arm's own overrides come the
// output, the seed, the files of the world (data.files, data.valid.files,
// data.test.files, those that are there), one thread, and rows that need not survive a
// crash.
std::vector<std::string> TrainWords(const Claim& claim, const ClaimRunOptions& options,
                                    const PlannedWorld& world, const PlannedRun& run,
                                    const std::map<std::string, ArmCuts>& cuts);

// The arguments of `pagoda predict`.
std::vector<std::string> PredictWords(const Claim& claim, const ClaimRunOptions& options,
                                      const PlannedWorld& world, const PlannedRun& run,
                                      const ClaimPrediction& prediction, const ArmCuts& cuts);

}  // namespace pagoda
