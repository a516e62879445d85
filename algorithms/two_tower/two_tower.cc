#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "algorithms/models.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"
#include "base/hash.h"

namespace pagoda {
namespace {

// The features of one side, sparse and numeric, and the tower over them.
class Tower {
 public:
  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration,
                       const ModelOptions& options, const std::string& side) {
    PAGODA_RETURN_IF_ERROR(FindFeatures(schema, options, side + "_features"));
    PAGODA_ASSIGN_OR_RETURN(const int64_t dim, nn::ParseEmbeddingDim(options));
    PAGODA_ASSIGN_OR_RETURN(const nn::MlpOptions mlp, nn::ParseMlpOptions(options));
    if (!sparse_.empty()) {
      rows_ = nn::DeclareEmbeddings(declaration, schema, sparse_, {.dim = dim});
    }
    const int64_t width =
        static_cast<int64_t>(sparse_.size()) * dim + static_cast<int64_t>(dense_.size());
    mlp_ = nn::Mlp::Declare(declaration, side, width, mlp);
    output_dim_ = options.Get<int64_t>("output_dim");
    if (output_dim_ < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("model option 'output_dim' is ", output_dim_, "; it must be at least 0"));
    }
    projects_ = output_dim_ > 0;
    if (projects_) {
      out_ = nn::LinearLayer::Declare(declaration, side + ".out", {mlp_.output_dim(), output_dim_});
    } else {
      output_dim_ = mlp_.output_dim();
    }
    return absl::OkStatus();
  }

  // The tower over rows of its only feature: [n, dim] -> [n, output_dim].
  Var ApplyToRows(ForwardInput& input, const Var& rows) const {
    const Var hidden = mlp_.Apply(input, rows);
    return projects_ ? out_.Apply(input, hidden) : hidden;
  }

  Var Apply(ForwardInput& input) const {
    Var numeric;
    if (!dense_.empty()) {
      std::vector<Var> columns;
      for (int column : dense_) {
        columns.push_back(nn::SliceColumns(input.Dense(), column, column + 1));
      }
      numeric = nn::Concat(columns);
    }
    const Var rows = rows_.index >= 0 ? input.Lookup(rows_) : Var();
    const Var hidden = mlp_.Apply(input, nn::ConcatInputs(numeric, rows));
    return projects_ ? out_.Apply(input, hidden) : hidden;
  }

  int64_t output_dim() const { return output_dim_; }
  const std::vector<int>& sparse() const { return sparse_; }
  bool single_feature() const { return sparse_.size() == 1 && dense_.empty(); }
  LookupHandle rows() const { return rows_; }

 private:
  absl::Status FindFeatures(const FeatureSchema& schema, const ModelOptions& options,
                            const std::string& key) {
    for (const std::string& name : options.Get<std::vector<std::string>>(key)) {
      const int sparse = schema.SparseIndex(name);
      const int dense = schema.DenseIndex(name);
      if (sparse < 0 && dense < 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("model option '", key, "' names '", name, "', which is not a feature"));
      }
      if (sparse >= 0) sparse_.push_back(sparse);
      if (dense >= 0) dense_.push_back(dense);
    }
    if (!sparse_.empty() || !dense_.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("model 'two_tower' needs option '", key, "': a list of feature names"));
  }

  std::vector<int> sparse_, dense_;
  LookupHandle rows_;
  nn::Mlp mlp_;
  nn::LinearLayer out_;
  bool projects_ = false;
  int64_t output_dim_ = 0;
};

