// Exact tables: rows that read as if a dense optimizer had taken every step on every row,
// though only touched rows are written (DESIGN ruling 8).
//
// An exact table counts its own steps 1, 2, 3, ...: one for each push that lists it, also
// without ids. A row stores the step of its last push (RowHeader.last_step; 0: never
// pushed, so it starts at the table's beginning, with its seeded initial value) and its
// weights and slots as they were then. What it missed since is made up for when it is
// pushed to and in every answer (Pull, Get, Scan), never stored by a read:
//
//   weight decay, and coupled L2 of sgd   product of (1 - lr (weight_decay + l2))
//   momentum, with coupled L2             a 2 x 2 map (missed_momentum.h)
//   adam, adamw, rowwise_adam             sums over the missed steps (missed_adam.h); Adam's
//                                         step count is the table's, not the row's own
//   adagrad_decay                         periods of decay missed (base/row_update.h)
//   ftrl, group_ftrl                      z and n do not change; the weights follow the
//                                         last learning rate above 0
//   adagrad, rowwise_adagrad              nothing else
//
// Learning rates of all steps are kept: they are part of what a flush writes, and those
// since then are in the log's records. Coefficients are computed in double and applied in
// f32, so a row differs from the dense optimizer's by rounding.
//
// Threads: Advance and Load exclude all others; the rest may run at the same time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/ids.h"
#include "base/row_update.h"
#include "embedding_store/missed_adam.h"
#include "embedding_store/missed_momentum.h"
#include "embedding_store/table_options.h"

namespace pagoda {

// What `exact` refuses: coupled L2 with other optimizers than sgd and momentum; betas
// whose momentum would have to be followed for more than 65,536 steps or 256 stretches,
// or with beta1^2 >= beta2.   INVALID_ARGUMENT  names table, member and range
absl::Status CheckExactOptions(const TableOptions& options);

class RowCatchUp {
 public:
  //   REQUIRES: CheckTableOptions(options) is OK, and options.optimizer.exact.
  explicit RowCatchUp(const TableOptions& options);

  // Steps that the table has taken.
  Step step() const { return step_; }

  // Whether a step at this rate (schedule's factor included) can be made up for.
  //   FAILED_PRECONDITION  a row would lose all of its weight in one step, or (adam
  //                        kinds) weights would decay faster than momentum
  absl::Status CheckRate(float learning_rate) const;

  // Takes a step. `sequence`: of the push.
  void Advance(float learning_rate, uint64_t sequence);

  // The weights [dim] of a row (weights, slots) as of `last_step`, brought up to now.
  void ReadWeights(const float* row, Step last_step, float* weights) const;
  // The whole row, in place.
  void BringUp(float* row, Step last_step) const;

  // Appends the learning rates of the steps taken by pushes up to `sequence`: number of
  // runs u64, then for each its length u32 and its rate f32.
  void AppendRates(uint64_t sequence, std::string* bytes) const;
  // Takes from `bytes` what AppendRates wrote, and takes those steps.
  //   DATA_LOSS  it cannot be read
  //   REQUIRES: step() == 0.
  absl::Status Load(absl::string_view* bytes);

 private:
  struct Run {
    uint32_t count = 0;
    float rate = 0.0f;
  };

  double DecaySince(Step last_step) const;  // P(last_step, now).

  const SparseOptimizerOptions options_;
  const int64_t dim_;
  Step step_ = 0;
  uint64_t last_sequence_ = 0;
  std::vector<Run> rates_;

  // With a product of (1 - lr * decay_) only: the sum of its logarithms, by step.
  const double decay_;
  const bool needs_rates_;  // Else 0 stands for every rate in rates_.
  std::vector<double> log_decay_;
  std::unique_ptr<MissedMomentum> momentum_;
  std::unique_ptr<MissedAdam> adam_;
  RowUpdateSettings settings_;  // ftrl kinds: at the last rate above 0; periods.
  Step last_rated_step_ = 0;    // ftrl kinds: the last step with a rate above 0.
};

}  // namespace pagoda
