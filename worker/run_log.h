// What a run tells the world: the observer's callbacks and, on worker 0, TensorBoard.
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/ids.h"
#include "worker/event_writer.h"
#include "worker/stopwatch.h"
#include "worker/trainer.h"

namespace pagoda {

// One applied step.
struct StepRecord {
  Step step = 0;
  double loss = 0.0;
  double grad_norm = 0.0;
  double learning_rate_factor = 1.0;
  int64_t samples = 0;    // Of all workers.
  double progress = 0.0;  // Of the run, in [0, 1].
};

class RunLog {
 public:
  // With `write_events`, TensorBoard files go to <output_dir>/tensorboard.
  //   the file system's errors
  static absl::StatusOr<std::unique_ptr<RunLog>> Create(const std::string& output_dir,
                                                        bool write_events, int64_t every_steps,
                                                        TrainObserver observer);

  absl::Status OnStep(const StepRecord& record);
  absl::Status OnEvaluation(Step step, const EvaluationResult& result);
  void OnCut(Step step, const std::string& directory);
  void OnLine(const std::string& line);

 private:
  RunLog(int64_t every_steps, TrainObserver observer)
      : every_steps_(every_steps), observer_(std::move(observer)) {}

  const int64_t every_steps_;
  const TrainObserver observer_;
  std::unique_ptr<EventWriter> events_;  // Null on workers other than 0.
  Stopwatch interval_;
  int64_t interval_samples_ = 0;
};

}  // namespace pagoda
