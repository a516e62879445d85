// Dense optimizers over a ParameterSet, global-norm clipping, and learning-rate
// schedules. State is flat tensors, saved and restored as bytes.
//
// Threads: one thread at a time.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithms/nn/parameters.h"
#include "kernels/dense_optimizer.h"

namespace pagoda {

struct ScheduleOptions {
  std::string kind = "constant";  // constant | cosine | plateau
  int64_t warmup_steps = 0;       // Linear from 0 to the base rate; any kind.
  int64_t total_steps = 0;        // cosine: where it reaches min_factor.
  double min_factor = 0.0;        // Of the base rate.
  double plateau_factor = 0.5;    // plateau: multiply by this ...
  int64_t plateau_patience = 2;   // ... after so many evaluations without gain.
};

// The factor on the base learning rate, as a function of step and of evaluation
// results reported so far:
//    warm-up * curve,  warm-up = min(1, step / warmup_steps)
//    constant  1
//    cosine    min + (1 - min) (1 + cos(pi p)) / 2,
//              p = (step - warmup_steps) / (total_steps - warmup_steps) in [0, 1]
//    plateau   plateau_factor ^ (reductions so far), at least min
class Schedule {
 public:
  //   INVALID_ARGUMENT  unknown kind (names the nearest), or a value out of range
  static absl::StatusOr<Schedule> Create(const ScheduleOptions& options);
  // `step` counts from 1.
  double Factor(Step step) const;
  // Reports an evaluation; `metric` is better when larger.
  void Report(double metric);
  // State for a checkpoint (plateau only).
  std::vector<double> Save() const;
  //   INVALID_ARGUMENT  not what Save returns
  absl::Status Load(const std::vector<double>& state);

 private:
  ScheduleOptions options_;
  double factor_ = 1.0;
  double best_ = -1e300;
  int64_t since_best_ = 0;
};

// What a parameter group ([group.NAME]) changes for the tables and dense parameters that
// its patterns name (name_pattern.h). Where groups overlap, the later one counts.
struct ParameterGroup {
  std::string name;
  std::vector<std::string> match;
  double learning_rate = 1.0;  // Factor on the rate of [dense], [sparse] or [table.NAME].
  bool weight_decay = true;    // false: no decay and no l2.
  std::string optimizer = "";  // Of the dense parameters and rows; empty: theirs.
};

struct DenseOptimizerOptions {
  DenseStepArgs args;      // kind, learning_rate, momentum, ... as given in the job
  double clip_norm = 0.0;  // > 0: scale the global gradient norm down to this.
  // Factor on the learning rate of a parameter group; absent: 1.
  std::map<std::string, double> group_rates;
  std::vector<ParameterGroup> groups;
};

class DenseOptimizer {
 public:
  //   INVALID_ARGUMENT  a rate, clip_norm, momentum, beta, epsilon or decay that is
  //                     not finite or out of range (named); a group's optimizer is unknown
  static absl::StatusOr<std::unique_ptr<DenseOptimizer>> Create(
      Context& ctx, const ParameterSet& parameters, const DenseOptimizerOptions& options);
  // "sgd" | "adagrad" | "adam" | "adamw"; INVALID_ARGUMENT names the nearest.
  static absl::StatusOr<DenseOptimizerKind> ParseKind(const std::string& name);

  // Applies parameters.gradients() with rate learning_rate * lr_factor. Counts
  // its own steps (Adam's bias correction). Returns the gradient's norm before
  // clipping. Frozen parameters keep their bits; weight decay passes by those
  // that opted out (DenseDecl::weight_decay).
  //   OUT_OF_RANGE  the gradient or its norm is not finite; nothing was changed;
  //                 names the first parameter that is not
  absl::StatusOr<double> Step(Context& ctx, ParameterSet& parameters, double lr_factor);

  // Flat slot tensors ([num_trainable] each; as many as the kinds in use have) and the
  // step count, for checkpoints.
  std::vector<Tensor> slots() const;
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }

 private:
  // Settings of one parameter, from the options and its groups.
  struct Settings {
    DenseOptimizerKind kind = DenseOptimizerKind::kSgd;
    double learning_rate = 0.0;
    float weight_decay = 0.0f;
  };
  absl::Status ResolveSettings(const ParameterSet& parameters);

  DenseOptimizerOptions options_;
  std::vector<Settings> settings_;  // By parameter.
  int64_t steps_ = 0;
  Tensor slot1_, slot2_;
  Tensor norm_;  // [2]
};

}  // namespace pagoda
