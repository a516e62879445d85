#include "algorithms/nn/layers.h"

#include <cmath>
#include <numeric>

#include "algorithms/nn/ops.h"
#include "base/hash.h"

namespace pagoda::nn {

LinearLayer LinearLayer::Declare(Declaration& declaration, const std::string& name,
                                 LinearShape shape, bool bias, double init_stddev) {
  LinearLayer layer;
  DenseDecl weight = {.name = name + ".weight", .shape = {shape.out, shape.in}};
  if (init_stddev >= 0.0) {
    weight.init = InitKind::kNormal;
    weight.init_scale = static_cast<float>(init_stddev);
  }
  layer.weight_ = declaration.AddDense(weight);
  if (bias) {
    layer.bias_ = declaration.AddDense({.name = name + ".bias",
                                        .shape = {shape.out},
                                        .init = InitKind::kZeros,
                                        .weight_decay = false});
  }
  return layer;
}

Var LinearLayer::Apply(ForwardInput& input, const Var& x, Activation f) const {
  const Var bias = bias_.index >= 0 ? input.Parameter(bias_) : Var();
  return Linear(x, input.Parameter(weight_), bias, f);
}

Mlp Mlp::Declare(Declaration& declaration, const std::string& name, int64_t input_dim,
                 const MlpOptions& options) {
  PAGODA_CHECK(!options.batch_norm || options.adaptive == AdaptiveActivation::kNone);
  Mlp mlp;
  mlp.options_ = options;
  mlp.output_dim_ = input_dim;
  for (size_t i = 0; i < options.hidden.size(); ++i) {
    const std::string prefix = absl::StrCat(name, ".", i);
    const int64_t width = options.hidden[i];
    const auto vector = [&](const char* suffix, InitKind init, bool trainable) {
      return declaration.AddDense({.name = prefix + suffix,
                                   .shape = {width},
                                   .init = init,
                                   .trainable = trainable,
                                   .weight_decay = false});
    };
    Layer layer;
    layer.linear = LinearLayer::Declare(declaration, prefix, {mlp.output_dim_, width});
    if (options.batch_norm) {
      layer.gamma = vector(".gamma", InitKind::kOnes, true);
      layer.beta = vector(".beta", InitKind::kZeros, true);
    }
    if (options.adaptive != AdaptiveActivation::kNone) {
      layer.alpha = vector(".alpha", InitKind::kZeros, true);
    }
    if (options.batch_norm || options.adaptive == AdaptiveActivation::kDice) {
      layer.running_mean = vector(".running_mean", InitKind::kZeros, false);
      layer.running_var = vector(".running_var", InitKind::kOnes, false);
    }
    layer.dropout_label = HashBytes(prefix);
    mlp.layers_.push_back(layer);
    mlp.output_dim_ = width;
  }
  return mlp;
}

Var Mlp::Normalize(ForwardInput& input, const Layer& layer, const Var& x) const {
  const Var mean = input.Parameter(layer.running_mean);
  const Var var = input.Parameter(layer.running_var);
  if (!mean.valid() || !var.valid()) return Var();
  const BatchNormState state{mean.value(), var.value(), input.Updates(layer.running_mean)};
  return BatchNorm(x, input.Parameter(layer.gamma), input.Parameter(layer.beta), state,
                   BatchNormArgs{}, input.training());
}

Var Mlp::Share(ForwardInput& input, const Layer& layer, const Var& x) const {
  const Var mean = input.Parameter(layer.running_mean);
  const Var var = input.Parameter(layer.running_var);
  if (!mean.valid() || !var.valid()) return Var();
  const auto width = static_cast<size_t>(mean.value().size());
  const Var ones = Constant(input.tape(), std::vector<float>(width, 1.0f));
  const Var zeros = Constant(input.tape(), std::vector<float>(width, 0.0f));
  const BatchNormState state{mean.value(), var.value(), input.Updates(layer.running_mean)};
  // The paper's epsilon.
  return Sigmoid(BatchNorm(x, ones, zeros, state, {.epsilon = 1e-8f}, input.training()));
}

Var Mlp::Adapt(ForwardInput& input, const Layer& layer, const Var& x) const {
  const Var through = options_.adaptive == AdaptiveActivation::kDice
                          ? Multiply(Share(input, layer, x), x)
                          : Activate(x, Activation::kRelu);
  const Var alpha = BroadcastRow(input.Parameter(layer.alpha), input.batch_size());
  return Add(through, Multiply(alpha, Subtract(x, through)));
}

Var Mlp::Apply(ForwardInput& input, const Var& x) const {
  Var y = x;
  for (const Layer& layer : layers_) {
    if (options_.adaptive != AdaptiveActivation::kNone) {
      y = Adapt(input, layer, layer.linear.Apply(input, y));
    } else if (options_.batch_norm) {
      y = Activate(Normalize(input, layer, layer.linear.Apply(input, y)), options_.activation);
    } else {
      y = layer.linear.Apply(input, y, options_.activation);
    }
    if (input.training()) {
      y = Dropout(y, static_cast<float>(options_.dropout),
                  input.random().Derive(layer.dropout_label), input.host().batch.first_sample);
    }
  }
  return y;
}

LookupHandle DeclareEmbeddings(Declaration& declaration, const FeatureSchema& schema,
                               const std::vector<int>& features, const EmbeddingOptions& options) {
  const std::vector<int> sparse = schema.SparseFeatures();
  LookupDecl lookup;
  lookup.statistics = options.statistics;
  for (int feature : features) {
    const int position = sparse[static_cast<size_t>(feature)];
    TableDecl table;
    table.name = schema.features[static_cast<size_t>(position)].table_name() + options.suffix;
    table.dim = options.dim;
    table.init_stddev = options.init_stddev;
    table.init_zero_columns = options.init_zero_columns;
    table.optimizer = options.optimizer;
    lookup.features.push_back(feature);
    lookup.tables.push_back(declaration.AddTable(std::move(table)).index);
  }
  return declaration.AddLookup(std::move(lookup));
}

std::vector<int> AllSparse(const FeatureSchema& schema) {
  std::vector<int> all(schema.SparseFeatures().size());
  std::iota(all.begin(), all.end(), 0);
  return all;
}

absl::StatusOr<FlatInputs> FlatInputs::Declare(Declaration& declaration,
                                               const FeatureSchema& schema, int64_t dim) {
  if (schema.features.empty()) return absl::InvalidArgumentError("the schema has no features");
  FlatInputs inputs;
  const std::vector<int> sparse = AllSparse(schema);
  if (!sparse.empty()) {
    inputs.lookup_ = DeclareEmbeddings(declaration, schema, sparse, {.dim = dim});
  }
  inputs.width_ = static_cast<int64_t>(sparse.size()) * dim +
                  static_cast<int64_t>(schema.DenseFeatures().size());
  return inputs;
}

Var FlatInputs::Embeddings(ForwardInput& input) const {
  return lookup_.index >= 0 ? input.Lookup(lookup_) : Var();
}

Var FlatInputs::Apply(ForwardInput& input) const {
  return ConcatInputs(input.Dense(), Embeddings(input));
}

Var ConcatInputs(const Var& dense, const Var& embeddings) {
  if (!dense.valid()) return Flatten(embeddings);
  if (!embeddings.valid()) return dense;
  return Concat({dense, Flatten(embeddings)});
}

LinearTerm LinearTerm::Declare(Declaration& declaration, const std::string& name,
                               const FeatureSchema& schema) {
  LinearTerm term;
  const int64_t num_dense = static_cast<int64_t>(schema.DenseFeatures().size());
  if (num_dense > 0) {
    term.weight_ = declaration.AddDense(
        {.name = name + ".weight", .shape = {1, num_dense}, .init = InitKind::kZeros});
  }
  term.bias_ = declaration.AddDense(
      {.name = name + ".bias", .shape = {1}, .init = InitKind::kZeros, .weight_decay = false});
  return term;
}

Var LinearTerm::Apply(ForwardInput& input, const Var& row_weights) const {
  const Var bias = input.Parameter(bias_);
  const Shape logits = {input.batch_size()};
  Var sum = weight_.index >= 0 ? Linear(input.Dense(), input.Parameter(weight_), bias)
                               : BroadcastRow(bias, input.batch_size());
  sum = Reshape(sum, logits);
  return row_weights.valid() ? Add(sum, SumColumns(row_weights)) : sum;
}

SplitRows LookupSplit(ForwardInput& input, LookupHandle lookup, int64_t dim) {
  return {Flatten(input.LookupColumns(lookup, 0, 1)), input.LookupColumns(lookup, 1, 1 + dim)};
}

OptionSpec EmbeddingDimOption() {
  return {"embedding_dim", int64_t{16}, "weights per row", "Dimension of each embedding."};
}

OptionSpec L2Option() {
  return {"l2", 0.0, "",
          "L2 penalty on the embeddings that a batch looks up (half the sum of squares per "
          "sample)."};
}

OptionSpec CrossLayersOption() {
  return {"cross_layers", int64_t{3}, "layers", "Number of cross layers."};
}

std::vector<OptionSpec> MlpOptionSpecs() {
  return {
      {"hidden", std::vector<int64_t>{256, 128, 64}, "units", "Widths of the hidden layers."},
      {"activation", std::string("relu"), "",
       "Of the hidden layers: none, relu, sigmoid, tanh, gelu, silu or leaky_relu."},
      {"dropout", 0.0, "probability", "Share of hidden units dropped in training."},
      {"batch_norm", false, "", "Normalise each hidden layer over the batch, before activation."},
  };
}

absl::StatusOr<std::vector<int64_t>> ParseWidths(const ModelOptions& options,
                                                 const std::string& key) {
  const auto& widths = options.Get<std::vector<int64_t>>(key);
  for (int64_t width : widths) {
    if (width >= 1) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("model option '", key, "' holds ", width, "; every width must be at least 1"));
  }
  return widths;
}

