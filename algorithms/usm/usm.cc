#include <algorithm>

#include "algorithms/models.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"
#include "base/hash.h"
#include "kernels/average_pool.h"
#include "kernels/field_combinations.h"

namespace pagoda {
namespace {

using Integers = std::vector<int64_t>;
using Names = std::vector<std::string>;

absl::Status BadOption(const std::string& key, const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat("model option '", key, "' ", problem));
}

// Positions in Batch::sparse of the features that the option names; all when it names none.
absl::StatusOr<std::vector<int>> FindFeatures(const FeatureSchema& schema,
                                              const ModelOptions& options, const std::string& key) {
  const Names& names = options.Get<Names>(key);
  std::vector<int> found;
  for (const std::string& name : names) {
    const int position = schema.SparseIndex(name);
    if (position < 0) {
      return BadOption(key,
                       absl::StrCat("names '", name, "', which is no feature with ids of its own"));
    }
    found.push_back(position);
  }
  return names.empty() ? nn::AllSparse(schema) : found;
}

// How the fields agree, compactly: combinations, pooling at several scales, one dense layer.
class CrossedFields {
 public:
  // `num_fields` fields of `dim` columns.
  static absl::StatusOr<CrossedFields> Declare(Declaration& declaration,
                                               const ModelOptions& options, int64_t num_fields,
                                               int64_t dim, Activation activation) {
    CrossedFields usm;
    usm.activation_ = activation;
    usm.sums_ = options.Get<bool>("bases");
    usm.products_ = options.Get<bool>("products");
    usm.dropout_ = options.Get<double>("usm_dropout");
    usm.width_ = options.Get<int64_t>("usm_width");
    if (!(usm.dropout_ >= 0.0 && usm.dropout_ < 1.0)) {
      return BadOption("usm_dropout", absl::StrCat("is ", usm.dropout_, "; it must be in [0, 1)"));
    }
    if (usm.width_ < 1 || usm.width_ > 65536) {
      return BadOption("usm_width", absl::StrCat("is ", usm.width_, "; it must be in [1, 65536]"));
    }
    PAGODA_RETURN_IF_ERROR(usm.ParseOrders(options, num_fields));
    PAGODA_RETURN_IF_ERROR(usm.ParseScales(options, dim));
    int64_t pooled = 0;
    for (const nn::PoolWindow& scale : usm.scales_) {
      pooled += usm.channels_ * NumPoolWindows(dim, {scale.window, scale.stride});
    }
    usm.delay_ = nn::LinearLayer::Declare(declaration, "usm.delay", {pooled, usm.width_});
    return usm;
  }

  int64_t width() const { return width_; }

  // fields [n, f, d] -> [n, width()]. Dropout around the dense layer when `drop`.
  Var Apply(ForwardInput& input, const Var& fields, bool drop) const {
    const int64_t n = input.batch_size();
    const Var channels = Channels(fields);
    if (!channels.valid()) return Var();
    const Var rows = nn::Reshape(channels, {n * channels_, fields.shape()[2]});
    std::vector<Var> pooled;
    for (const nn::PoolWindow& scale : scales_) {
      const Var part = nn::AveragePool(rows, scale);
      if (!part.valid()) return Var();
      pooled.push_back(nn::Reshape(part, {n, channels_ * part.shape()[1]}));
    }
    const Var dropped = Drop(input, nn::Concat(pooled), drop, "usm.delay.in");
    return Drop(input, delay_.Apply(input, dropped, activation_), drop, "usm.delay.out");
  }

 private:
  absl::Status ParseOrders(const ModelOptions& options, int64_t num_fields) {
    for (const int64_t order : options.Get<Integers>("orders")) {
      if (order < kLeastFieldOrder || order > kMostFieldOrder) {
        return BadOption("orders", absl::StrCat("holds ", order, "; orders are 2, 3 and 4"));
      }
      const auto of = static_cast<int>(order);
      const auto rows =
          static_cast<int64_t>(FieldCombinations(static_cast<int>(num_fields), of).size()) / order;
      const int64_t kinds = (sums_ ? order : 0) + (products_ ? 1 : 0);
      channels_ += rows * kinds;
      if (rows * kinds > 0) orders_.push_back(of);
    }
    if (channels_ > 0) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("model 'usm' has nothing to combine: ", num_fields,
                     " fields with these 'orders', 'bases' and 'products' give no channel"));
  }

