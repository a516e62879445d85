// The training loop: the sentence of docs/architecture.md, "the path of a batch",
// with every stage one call.
//
// Threads: Run from one thread; RequestStop from any, also from a signal handler.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/allreduce.h"
#include "worker/parameter_client.h"
#include "worker/row_cache.h"
#include "worker/trainer_options.h"

namespace pagoda {

struct NamedMetric {
  std::string name;
  double value = 0;
};

struct EvaluationResult {
  int64_t samples = 0;
  double auc = 0, gauc = 0, log_loss = 0, normalized_entropy = 0, calibration = 0;
  double recall = 0, ndcg = 0, hit_rate = 0;  // Retrieval, at top_k.
  // "auc(cvr:bought)", "log_loss[segment=new]", "recall@20": what [metrics] asks for.
  std::vector<NamedMetric> more;
  bool has_gauc = false;
  bool retrieval = false;
};

// Seconds of the loop's thread, by stage; `read` and `prepare` are of the prefetch
// thread and overlap the rest. What the loop waits for is counted where it waits.
struct StageTimes {
  double read = 0;       // Reader to batch.
  double prepare = 0;    // Unique ids and indices.
  double wait_data = 0;  // The loop waited for the prefetch thread.
  double pull = 0;       // The loop started pulls and waited for rows.
  double forward = 0;
  double backward = 0;   // With the row gradients' copy to the host.
  double push = 0;       // Started pushes, and waited for room in flight.
  double dense = 0;      // Dense optimizer.
  double allreduce = 0;  // Counts, dense gradients, running statistics.
  double evaluate = 0;
  double cut = 0;
};

// What became of a table in a run.
struct TableUse {
  std::string name;
  bool frozen = false;
  int64_t rows = 0;    // Stored at the end, all servers.
  int64_t pushed = 0;  // Gradients of rows that the servers took.
};

struct TrainResult {
  Step steps = 0;       // Of the whole job, steps before a resume included.
  double seconds = 0;   // In the loop, of this run.
  int64_t samples = 0;  // Of this run, all workers.
  StageTimes times;     // Of this worker.
  double last_loss = 0;
  int64_t nonfinite_steps = 0;  // Steps left out.
  int64_t copied_ahead = 0;     // Batches that were on a GPU before their step.
  RowCacheStats row_cache;      // Of this worker; no lookups: there was none.
  EvaluationResult best;        // By the chosen metric.
  Step best_step = 0;
  std::string final_cut;         // Directory; the best cut when early stopping chose one.
  bool interrupted = false;      // RequestStop ended it; final_cut resumes it.
  std::vector<TableUse> tables;  // On worker 0: of each table, when the loop ended.
};

// Shown while training; calls come from the thread of Run.
struct TrainObserver {
  std::function<void(Step step, double loss, double grad_norm, double samples_per_second,
                     double progress)>
      on_log;
  std::function<void(Step step, double loss)> on_step;  // Every step (tests, benchmarks).
  std::function<void(Step step, const EvaluationResult&)> on_evaluation;
  std::function<void(Step step, const std::string& cut)> on_cut;
  // What was taken over from another job and what is frozen, on worker 0; from Create.
  std::function<void(const std::string& line)> on_line;
};

class Trainer {
 public:
  // `client` is not yet open. With `resume_cut` (a job cut's directory) the job
  // rewinds to it; `resume_cut` empty starts afresh.
  //   INVALID_ARGUMENT     options, schema or data disagree
  //   FAILED_PRECONDITION  the cut belongs to another job
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(const TrainerOptions& options,
                                                         ParameterClient* client,
                                                         AllReduce* allreduce,
                                                         TrainObserver observer,
                                                         const std::string& resume_cut);
  virtual ~Trainer() = default;
  virtual absl::StatusOr<TrainResult> Run() = 0;
  // Ends the loop at the next step boundary, with a cut. Async-signal-safe.
  virtual void RequestStop() = 0;
};

}  // namespace pagoda