class TwoTower : public Model {
 public:
  explicit TwoTower(const ModelOptions& options) : options_(options) {}
  bool retrieval() const override { return true; }

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    temperature_ = options_.Get<double>("temperature");
    if (!(temperature_ > 0.0 && std::isfinite(temperature_))) {
      return absl::InvalidArgumentError(
          absl::StrCat("model option 'temperature' is ", temperature_, "; it must be above 0"));
    }
    PAGODA_RETURN_IF_ERROR(user_.Declare(schema, declaration, options_, "user"));
    PAGODA_RETURN_IF_ERROR(item_.Declare(schema, declaration, options_, "item"));
    if (item_.sparse().empty()) {
      return absl::InvalidArgumentError(
          "model option 'item_features' needs a feature that is not numeric, to tell items apart");
    }
    if (user_.output_dim() != item_.output_dim()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "with output_dim = 0 the towers end in ", user_.output_dim(), " and ", item_.output_dim(),
          " units; set output_dim, or hidden to end in one width"));
    }
    has_label_ = !schema.label.empty();
    PAGODA_RETURN_IF_ERROR(DeclareNegatives(declaration));
    return DeclareLogQ(declaration);
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    ForwardOutput output;
    output.user = Normalize(user_.Apply(input));
    output.item = Normalize(item_.Apply(input));
    if (input.training()) output.losses.push_back(SoftmaxLoss(input, output));
    return output;
  }

 private:
  Var Normalize(const Var& x) const {
    return options_.Get<bool>("normalize") ? nn::L2Normalize(x) : x;
  }

  // Row i's positive is item i of the batch. A sample counts by weight * label: one that
  // the user did not choose is an item for others to be told from, and no more.
  LossTerm SoftmaxLoss(ForwardInput& input, const ForwardOutput& output) const {
    const Batch& batch = input.host().batch;
    const auto n = static_cast<size_t>(batch.size);
    std::vector<int32_t> targets(n);
    LossTerm loss;
    loss.name = "softmax";
    for (size_t i = 0; i < n; ++i) {
      const double weight = batch.weights.empty() ? 1.0 : static_cast<double>(batch.weights[i]);
      const double label = Labelled(batch) ? static_cast<double>(batch.labels[i]) : 1.0;
      targets[i] = !(label > 0.0) ? -1 : in_batch_ ? static_cast<int32_t>(i) : 0;
      loss.count += weight * label;
    }
    const Var logits = Logits(input, output);
    Var weights = input.Weights();
    if (Labelled(batch)) {
      weights = weights.valid() ? nn::Multiply(weights, input.Labels()) : input.Labels();
    }
    loss.sum = nn::Sum(nn::SoftmaxCrossEntropy(logits, targets, weights));
    return loss;
  }

  // The batch's items, then the drawn ones; without in_batch the sample's own, then the drawn.
  Var Logits(ForwardInput& input, const ForwardOutput& output) const {
    if (negatives_.index < 0 || input.batch_size() == 0) return InBatchLogits(input, output);
    const Var sampled = SampledLogits(input, output);
    if (!in_batch_ || !sampled.valid()) return sampled;
    const Var drawn = nn::SliceColumns(sampled, 1, sampled.shape()[1]);
    return nn::Concat({InBatchLogits(input, output), drawn});
  }

  // [n, n]
  Var InBatchLogits(ForwardInput& input, const ForwardOutput& output) const {
    const std::vector<uint64_t> identities = ItemIdentities(input.host().batch);
    const std::vector<int32_t> items = NumberItems(identities);
    const Var scores = nn::MatMul(output.user, output.item, {.a = false, .b = true});
    return nn::InBatchLogits(scores, items, LogQ(input, identities, items),
                             static_cast<float>(temperature_));
  }

  absl::Status DeclareNegatives(Declaration& declaration) {
    const int64_t count = options_.Get<int64_t>("negatives");
    const std::string sampler = options_.Get<std::string>("negative_sampler");
    if (count < 0 || count > (int64_t{1} << 20)) {
      return absl::InvalidArgumentError(
          absl::StrCat("model option 'negatives' is ", count, "; it must be in [0, 2^20]"));
    }
    if (sampler != "uniform" && sampler != "popularity") {
      return absl::InvalidArgumentError(absl::StrCat("model option 'negative_sampler' is '",
                                                     sampler,
                                                     "'; it must be 'uniform' or 'popularity'"));
    }
    in_batch_ = options_.Get<bool>("in_batch");
    if (count == 0 && in_batch_) return absl::OkStatus();
    if (count == 0) {
      return absl::InvalidArgumentError(
          "model option 'in_batch' = false needs 'negatives': else a sample has none");
    }
    num_negatives_ = count;
    if (!item_.single_feature()) {
      return absl::InvalidArgumentError(
          "model option 'negatives' needs item_features to be one feature that is not numeric: "
          "drawn items are known by its ids alone");
    }
    NegativesDecl decl;
    decl.feature = item_.sparse()[0];
    decl.table = declaration.lookups[static_cast<size_t>(item_.rows().index)].tables[0];
    decl.count = count;
    if (sampler == "popularity") decl.sampler = NegativeSampler::kPopularity;
    negatives_ = declaration.AddNegatives(decl);
    return absl::OkStatus();
  }

  // Each user against its own item and the drawn ones: [n, 1 + count]. A drawn item that is
  // the sample's own is masked; the logits are corrected by how often an item is drawn.
  Var SampledLogits(ForwardInput& input, const ForwardOutput& output) const {
    const ForwardInput::NegativeRows drawn = input.Negatives(negatives_);
    if (!drawn.rows.valid() || !output.user.valid()) return Var();
    const Var items = Normalize(item_.ApplyToRows(input, drawn.rows));
    const Batch& batch = input.host().batch;
    nn::SampledCandidates candidates;
    candidates.negative_ids = *drawn.ids;
    const bool corrects = log_q_ != "none";
    // log of how often an item is expected among a batch's draws; 0 for one that never is.
    const float draws = std::log(static_cast<float>(num_negatives_));
    for (const float log_q : *drawn.log_q) {
      if (corrects) candidates.negative_log_q.push_back(log_q + draws);
    }
    const FeatureId none = IdBesides(*drawn.ids);
    for (int64_t i = 0; i < batch.size; ++i) {
      const absl::Span<const FeatureId> own = batch.IdsOf(item_.sparse()[0], i);
      candidates.positive_ids.push_back(own.size() == 1 ? own[0] : none);
      if (!corrects) continue;
      const bool known = own.size() == 1 && drawn.catalogue->Contains(own[0]);
      candidates.positive_log_q.push_back(known ? drawn.catalogue->LogQ(own[0]) + draws : 0.0f);
    }
    return nn::SampledSoftmaxLogits(nn::DotRows(output.user, output.item),
                                    nn::MatMul(output.user, items, {.a = false, .b = true}),
                                    candidates, static_cast<float>(temperature_));
  }

  // Stands for an item that is no drawn one because it has several ids, or none.
  static FeatureId IdBesides(const std::vector<FeatureId>& ids) {
    FeatureId id = ~FeatureId{0};
    while (std::find(ids.begin(), ids.end(), id) != ids.end()) --id;
    return id;
  }

  bool Labelled(const Batch& batch) const { return has_label_ && !batch.labels.empty(); }

  // A hash of all of a sample's item features.
  std::vector<uint64_t> ItemIdentities(const Batch& batch) const {
    std::vector<uint64_t> identities(static_cast<size_t>(batch.size), 0);
    for (int feature : item_.sparse()) {
      for (size_t i = 0; i < identities.size(); ++i) {
        for (const FeatureId id : batch.IdsOf(feature, static_cast<int64_t>(i))) {
          identities[i] = MixBits(identities[i] ^ id);
        }
        identities[i] = MixBits(identities[i] + 1);
      }
    }
    return identities;
  }

  // 0, 1, 2, ... for distinct identities in the order of their first sample.
  static std::vector<int32_t> NumberItems(const std::vector<uint64_t>& identities) {
    std::vector<int32_t> items;
    std::unordered_map<uint64_t, int32_t> numbers;
    for (uint64_t identity : identities) {
      const int32_t next = static_cast<int32_t>(numbers.size());
      items.push_back(numbers.try_emplace(identity, next).first->second);
    }
    return items;
  }

  absl::Status DeclareLogQ(Declaration& declaration) {
    log_q_ = options_.Get<std::string>("log_q");
    if (log_q_ != "streaming" && log_q_ != "batch" && log_q_ != "none") {
      return absl::InvalidArgumentError(absl::StrCat(
          "model option 'log_q' is '", log_q_, "'; it must be 'streaming', 'batch' or 'none'"));
    }
    num_buckets_ = options_.Get<int64_t>("log_q_buckets");
    if (num_buckets_ < 1 || num_buckets_ > (int64_t{1} << 24)) {
      return absl::InvalidArgumentError(absl::StrCat("model option 'log_q_buckets' is ",
                                                     num_buckets_, "; it must be in [1, 2^24]"));
    }
    if (log_q_ != "streaming" || !in_batch_) return absl::OkStatus();
    const auto state = [&](const char* name, int64_t size) {
      return declaration.AddDense(
          {.name = name, .shape = {size}, .init = InitKind::kZeros, .trainable = false});
    };
    step_ = state("log_q.step", 1);
    last_step_ = state("log_q.last_step", num_buckets_);
    interval_ = state("log_q.interval", num_buckets_);
    return absl::OkStatus();
  }

  // log of each sample's item's probability to be in a batch; invalid: no correction.
  Var LogQ(ForwardInput& input, const std::vector<uint64_t>& identities,
           const std::vector<int32_t>& items) const {
    if (log_q_ == "none") return Var();
    if (log_q_ == "batch") return nn::Constant(input.tape(), BatchShares(items));
    const Var step = input.Parameter(step_);
    const Var last_step = input.Parameter(last_step_);
    const Var interval = input.Parameter(interval_);
    if (!step.valid() || !last_step.valid() || !interval.valid()) return Var();
    std::vector<int32_t> buckets;
    for (uint64_t identity : identities) {
      buckets.push_back(static_cast<int32_t>(identity % static_cast<uint64_t>(num_buckets_)));
    }
    return nn::ItemLogFrequency(input.tape(), buckets,
                                {step.value(), last_step.value(), interval.value()},
                                {.rate = kLogQRate, .update = input.Updates(step_)});
  }

  static std::vector<float> BatchShares(const std::vector<int32_t>& items) {
    std::vector<double> counts(items.size());
    for (int32_t item : items) counts[static_cast<size_t>(item)] += 1.0;
    std::vector<float> log_q;
    for (int32_t item : items) {
      log_q.push_back(static_cast<float>(
          std::log(counts[static_cast<size_t>(item)] / static_cast<double>(items.size()))));
    }
    return log_q;
  }

  // The paper's choice for a fixed distribution of items is 0.01: an estimate over
  // the last hundred batches that held the item.
  static constexpr float kLogQRate = 0.01f;

  ModelOptions options_;
  double temperature_ = 1.0;
  bool in_batch_ = true;
  int64_t num_negatives_ = 0;
  NegativesHandle negatives_;
  bool has_label_ = false;
  std::string log_q_;
  int64_t num_buckets_ = 0;
  DenseHandle step_, last_step_, interval_;
  Tower user_, item_;
};

}  // namespace

