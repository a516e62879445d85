// A model under test: a small world with every kind of feature, one step of the
// model in it, and an oracle that computes the same in double from the formulas.
//
// The oracle is a function of named values (rows and dense parameters), so its
// central differences check every gradient that a step hands out.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "algorithms/nn/step.h"
#include "tests/kernels/operator_harness.h"

namespace pagoda {

// Features: user (one id), friends (0 to 3 ids, sqrtn, rows of table "user"),
// item (one id), genres (0 to 3 ids, mean), and with `numeric` age and hours
// between them.
FeatureSchema SmallSchema(bool numeric);
// A history of ids: rows of `table`, the last `last` of them as a sequence.
FeatureSpec HistoryFeature(const std::string& name, const std::string& table, int64_t last);
// Random ids of a dozen per feature (or of num_buckets, when set), numbers, 0/1 labels and
// targets, and weights in (0, 2). A history has 0 to `last` events, as many in every feature of the
// same `last`: those are columns of one list of events.
Batch SmallBatch(const FeatureSchema& schema, int64_t size, uint64_t seed);
// Samples [begin, end) of a batch.
Batch SubBatch(const Batch& batch, const FeatureSchema& schema, int64_t begin, int64_t end);

using Options = std::map<std::string, OptionValue>;

// What one step hands out.
struct StepResult {
  std::vector<LossValue> losses;
  std::vector<float> predictions;
  std::map<std::string, std::vector<float>> outputs;  // Further ones, by name.
  ModelStep::Embeddings embeddings;
  std::vector<std::vector<float>> row_gradients;  // Per table.
  std::vector<float> dense_gradients;             // Flat, trainable prefix.
  std::vector<float> dense_values;                // After the step (state included).
  // sum over losses of weight * sum / count: what Backward differentiates.
  double TotalLoss() const;
};

struct StepSettings {
  bool training = true;
  std::vector<double> global_counts = {};  // Empty: the losses' own.
  std::vector<bool> frozen_tables = {};
  std::vector<std::string> frozen_groups = {};
  RandomKey random{99};
  // The batch is copied to the device ahead, with some rows as they were before, and row
  // gradients leave by a queue of their own.
  bool copied_ahead = false;
};

class ModelHarness {
 public:
  // Declares the model; REQUIREs that it accepts options and schema.
  ModelHarness(const ModelInfo& info, const Options& options, const FeatureSchema& schema);
  ModelHarness(const std::string& model, const Options& options, const FeatureSchema& schema);

  const Declaration& declaration() const { return declaration_; }
  const FeatureSchema& schema() const { return schema_; }
  const Model& model() const { return *model_; }

  // From now on all values of a dense parameter are `value`; REQUIREs that there is one.
  void FillParameter(const std::string& name, float value);
  // From now on dense parameters are as declared (seed 5) where FillParameter says nothing.
  void UseInitialParameters() { initial_parameters_ = true; }

  PreparedBatch Prepare(const Batch& batch) const;
  // Random but fixed weights of a row: a function of table and id.
  std::vector<float> Row(int table, FeatureId id) const;
  // {pushes taken, step of the last}: every fourth row is not there, {0, 0}.
  static std::array<uint32_t, 2> Statistics(int table, FeatureId id);
  // The steps applied when rows were pulled; no row's last push is later.
  static constexpr Step kApplied = 1000;
  // Random but fixed values of all dense parameters (state: as initialised).
  std::unique_ptr<ParameterSet> Parameters(TestDevice& device) const;
  // One step; errors fail the test.
  StepResult Run(TestDevice& device, const Batch& batch, const StepSettings& settings = {}) const;
  // The same, errors returned.
  absl::StatusOr<StepResult> TryRun(TestDevice& device, const Batch& batch,
                                    const StepSettings& settings) const;

 private:
  // What of the batch was copied ahead; every third row is refreshed after that.
  absl::StatusOr<std::unique_ptr<StepUpload>> CopyAhead(TestDevice& device, CopyQueue& queue,
                                                        const StepInput& input) const;