  absl::Status ParseScales(const ModelOptions& options, int64_t dim) {
    Integers windows = options.Get<Integers>("windows"), strides = options.Get<Integers>("strides");
    if (windows.empty() && strides.empty()) {
      windows = {std::max<int64_t>(dim / 2, 1), dim};
      strides = {std::max<int64_t>(dim / 4, 1), std::max<int64_t>(dim / 2, 1)};
    }
    if (windows.size() != strides.size()) {
      return BadOption("strides", absl::StrCat("has ", strides.size(), " values for the ",
                                               windows.size(), " of 'windows'"));
    }
    for (size_t i = 0; i < windows.size(); ++i) {
      if (windows[i] < 1 || windows[i] > dim) {
        return BadOption("windows", absl::StrCat("holds ", windows[i],
                                                 "; a window must be within embedding_dim ", dim));
      }
      if (strides[i] < 1 || strides[i] > 4096) {
        return BadOption("strides",
                         absl::StrCat("holds ", strides[i], "; it must be in [1, 4096]"));
      }
      scales_.push_back({windows[i], strides[i]});
    }
    return absl::OkStatus();
  }

  // [n, channels_ * d], of each order the sums, then the products.
  Var Channels(const Var& fields) const {
    std::vector<Var> parts;
    for (const int order : orders_) {
      const Var all = nn::Flatten(nn::CombineFields(fields, order));
      if (!all.valid()) return Var();
      const int64_t end = all.shape()[1], products = end / (order + 1) * order;
      parts.push_back(sums_ && products_ ? all
                      : sums_            ? nn::SliceColumns(all, 0, products)
                                         : nn::SliceColumns(all, products, end));
    }
    return nn::Concat(parts);
  }

  Var Drop(ForwardInput& input, const Var& x, bool drop, const char* label) const {
    if (!drop || !input.training()) return x;
    return nn::Dropout(x, static_cast<float>(dropout_), input.random().Derive(HashBytes(label)),
                       input.host().batch.first_sample);
  }

  bool sums_ = true, products_ = true;
  double dropout_ = 0.0;
  int64_t width_ = 0;
  int64_t channels_ = 0;
  Activation activation_ = Activation::kRelu;
  std::vector<int> orders_;  // Those that give channels.
  std::vector<nn::PoolWindow> scales_;
  nn::LinearLayer delay_;
};