ModelInfo TwoTowerModelInfo() {
  ModelInfo info;
  info.name = "two_tower";
  info.summary = "Retrieval: a tower for users, one for items, and an in-batch softmax.";
  info.options = nn::MlpOptionSpecs();
  info.options.push_back(nn::EmbeddingDimOption());
  info.options.push_back({"user_features", std::vector<std::string>{}, "",
                          "Names of the features of the user tower."});
  info.options.push_back({"item_features", std::vector<std::string>{}, "",
                          "Names of the features of the item tower."});
  info.options.push_back({"output_dim", int64_t{32}, "units",
                          "Width of a linear layer that ends each tower; 0 for none."});
  info.options.push_back({"normalize", true, "", "Scale both towers' outputs to length 1."});
  info.options.push_back({"temperature", 0.1, "", "Scores are divided by this in the softmax."});
  info.options.push_back({"log_q", std::string("streaming"), "",
                          "Correct the logits for how often batches hold each item: 'streaming' "
                          "estimates it over training, 'batch' from the batch alone, 'none' does "
                          "not."});
  info.options.push_back({"log_q_buckets", int64_t{65536}, "buckets",
                          "Of the streaming estimate; items share one by hash."});
  info.options.push_back(
      {"in_batch", true, "", "The items of a batch's other samples are negatives."});
  info.options.push_back({"negatives", int64_t{0}, "items",
                          "Drawn for each batch from [data.items], beside its own items; needs "
                          "one item feature."});
  info.options.push_back({"negative_sampler", std::string("uniform"), "",
                          "uniform, or popularity: by occurrences in the training data."});
  info.create = [](const ModelOptions& options) { return std::make_unique<TwoTower>(options); };
  return info;
}

}  // namespace pagoda