  FeatureSchema schema_;
  std::unique_ptr<Model> model_;
  Declaration declaration_;
  bool initial_parameters_ = false;
  std::map<std::string, float> filled_;
};

// Everything in double. Row keys are "table/id", parameter keys their names.
class Oracle {
 public:
  Oracle(const ModelHarness& harness, TestDevice& device, const Batch& batch);

  using Vector = std::vector<double>;
  std::map<std::string, Vector> values;

  const Batch& batch() const { return batch_; }
  const FeatureSchema& schema() const { return schema_; }
  size_t num_sparse() const { return batch_.sparse.size(); }
  const Vector& Get(const std::string& name) const;
  // Numeric columns of a sample.
  Vector Dense(size_t sample) const;
  // Pooled rows of a feature (position among the sparse ones).
  Vector Pooled(size_t sample, size_t feature, const std::string& suffix = "") const;
  // A target by its name.
  double Target(size_t sample, const std::string& name) const;
  // The rows of a history, one an event, first event first. By the feature's name.
  std::vector<Vector> Events(size_t sample, const std::string& feature) const;
  // A history's ids.
  std::vector<FeatureId> EventIds(size_t sample, const std::string& feature) const;
  // The pooled rows of a feature by its name.
  Vector Row(size_t sample, const std::string& feature) const;
  // Numeric columns, then every feature's pooled columns [first_column, ...).
  Vector FlatInputs(size_t sample, size_t first_column = 0) const;
  // NAME.weight [out, in] * x + NAME.bias (when there is one).
  Vector Linear(const std::string& name, const Vector& x) const;
  // tanh(Linear) of layers NAME.0, NAME.1, ...
  Vector Mlp(const std::string& name, size_t num_layers, Vector x) const;
  // The linear term of LR, FM, DeepFM, Wide & Deep without the rows' part.
  double LinearTerm(const std::string& name, size_t sample) const;

 private:
  const Batch batch_;
  const FeatureSchema schema_;
  std::map<std::string, size_t> dims_;  // Of tables.
};

Oracle::Vector Join(const Oracle::Vector& a, const Oracle::Vector& b);
double Dot(const Oracle::Vector& a, const Oracle::Vector& b);
// a + scale * b.
Oracle::Vector AddScaled(const Oracle::Vector& a, const Oracle::Vector& b, double scale = 1.0);
// Softmax over the keys of q . k / sqrt(width of a head), for each head on its share of the
// columns, times the values: q's width of zeros without keys. `weights` gets [heads][keys] when
// given.
Oracle::Vector Attend(const Oracle::Vector& q, const std::vector<Oracle::Vector>& keys,
                      const std::vector<Oracle::Vector>& values, size_t heads,
                      std::vector<Oracle::Vector>* weights = nullptr);
// nn::MultiHeadAttention NAME of one query.
Oracle::Vector MultiHead(const Oracle& oracle, const std::string& name, const Oracle::Vector& query,
                         const std::vector<Oracle::Vector>& events, size_t heads,
                         std::vector<Oracle::Vector>* weights = nullptr);
double LogLossOf(double logit, double label);
// weight * logistic loss, summed, over the sum of weights.
double MeanLogLoss(const Oracle& oracle, const std::function<double(size_t)>& logit);

// Compares one step with the oracle: the total loss, and every gradient with the
// central difference of `loss`.
void CheckAgainstOracle(const ModelHarness& harness, const Batch& batch,
                        const std::function<double(const Oracle&)>& loss);
// For models with logits: predictions too; batches of 0, 1 and 5 samples; with
// and without numeric features. `l2` is the value of
// that option, whose penalty the check adds itself.
using LogitOracle = std::function<double(const Oracle&, size_t sample)>;
void CheckLogitModel(const std::string& model, const Options& options, const LogitOracle& logit,
                     double l2 = 0.0);

}  // namespace pagoda
