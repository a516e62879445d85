// A recommendation model: what it declares, and how one batch flows through it.
// Adding one: docs/adding_a_model.md.
//
// Threads: a model is immutable after Declare; Forward may be called from any
// thread, one tape per call.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "algorithms/nn/batch.h"
#include "algorithms/nn/declaration.h"
#include "algorithms/nn/model_options.h"
#include "algorithms/nn/tape.h"

namespace pagoda {

// What Forward sees of one batch. All Vars live on the step's tape.
class ForwardInput {
 public:
  virtual ~ForwardInput() = default;
  virtual Tape& tape() = 0;
  virtual int64_t batch_size() const = 0;
  virtual bool training() const = 0;

  // Rows of a pooled lookup: [batch, features, dim].
  virtual Var Lookup(LookupHandle lookup) = 0;
  // Columns [begin, end) of each row of a pooled lookup: [batch, features, end -
  // begin]. For rows of several parts; unlike a slice of Lookup it copies nothing.
  virtual Var LookupColumns(LookupHandle lookup, int64_t begin, int64_t end) = 0;
  // Rows of a sequence lookup: values [nnz, dim]; offsets [rows + 1] on the host. Rows are
  // the samples, or those of the feature's join: sample i then reads row sample_row[i]
  // (SelectRows brings what was computed per row to the samples).
  struct Sequence {
    Var values;
    const std::vector<int32_t>* offsets = nullptr;
    const std::vector<int32_t>* sample_row = nullptr;  // [batch]; null: row i is sample i.
    int64_t num_rows() const { return static_cast<int64_t>(offsets->size()) - 1; }
  };
  virtual Sequence LookupSequence(LookupHandle lookup) = 0;
  // Drawn negatives: rows [count, dim] (batch scope) or [batch * count, dim] (sample
  // scope; those of sample i from i * count on), or, where the model chose them, one per place.
  // [0, dim] without samples, and always when not training.
  struct NegativeRows {
    Var rows;
    const std::vector<FeatureId>* ids = nullptr;  // [rows]
    const std::vector<float>* log_q = nullptr;    // [rows] ItemCatalogue::LogQ of ids.
    const ItemCatalogue* catalogue = nullptr;     // For the positives' LogQ; may be null.
    RandomKey key = {};                           // NegativesDecl::key
  };
  virtual NegativeRows Negatives(NegativesHandle negatives) = 0;
  // How many pushes the rows of a lookup have taken, and how many steps ago the last one was
  // (0: in the step before this one), as the servers had them when the rows were pulled. 0
  // and -1: there is no row, and its initial value is read. Laid out and pooled as the rows
  // are: [batch, features], a sequence's or negatives' [nnz]; no gradient. Exact in f32
  // below 2^24. Details: docs/adding_a_model.md.
  //   FAILED_PRECONDITION (on the tape)  the lookup was declared without `statistics`
  virtual Var RowCount(LookupHandle lookup) = 0;
  virtual Var RowAge(LookupHandle lookup) = 0;
  // Dense features [batch, num_dense]; invalid Var when the schema has none.
  virtual Var Dense() = 0;
  virtual Var Parameter(DenseHandle handle) = 0;
  // True when this step may change a state parameter (training, not frozen).
  virtual bool Updates(DenseHandle handle) const = 0;
  virtual Var Labels() = 0;   // [batch], no gradient; invalid without labels
  virtual Var Weights() = 0;  // [batch], no gradient; invalid when all are 1
  // Column `index` of the targets, [batch], no gradient; invalid when the set has none.
  //   REQUIRES: 0 <= index < FeatureSchema::targets.size()
  virtual Var Target(int index) = 0;
  // First-seen-order raw batch on the host (group sizes, log-Q counts, ...).
  virtual const PreparedBatch& host() const = 0;
  // Key of this step's randomness; dropout combines it with the global sample index.
  virtual RandomKey random() const = 0;
};

// A loss is a SUM over samples; the trainer divides by the global `count` (sum of
// weights over all workers), so that two workers with half the batch each give
// the gradient of one worker with all of it.
struct LossTerm {
  std::string name;
  Var sum;              // scalar
  double count = 0.0;   // known on the host
  float weight = 1.0f;  // in the total loss
};

// A further prediction: a column of `pagoda predict`, and what [metrics] may score.
struct NamedOutput {
  std::string name;  // Letters, digits, '_', '.'; unique; not score, label, weight, group.
  Var value;         // [batch]
};

struct ForwardOutput {
  std::vector<LossTerm> losses;      // Empty when not training and no labels.
  Var prediction;                    // [batch], probability or score; invalid for retrieval
  std::vector<NamedOutput> outputs;  // The same names in every batch.
  Var user;                          // retrieval: [batch, dim]
  Var item;                          // retrieval: [batch, dim]
};

class Model {
 public:
  virtual ~Model() = default;

  // Called once, before anything else.
  //   INVALID_ARGUMENT  the schema lacks what the model needs, or an option is
  //                     out of range (names it)
  virtual absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) = 0;

  // Builds one batch's graph on input.tape(). Errors of tape operations are
  // sticky on the tape, so a model need not check each call.
  virtual absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const = 0;

  // True for models evaluated by ranking items (Recall@K) rather than by AUC.
  virtual bool retrieval() const { return false; }

  // True for models that take rows with label 2: rows without a label, which train other parts
  // of the model. The reader refuses such a label for the others; metrics leave the rows out.
  virtual bool rows_without_label() const { return false; }
};

// A name in the job file's [model] section, with the options it understands.
struct ModelInfo {
  std::string name;     // "deepfm"
  std::string summary;  // One line for `pagoda config explain`.
  std::vector<OptionSpec> options;
  std::function<std::unique_ptr<Model>(const ModelOptions&)> create;
};

// Every model, in the order of the documentation (algorithms/registry.cc).
const std::vector<ModelInfo>& AllModels();

//   NOT_FOUND  no such model (names the nearest)
absl::StatusOr<const ModelInfo*> FindModel(const std::string& name);

}  // namespace pagoda
