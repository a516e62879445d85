#include "algorithms/models.h"
#include "algorithms/nn/attention_layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/next_item.h"
#include "algorithms/nn/ops.h"

namespace pagoda {
namespace {

class Din : public Model {
 public:
  explicit Din(const ModelOptions& options) : options_(options) {}

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    PAGODA_ASSIGN_OR_RETURN(dim_, nn::ParseEmbeddingDim(options_));
    PAGODA_ASSIGN_OR_RETURN(l2_, nn::ParseL2(options_));
    PAGODA_RETURN_IF_ERROR(FindPairs(schema));
    for (int feature : nn::AllSparse(schema)) {
      if (!Spec(schema, feature).sequence()) flat_.push_back(feature);
    }
    flat_rows_ = nn::DeclareEmbeddings(declaration, schema, flat_, {.dim = dim_});
    target_rows_ = nn::DeclareEmbeddings(declaration, schema, targets_, {.dim = dim_});
    for (int feature : sequences_) {
      const TableHandle table =
          declaration.AddTable({.name = Spec(schema, feature).table_name(), .dim = dim_});
      sequence_rows_.push_back(declaration.AddLookup(
          {.features = {feature}, .tables = {table.index}, .sequence = true}));
    }
    nn::DinOptions unit;
    unit.dim = static_cast<int64_t>(targets_.size()) * dim_;
    PAGODA_ASSIGN_OR_RETURN(unit.hidden, nn::ParseWidths(options_, "attention_hidden"));
    PAGODA_ASSIGN_OR_RETURN(unit.weights, ParseWeights());
    unit.activation = Activation::kSigmoid;
    unit_ = nn::DinUnit::Declare(declaration, "attention", unit);
    const int64_t width = static_cast<int64_t>(flat_.size()) * dim_ + unit.dim +
                          static_cast<int64_t>(schema.DenseFeatures().size());
    return DeclareHead(declaration, width);
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    std::vector<Var> keys;
    std::vector<int32_t> offsets;
    for (size_t k = 0; k < sequence_rows_.size(); ++k) {
      nn::Events events = nn::LookupEvents(input, sequence_rows_[k]);
      if (k > 0 && events.offsets != offsets) return Unequal(input.host().batch, k);
      keys.push_back(events.values);
      offsets = std::move(events.offsets);
    }
    const Batch& batch = input.host().batch;
    const nn::SequenceLayout layout(input.tape(), std::move(offsets), batch.first_sample);
    const Var query = nn::Flatten(input.Lookup(target_rows_));
    const Var events = keys.size() == 1 ? keys[0] : nn::Concat(keys);
    const Var interest = unit_.Apply(input, query, events, events, layout).output;
    const Var flat = input.Lookup(flat_rows_);
    const Var x = nn::Concat({nn::ConcatInputs(input.Dense(), flat), interest});
    const Var logits = nn::Reshape(out_.Apply(input, head_.Apply(input, x)), {input.batch_size()});
    ForwardOutput output = nn::BinaryOutput(input, logits);
    std::vector<Var> looked_up = keys;
    looked_up.push_back(flat);
    nn::AddL2(input, looked_up, l2_, &output);
    return output;
  }

 private:
  static const FeatureSpec& Spec(const FeatureSchema& schema, int feature) {
    const int position = schema.SparseFeatures()[static_cast<size_t>(feature)];
    return schema.features[static_cast<size_t>(position)];
  }

