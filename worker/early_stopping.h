// Remembers the best evaluation and how many have come since, and says when to stop.
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/ids.h"
#include "proto/job_cut.pb.h"
#include "worker/trainer.h"

namespace pagoda {

class EarlyStopping {
 public:
  // `metric`: EvaluationOptions::metric. `patience` 0: never stops.
  //   INVALID_ARGUMENT  unknown metric (names the nearest), or a negative patience
  static absl::StatusOr<EarlyStopping> Create(const std::string& metric, int64_t patience);

  // The metric as a number that is better when larger: -log_loss, else itself.
  double Value(const EvaluationResult& result) const;

  // Returns true when `result` is the best so far. A metric that is not defined
  // (NaN: one class, no group, not measured) is never the best and counts as no gain.
  bool Report(Step step, const EvaluationResult& result);
  // Names the cut that holds the best.
  void SetBestCut(const std::string& name) { state_.set_best_cut(name); }

  bool exhausted() const;
  bool enabled() const { return patience_ > 0; }
  bool has_best() const { return state_.has_best(); }
  Step best_step() const { return state_.best_step(); }
  const std::string& best_cut() const { return state_.best_cut(); }
  EvaluationResult best() const;

  const proto::JobCut::EarlyStopping& Save() const { return state_; }
  // Continues from a cut's state; one of another metric is forgotten.
  void Load(const proto::JobCut::EarlyStopping& state);

 private:
  EarlyStopping(const std::string& metric, bool is_further, int64_t patience);

  std::string metric_;
  bool is_further_;  // One of EvaluationResult::more.
  int64_t patience_;
  proto::JobCut::EarlyStopping state_;
};

}  // namespace pagoda
