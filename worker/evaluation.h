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
};

// Receives every batch of the data in order; `scores` [batch.size] is empty for
// batches that other workers score. Rows that the data options skip are not in it.
using ScoreSink = std::function<absl::Status(const Batch& batch, std::span<const float> scores)>;

// A retrieval model's score of a row is the dot product of its user's and its item's
// embedding.
//   OUT_OF_RANGE         a score is not finite (names file and line)
//   the reader's, the model's and the client's errors, and the sink's
absl::Status ScoreData(const EvaluationContext& context, const ScoreOptions& options,
                       const ScoreSink& sink);

// All rows of a data set, in input order, on every worker.
struct ScoredRows {
  std::vector<float> scores, labels;
  std::vector<float> weights;    // Empty when the schema has no weight column.
  std::vector<uint64_t> groups;  // Empty when the schema has no group column.
};
absl::StatusOr<ScoredRows> ScoreAll(const EvaluationContext& context, const ScoreOptions& options);

// The metrics of worker/metrics.h over all rows.
EvaluationResult Measure(const ScoredRows& rows);

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