absl::StatusOr<MlpOptions> ParseMlpOptions(const ModelOptions& options) {
  MlpOptions mlp;
  PAGODA_ASSIGN_OR_RETURN(mlp.hidden, ParseWidths(options, "hidden"));
  PAGODA_ASSIGN_OR_RETURN(mlp.activation, ParseActivation(options.Get<std::string>("activation")));
  mlp.dropout = options.Get<double>("dropout");
  if (!(mlp.dropout >= 0.0 && mlp.dropout < 1.0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("model option 'dropout' is ", mlp.dropout, "; it must be in [0, 1)"));
  }
  mlp.batch_norm = options.Get<bool>("batch_norm");
  return mlp;
}

absl::StatusOr<int64_t> ParseCrossLayers(const ModelOptions& options) {
  const int64_t layers = options.Get<int64_t>("cross_layers");
  if (layers >= 1 && layers <= 64) return layers;
  return absl::InvalidArgumentError(
      absl::StrCat("model option 'cross_layers' is ", layers, "; it must be in [1, 64]"));
}

absl::StatusOr<int64_t> ParseEmbeddingDim(const ModelOptions& options) {
  const int64_t dim = options.Get<int64_t>("embedding_dim");
  if (dim >= 1 && dim <= 4096) return dim;
  return absl::InvalidArgumentError(
      absl::StrCat("model option 'embedding_dim' is ", dim, "; it must be in [1, 4096]"));
}

absl::StatusOr<double> ParseL2(const ModelOptions& options) {
  const double l2 = options.Get<double>("l2");
  if (l2 >= 0.0 && std::isfinite(l2)) return l2;
  return absl::InvalidArgumentError(
      absl::StrCat("model option 'l2' is ", l2, "; it must be at least 0"));
}

absl::Status RequireSparse(const FeatureSchema& schema, const std::string& model) {
  if (!schema.SparseFeatures().empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("model '", model,
                   "' needs at least one feature that is not numeric, and the schema has none"));
}

}  // namespace pagoda::nn
