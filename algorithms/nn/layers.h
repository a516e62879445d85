// Layers that declare their own parameters and apply themselves, and the options
// that models share.
//
//   Declare:  mlp_ = Mlp::Declare(declaration, "deep", input_dim, options);
//   Forward:  Var y = mlp_.Apply(input, x);
//
// Threads: immutable after Declare.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithms/nn/model.h"
#include "kernels/activation.h"

namespace pagoda::nn {

// y = f(x w^T + b): parameters NAME.weight [out, in] (Xavier, or normal of `init_stddev` when
// that is >= 0), NAME.bias [out] (0).
struct LinearShape {
  int64_t in = 0;
  int64_t out = 0;
};
class LinearLayer {
 public:
  static LinearLayer Declare(Declaration& declaration, const std::string& name, LinearShape shape,
                             bool bias = true, double init_stddev = -1.0);
  Var Apply(ForwardInput& input, const Var& x, Activation f = Activation::kNone) const;

 private:
  DenseHandle weight_, bias_;  // bias_.index < 0: none
};

// Activations with a parameter alpha for each unit, from 0: p x + alpha (1 - p) x, with p the
// share that is let through.
enum class AdaptiveActivation {
  kNone,
  kPrelu,  // p = 1 where x > 0, else 0.
  kDice,   // p = sigmoid(x normalised over the batch): DIN's.
};

struct MlpOptions {
  std::vector<int64_t> hidden;
  Activation activation = Activation::kRelu;
  double dropout = 0.0;                                     // After each activation.
  bool batch_norm = false;                                  // Before each activation.
  AdaptiveActivation adaptive = AdaptiveActivation::kNone;  // In its place; not with batch_norm.
};

// Hidden layers, each: linear, batch norm, activation, dropout. Layer i is named
// NAME.i.weight, NAME.i.bias; with batch norm NAME.i.gamma, NAME.i.beta,
// NAME.i.running_mean, NAME.i.running_var (the last two are state); with PReLU or Dice
// NAME.i.alpha, and with Dice the state. No hidden layer: the identity.
class Mlp {
 public:
  static Mlp Declare(Declaration& declaration, const std::string& name, int64_t input_dim,
                     const MlpOptions& options);
  // x [batch, input_dim] -> [batch, output_dim()]
  Var Apply(ForwardInput& input, const Var& x) const;
  int64_t output_dim() const { return output_dim_; }

 private:
  struct Layer {
    LinearLayer linear;
    DenseHandle gamma, beta, alpha, running_mean, running_var;
    uint64_t dropout_label = 0;
  };
  Var Normalize(ForwardInput& input, const Layer& layer, const Var& x) const;
  Var Adapt(ForwardInput& input, const Layer& layer, const Var& x) const;
  // Dice's p.
  Var Share(ForwardInput& input, const Layer& layer, const Var& x) const;

  MlpOptions options_;
  std::vector<Layer> layers_;
  int64_t output_dim_ = 0;
};

// A table per feature (FeatureSpec::table_name(), plus `suffix`) and one pooled
// lookup over `features` (positions among the sparse ones).
struct EmbeddingOptions {
  int64_t dim = 0;
  std::string suffix = "";        // ".wide"
  float init_stddev = -1.0f;      // As TableDecl.
  int64_t init_zero_columns = 0;  // As TableDecl.
  std::string optimizer = "";     // As TableDecl.
  bool statistics = false;        // As LookupDecl.
};
LookupHandle DeclareEmbeddings(Declaration& declaration, const FeatureSchema& schema,
                               const std::vector<int>& features, const EmbeddingOptions& options);
// 0, 1, ... of the schema's sparse features.
std::vector<int> AllSparse(const FeatureSchema& schema);

// The usual input of a tower: the numeric columns, then the pooled rows of every
// sparse feature, in one matrix. Either kind may be missing from the schema.
class FlatInputs {
 public:
  //   INVALID_ARGUMENT  the schema has no features
  static absl::StatusOr<FlatInputs> Declare(Declaration& declaration, const FeatureSchema& schema,
                                            int64_t dim);
  int64_t width() const { return width_; }
  Var Apply(ForwardInput& input) const;       // [batch, width()]
  Var Embeddings(ForwardInput& input) const;  // [batch, features, dim], or invalid

 private:
  LookupHandle lookup_;  // index < 0: no sparse features
  int64_t width_ = 0;
};
// What FlatInputs returns, of parts already at hand; one of them may be invalid.
Var ConcatInputs(const Var& dense, const Var& embeddings);

// The linear part of LR, FM, DeepFM and Wide & Deep:
//    bias + sum over features of the row's weight + numeric columns . w
// Parameters NAME.weight [1, num_dense] (when there are numeric features, zeros)
// and NAME.bias [1].
class LinearTerm {
 public:
  static LinearTerm Declare(Declaration& declaration, const std::string& name,
                            const FeatureSchema& schema);
  // row_weights [batch, features], or invalid -> logits [batch]
  Var Apply(ForwardInput& input, const Var& row_weights) const;

 private:
  DenseHandle weight_, bias_;  // weight_.index < 0: no numeric features
};

// A row of 1 + dim values is [linear weight | embedding]: one pull serves both.
struct SplitRows {
  Var weights;     // [batch, features]
  Var embeddings;  // [batch, features, dim]
};
SplitRows LookupSplit(ForwardInput& input, LookupHandle lookup, int64_t dim);

// Options that several models have.
OptionSpec EmbeddingDimOption();
OptionSpec L2Option();
OptionSpec CrossLayersOption();
std::vector<OptionSpec> MlpOptionSpecs();  // hidden, activation, dropout, batch_norm
//   INVALID_ARGUMENT  unknown activation (names the nearest), a width < 1, or a
//                     dropout outside [0, 1)
absl::StatusOr<MlpOptions> ParseMlpOptions(const ModelOptions& options);
absl::StatusOr<std::vector<int64_t>> ParseWidths(const ModelOptions& options,
                                                 const std::string& key);
//   INVALID_ARGUMENT  outside [1, 64]
absl::StatusOr<int64_t> ParseCrossLayers(const ModelOptions& options);
//   INVALID_ARGUMENT  outside [1, 4096], the limit of a table
absl::StatusOr<int64_t> ParseEmbeddingDim(const ModelOptions& options);
//   INVALID_ARGUMENT  negative or not finite
absl::StatusOr<double> ParseL2(const ModelOptions& options);

//   INVALID_ARGUMENT  the schema has no sparse feature ("the model needs ...")
absl::Status RequireSparse(const FeatureSchema& schema, const std::string& model);

}  // namespace pagoda::nn
