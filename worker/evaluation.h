// Scores a data set with a model and measures the scores. Read-only: no row, count
// or parameter changes (DESIGN ruling 15).
//
// The data is cut into batches of `batch_size` rows in file order; batch i is scored
// by worker i % N. So a row's score has the same bits for any number of workers,
// during training, in `pagoda evaluate` and in `pagoda predict`, as long as the
// batch size is the same; a cut records it.
//
// With several workers every function here is collective. Threads: one at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "algorithms/nn/step.h"
#include "worker/allreduce.h"
#include "worker/model_instance.h"
#include "worker/parameter_client.h"
#include "worker/trainer.h"

namespace pagoda {

// What is evaluated, with whom. All must outlive the call.
struct EvaluationContext {
  ModelInstance* model = nullptr;
  ParameterClient* client = nullptr;  // Open, for training or for reading.
  AllReduce* allreduce = nullptr;
  absl::Duration wait_max = absl::Minutes(2);
};

struct ScoreOptions {
  DataOptions data;      // Its shuffle is ignored: rows come in file order.
  FeatureSchema schema;  // The model's; the label's meaning may differ between sets.
  int64_t batch_size = 4096;
  bool needs_labels = true;
  // The model sees the targets: what it says of a logged sample beside its score, such as the
  // weight of its loss, may depend on them. A score must not.
  bool shows_targets = false;
};

// What a model made of a batch.
struct BatchScores {
  std::vector<float> scores;  // [batch.size]
  std::vector<ModelStep::Output> outputs;
};

// Receives every batch of the data in order; `made` is null for batches that other
// workers score. Rows that the data options skip are not in it.
using ScoreSink = std::function<absl::Status(const Batch& batch, const BatchScores* made)>;

// A retrieval model's score of a row is the dot product of its user's and its item's
// embedding.
//   OUT_OF_RANGE         a score is not finite (names file and line)
//   the reader's, the model's and the client's errors, and the sink's
absl::Status ScoreData(const EvaluationContext& context, const ScoreOptions& options,
                       const ScoreSink& sink);

// An output to be scored against a target; see EvaluationOptions::pairs.
struct MetricPair {
  std::string name;    // "cvr:bought"
  std::string output;  // Empty: the score.
  int target = -1;     // Position in FeatureSchema::targets; -1: the label.
};
//   INVALID_ARGUMENT  not of the form OUTPUT:TARGET, or no such target (names the nearest)
absl::StatusOr<std::vector<MetricPair>> ParsePairs(const std::vector<std::string>& pairs,
                                                   const FeatureSchema& schema);

// All rows of a data set, in input order, on every worker.
struct ScoredRows {
  std::vector<float> scores, labels;
  std::vector<float> weights;               // Empty when the schema has no weight column.
  std::vector<uint64_t> groups;             // Empty when the schema has no group column.
  std::vector<std::vector<float>> outputs;  // Per pair: the output's values.
  std::vector<std::vector<float>> targets;  // Per target of the schema.
  // Per slice of the schema: the number of each row's value in slice_values.
  std::vector<std::vector<int32_t>> slices;
  std::vector<std::vector<std::string>> slice_values;  // In the order of their first row.
};
//   INVALID_ARGUMENT    the model has no output that a pair names (names those it has)
//   RESOURCE_EXHAUSTED  a slice has more than 1,000 values
absl::StatusOr<ScoredRows> ScoreAll(const EvaluationContext& context, const ScoreOptions& options,
                                    const std::vector<MetricPair>& pairs = {});

// The metrics of worker/metrics.h over all rows; then AUC and log-loss of each pair, and
// of the score by each value of each slice of `schema`.
EvaluationResult Measure(const ScoredRows& rows, const FeatureSchema& schema = {},
                         const std::vector<MetricPair>& pairs = {});

// Evaluates one set again and again: Measure of ScoreAll, or by full ranking for a
// retrieval model (worker/retrieval_evaluation.h), whose queries are read once.
class RetrievalEvaluation;
class Evaluator {
 public:
  // `schema` gives the label's meaning in this set.
  Evaluator(const EvaluationContext& context, const EvaluationOptions& options,
            const FeatureSchema& schema);
  ~Evaluator();

  //   INVALID_ARGUMENT  a retrieval model without a corpus of items
  //   ScoreData's errors;  ABORTED when only another worker failed
  absl::StatusOr<EvaluationResult> Evaluate();

 private:
  const EvaluationContext context_;
  const EvaluationOptions options_;
  const FeatureSchema schema_;
  std::unique_ptr<RetrievalEvaluation> retrieval_;
};

}  // namespace pagoda