  absl::Status FindPairs(const FeatureSchema& schema) {
    const auto& targets = options_.Get<std::vector<std::string>>("targets");
    sequence_names_ = options_.Get<std::vector<std::string>>("sequences");
    if (targets.empty() || targets.size() != sequence_names_.size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "model 'din' needs as many options 'targets' as 'sequences', at least one; they name ",
          targets.size(), " and ", sequence_names_.size(), " features"));
    }
    for (size_t k = 0; k < targets.size(); ++k) {
      PAGODA_ASSIGN_OR_RETURN(const int sequence,
                              nn::FindHistory(schema, sequence_names_[k], "sequences"));
      const int target = schema.SparseIndex(targets[k]);
      if (target < 0 || Spec(schema, target).sequence()) {
        return absl::InvalidArgumentError(absl::StrCat("model option 'targets' names '", targets[k],
                                                       "', which is not a feature with one id"));
      }
      const std::string& table = Spec(schema, target).table_name();
      if (Spec(schema, sequence).table_name() != table) {
        return absl::InvalidArgumentError(
            absl::StrCat("features '", targets[k], "' and '", sequence_names_[k],
                         "' have their rows in tables '", table, "' and '",
                         Spec(schema, sequence).table_name(), "'; give them one `table`"));
      }
      targets_.push_back(target);
      sequences_.push_back(sequence);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<nn::DinWeights> ParseWeights() const {
    const auto& weights = options_.Get<std::string>("attention");
    if (weights == "softmax") return nn::DinWeights::kSoftmax;
    if (weights == "sigmoid") return nn::DinWeights::kSigmoid;
    return absl::InvalidArgumentError(absl::StrCat("model option 'attention' is '", weights,
                                                   "'; it must be 'softmax' or 'sigmoid'"));
  }

  absl::Status DeclareHead(Declaration& declaration, int64_t width) {
    const auto& name = options_.Get<std::string>("activation");
    const bool adaptive = name == "dice" || name == "prelu";
    ModelOptions plain = options_;
    if (adaptive) PAGODA_RETURN_IF_ERROR(plain.Set("activation", std::string("none")));
    PAGODA_ASSIGN_OR_RETURN(nn::MlpOptions head, nn::ParseMlpOptions(plain));
    if (adaptive && head.batch_norm) {
      return absl::InvalidArgumentError(absl::StrCat(
          "model option 'batch_norm' is true; with activation '", name, "' it must be false"));
    }
    if (name == "prelu") head.adaptive = nn::AdaptiveActivation::kPrelu;
    if (name == "dice") head.adaptive = nn::AdaptiveActivation::kDice;
    head_ = nn::Mlp::Declare(declaration, "head", width, head);
    out_ = nn::LinearLayer::Declare(declaration, "out", {head_.output_dim(), 1});
    return absl::OkStatus();
  }

  absl::Status Unequal(const Batch& batch, size_t pair) const {
    return absl::InvalidArgumentError(
        absl::StrCat("features '", sequence_names_[0], "' and '", sequence_names_[pair],
                     "' have different numbers of values in a sample (", batch.OriginRange(),
                     "); they must be parts of the same events"));
  }

  ModelOptions options_;
  int64_t dim_ = 0;
  double l2_ = 0.0;
  std::vector<int> targets_, sequences_, flat_;  // Positions among the sparse features.
  std::vector<std::string> sequence_names_;
  LookupHandle flat_rows_, target_rows_;
  std::vector<LookupHandle> sequence_rows_;  // Per pair.
  nn::DinUnit unit_;
  nn::Mlp head_;
  nn::LinearLayer out_;
};

}  // namespace

ModelInfo DinModelInfo() {
  ModelInfo info;
  info.name = "din";
  info.summary = "A history weighed, event by event, by how it bears on the candidate.";
  info.options = nn::MlpOptionSpecs();
  for (OptionSpec& spec : info.options) {
    if (spec.key == "hidden") spec.default_value = std::vector<int64_t>{200, 80};
    if (spec.key != "activation") continue;
    spec.default_value = std::string("dice");
    spec.help =
        "Of the hidden layers: dice, prelu, none, relu, sigmoid, tanh, gelu, silu or "
        "leaky_relu.";
  }
  const std::vector<OptionSpec> own = {
      {"targets", std::vector<std::string>{}, "",
       "Names of the candidate's features, one for each of 'sequences'."},
      {"sequences", std::vector<std::string>{}, "",
       "Names of the history's features; each has its rows in the table of its target."},
      {"attention_hidden", std::vector<int64_t>{80, 40}, "units",
       "Widths of the hidden layers of the unit that weighs an event."},
      {"attention", std::string("softmax"), "",
       "'softmax': an event's weights add up to 1; 'sigmoid': each stands for itself."}};
  info.options.insert(info.options.end(), own.begin(), own.end());
  info.options.push_back(nn::EmbeddingDimOption());
  info.options.push_back(nn::L2Option());
  info.create = [](const ModelOptions& options) { return std::make_unique<Din>(options); };
  return info;
}

}  // namespace pagoda