class Usm : public Model {
 public:
  explicit Usm(const ModelOptions& options) : options_(options) {}

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    PAGODA_RETURN_IF_ERROR(nn::RequireSparse(schema, "usm"));
    PAGODA_ASSIGN_OR_RETURN(const int64_t dim, nn::ParseEmbeddingDim(options_));
    PAGODA_ASSIGN_OR_RETURN(const nn::MlpOptions mlp, nn::ParseMlpOptions(options_));
    PAGODA_ASSIGN_OR_RETURN(l2_, nn::ParseL2(options_));
    PAGODA_ASSIGN_OR_RETURN(const std::vector<int> fields,
                            FindFeatures(schema, options_, "fields"));
    PAGODA_ASSIGN_OR_RETURN(const std::vector<int> wide,
                            FindFeatures(schema, options_, "wide_features"));
    const std::string& phase = options_.Get<std::string>("phase");
    if (phase != "joint" && phase != "pretrain") {
      return BadOption("phase", absl::StrCat("is '", phase, "'; it must be 'pretrain' or 'joint'"));
    }
    pretrain_ = phase == "pretrain";
    crossed_ = options_.Get<bool>("usm");
    if (pretrain_ && !crossed_) return BadOption("usm", "is false, and phase 'pretrain' is USM");
    if (crossed_) {
      const auto num_fields = static_cast<int64_t>(fields.size());
      PAGODA_ASSIGN_OR_RETURN(
          usm_, CrossedFields::Declare(declaration, options_, num_fields, dim, mlp.activation));
      usm_rows_ =
          nn::DeclareEmbeddings(declaration, schema, fields, {.dim = dim, .suffix = ".usm"});
    }
    if (pretrain_) {
      pretrained_ = nn::LinearLayer::Declare(declaration, "pretrain", {usm_.width(), 1});
      return absl::OkStatus();
    }
    DeclareWideAndDeep(schema, declaration, fields, wide, mlp);
    return absl::OkStatus();
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    Var usm_rows, usm;
    if (crossed_) {
      usm_rows = input.Lookup(usm_rows_);
      usm = usm_.Apply(input, usm_rows, /*drop=*/!pretrain_);
    }
    if (pretrain_) {
      const Var logits = nn::Reshape(pretrained_.Apply(input, usm), {input.batch_size()});
      ForwardOutput output = nn::BinaryOutput(input, logits);
      nn::AddL2(input, {usm_rows}, l2_, &output);
      return output;
    }
    const Var rows = input.Lookup(deep_rows_);
    std::vector<Var> parts = {nn::Flatten(rows)};
    if (input.Dense().valid()) parts.insert(parts.begin(), input.Dense());
    if (crossed_) parts.push_back(usm);
    const Var hidden = deep_.Apply(input, nn::Concat(parts));
    const Var deep = nn::Reshape(out_.Apply(input, hidden), {input.batch_size()});
    const Var wide = wide_.Apply(input, nn::Flatten(input.Lookup(wide_rows_)));
    ForwardOutput output = nn::BinaryOutput(input, nn::Add(wide, deep));
    nn::AddL2(input, {rows, usm_rows}, l2_, &output);
    return output;
  }

 private:
  void DeclareWideAndDeep(const FeatureSchema& schema, Declaration& declaration,
                          const std::vector<int>& fields, const std::vector<int>& wide,
                          const nn::MlpOptions& mlp) {
    const auto dim = options_.Get<int64_t>("embedding_dim");
    deep_rows_ = nn::DeclareEmbeddings(declaration, schema, fields, {.dim = dim});
    wide_rows_ = nn::DeclareEmbeddings(declaration, schema, wide,
                                       {.dim = 1,
                                        .suffix = ".wide",
                                        .init_stddev = 0.0f,
                                        .optimizer = options_.Get<std::string>("wide_optimizer")});
    wide_ = nn::LinearTerm::Declare(declaration, "wide", schema);
    const int64_t width = static_cast<int64_t>(schema.DenseFeatures().size()) +
                          static_cast<int64_t>(fields.size()) * dim + (crossed_ ? usm_.width() : 0);
    deep_ = nn::Mlp::Declare(declaration, "deep", width, mlp);
    out_ = nn::LinearLayer::Declare(declaration, "out", {deep_.output_dim(), 1}, /*bias=*/false);
  }

  ModelOptions options_;
  double l2_ = 0.0;
  bool pretrain_ = false;
  bool crossed_ = true;
  CrossedFields usm_;
  LookupHandle usm_rows_, deep_rows_, wide_rows_;
  nn::LinearTerm wide_;
  nn::Mlp deep_;
  nn::LinearLayer out_, pretrained_;
};

}  // namespace

ModelInfo UsmModelInfo() {
  ModelInfo info;
  info.name = "usm";
  info.summary = "Wide & Deep with signed sums and products of fields, pooled at several scales.";
  info.options = nn::MlpOptionSpecs();
  info.options.push_back(nn::EmbeddingDimOption());
  info.options.push_back(nn::L2Option());
  info.options.push_back({"fields", Names{}, "",
                          "Features whose pooled rows are combined and go into the deep part; "
                          "empty: all with ids."});
  info.options.push_back(
      {"wide_features", Names{}, "", "Features of the linear part; empty: all with ids."});
  info.options.push_back({"phase", std::string("joint"), "",
                          "'pretrain' (fields, USM, one logit) or 'joint' (Wide & Deep with USM, "
                          "whose tables NAME.usm come from a pretraining stage)."});
  info.options.push_back({"usm", true, "", "false: Wide & Deep of the same inputs without USM."});
  info.options.push_back({"orders", Integers{2, 3, 4}, "",
                          "How many fields are combined at a time: 2, 3 and 4 are possible."});
  info.options.push_back({"bases", true, "", "Signed sums of combined fields (the fixed bases)."});
  info.options.push_back({"products", true, "", "Products of combined fields."});
  info.options.push_back({"windows", Integers{}, "columns",
                          "Windows of average pooling, one a scale; empty, with empty strides: "
                          "half and all of embedding_dim."});
  info.options.push_back({"strides", Integers{}, "columns",
                          "Stride of each window; empty, with empty windows: half a window."});
  info.options.push_back(
      {"usm_width", int64_t{100}, "units", "Width of the dense layer over all scales."});
  info.options.push_back(
      {"usm_dropout", 0.3, "", "Drop rate before and after that layer, in phase 'joint'."});
  info.options.push_back({"wide_optimizer", std::string("ftrl"), "",
                          "Sparse optimizer of the wide weights: ftrl, adagrad, sgd, adam or "
                          "rowwise_adagrad; empty for the job's default."});
  info.create = [](const ModelOptions& options) { return std::make_unique<Usm>(options); };
  return info;
}

}  // namespace pagoda
