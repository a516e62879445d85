#include <algorithm>
#include <cmath>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "algorithms/models.h"
#include "algorithms/nn/attention_layers.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"
#include "algorithms/nn/parallel_history.h"
#include "algorithms/nn/transformer.h"

namespace pagoda {
namespace {

using Names = std::vector<std::string>;

// Distinct activity sequences of a batch: most users have no portal visit at all, and a user's
// samples of one day share theirs.
struct DistinctActivity {
  std::vector<int32_t> rows;           // Places among all tokens of the batch.
  std::vector<int32_t> offsets = {0};  // [distinct + 1] into rows.
  std::vector<int32_t> last;           // [distinct] place of the last in `rows`; -1 without any.
  std::vector<int32_t> of_sample;      // [batch]
};
DistinctActivity FindDistinct(const RaggedIds& tokens) {
  DistinctActivity distinct;
  absl::flat_hash_map<std::vector<FeatureId>, int32_t> known;
  for (size_t i = 0; i + 1 < tokens.offsets.size(); ++i) {
    const int32_t begin = tokens.offsets[i], end = tokens.offsets[i + 1];
    const auto next = static_cast<int32_t>(distinct.last.size());
    const auto [it, is_new] =
        known.try_emplace({tokens.ids.begin() + begin, tokens.ids.begin() + end}, next);
    distinct.of_sample.push_back(it->second);
    if (!is_new) continue;
    for (int32_t p = begin; p < end; ++p) distinct.rows.push_back(p);
    distinct.offsets.push_back(static_cast<int32_t>(distinct.rows.size()));
    distinct.last.push_back(begin == end ? -1 : distinct.offsets.back() - 1);
  }
  return distinct;
}

// A head over the intent: MLP(dim - 1).
class IntentHead {
 public:
  static IntentHead Declare(Declaration& declaration, const std::string& name, int64_t dim) {
    IntentHead head;
    head.hidden_ = nn::LinearLayer::Declare(declaration, name + ".0", {dim, dim});
    head.out_ = nn::LinearLayer::Declare(declaration, name + ".1", {dim, 1});
    return head;
  }
  // intent [n, dim] -> logits [n]
  Var Apply(ForwardInput& input, const Var& intent) const {
    const Var logits = out_.Apply(input, hidden_.Apply(input, intent, Activation::kRelu));
    return logits.valid() ? nn::Reshape(logits, {logits.shape()[0]}) : Var();
  }

 private:
  nn::LinearLayer hidden_, out_;
};

// The user-intent extraction module (UIEM): what a user's last days say about a visit to the
// portal and a click on the block today.
class IntentExtractor {
 public:
  struct Shape {
    int64_t dim = 0, layers = 0, heads = 0, hidden = 0;
  };
  static absl::StatusOr<IntentExtractor> Declare(Declaration& declaration,
                                                 const FeatureSchema& schema,
                                                 const std::string& activity, const Shape& shape) {
    IntentExtractor intent;
    PAGODA_ASSIGN_OR_RETURN(intent.position_, nn::FindSequence(schema, activity, "activity"));
    PAGODA_ASSIGN_OR_RETURN(intent.tokens_,
                            nn::ParallelHistory::Declare(declaration, schema, {activity},
                                                         {.dim = shape.dim, .option = "activity"}));
    const int feature = schema.SparseFeatures()[static_cast<size_t>(intent.position_)];
    const int64_t days = schema.features[static_cast<size_t>(feature)].last;
    intent.positions_ =
        nn::LearnedPositions::Declare(declaration, "intent.position", days, shape.dim);
    nn::TransformerOptions decoder;
    decoder.style = nn::TransformerStyle::kSasRec;
    decoder.dim = shape.dim;
    decoder.heads = shape.heads;
    decoder.layers = shape.layers;
    decoder.hidden = shape.hidden;
    intent.decoder_ = nn::TransformerStack::Declare(declaration, "intent.decoder", decoder);
    intent.portal_ = IntentHead::Declare(declaration, "intent.portal", shape.dim);
    intent.block_ = IntentHead::Declare(declaration, "intent.block", shape.dim);
    return intent;
  }

  struct Logits {
    Var portal, block;  // [batch]
  };
  absl::StatusOr<Logits> Apply(ForwardInput& input) const {
    const Batch& batch = input.host().batch;
    const DistinctActivity distinct = FindDistinct(batch.sparse[static_cast<size_t>(position_)]);
    PAGODA_ASSIGN_OR_RETURN(const Var all, tokens_.Rows(input));
    const Var tokens = nn::SelectRows(all, distinct.rows);
    const nn::SequenceLayout layout(input.tape(), distinct.offsets, batch.first_sample);
    const Var states = decoder_.Apply(
        input, nn::Add(tokens, positions_.Apply(input, layout, nn::PositionOrder::kFromEnd)),
        layout);
    const Var intent = nn::Add(nn::SelectRows(states, distinct.last),
                               nn::SegmentPool(tokens, distinct.offsets, SegmentPooling::kMean));
    const auto of_samples = [&](const IntentHead& head) {
      return nn::SelectRows(head.Apply(input, intent), distinct.of_sample);
    };
    return Logits{of_samples(portal_), of_samples(block_)};
  }

 private:
  int position_ = -1;  // In Batch::sparse.
  nn::ParallelHistory tokens_;
  nn::LearnedPositions positions_;
  nn::TransformerStack decoder_;
  IntentHead portal_, block_;
};

// Target attention over one history, when it has features.
struct Interest {
  nn::ParallelHistory history;
  nn::MultiHeadAttention attention;
};

class Usd : public Model {
 public:
  explicit Usd(const ModelOptions& options) : options_(options) {}

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    PAGODA_ASSIGN_OR_RETURN(dim_, nn::ParseEmbeddingDim(options_));
    PAGODA_ASSIGN_OR_RETURN(const nn::MlpOptions mlp, nn::ParseMlpOptions(options_));
    PAGODA_ASSIGN_OR_RETURN(l2_, nn::ParseL2(options_));
    PAGODA_RETURN_IF_ERROR(ParseSampling(mlp));
    PAGODA_RETURN_IF_ERROR(ParseNumbers());
    PAGODA_RETURN_IF_ERROR(FindTargets(schema));
    PAGODA_RETURN_IF_ERROR(DeclareTower(schema, declaration, mlp));
    const std::string activity = options_.Get<std::string>("activity");
    has_intent_ = !activity.empty();
    if (!has_intent_) {
      if (!debias_portal_ && !debias_block_) return absl::OkStatus();
      return absl::InvalidArgumentError(
          "model option 'activity' is empty, but debias_portal and debias_block need it");
    }
    PAGODA_ASSIGN_OR_RETURN(
        intent_,
        IntentExtractor::Declare(
            declaration, schema, activity,
            {options_.Get<int64_t>("intent_dim"), options_.Get<int64_t>("intent_layers"),
             options_.Get<int64_t>("intent_heads"), options_.Get<int64_t>("intent_hidden")}));
    return absl::OkStatus();
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    PAGODA_ASSIGN_OR_RETURN(const Var logits, TowerLogits(input));
    IntentExtractor::Logits intent;
    if (has_intent_) {
      PAGODA_ASSIGN_OR_RETURN(intent, intent_.Apply(input));
    }
    const Memberships members = FindMembers(input.host());
    const Var weight = CtrWeight(input, members, intent);
    ForwardOutput output;
    output.prediction = nn::Sigmoid(logits);
    output.outputs.push_back({"ctr_weight", weight});
    if (has_intent_) {
      output.outputs.push_back({"portal", nn::Sigmoid(intent.portal)});
      output.outputs.push_back({"block", nn::Sigmoid(intent.block)});
    }
    if (!input.training()) return output;
    if (needs_targets_ && input.host().batch.targets.empty() && input.batch_size() > 0) {
      return absl::FailedPreconditionError(
          "model 'usd' trains on target columns (schema.targets), which the data set lacks");
    }
    output.losses.push_back(CtrLoss(input, logits, weight, members));
    Var rows = nn::Flatten(input.Lookup(rows_));
    if (!members.all_sampled) {
      rows = nn::ScaleRows(rows, nn::Constant(input.tape(), members.sampled));
    }
    nn::AddL2(input, {rows}, l2_, &output);
    if (has_intent_) {
      output.losses.push_back(IntentLoss(input, "portal", intent.portal, portal_, members));
      output.losses.push_back(IntentLoss(input, "block", intent.block, block_, members));
    }
    return output;
  }

 private:
  enum class Sampling { kNone, kPortal, kClick };

  // Which loss a sample takes part in, on the host; all that of a batch without targets.
  struct Memberships {
    std::vector<float> sampled;             // 1 in U'.
    std::vector<float> portal_only, block;  // 1 in U'_portal, U'_block.
    std::vector<float> user_day;            // 1 for the one sample of a user-day of U^.
    bool all_sampled = true;
  };

  absl::Status ParseSampling(const nn::MlpOptions& mlp) {
    const std::string sampling = options_.Get<std::string>("sampling");
    if (sampling == "portal") {
      sampling_ = Sampling::kPortal;
    } else if (sampling == "click") {
      sampling_ = Sampling::kClick;
    } else if (sampling == "none") {
      sampling_ = Sampling::kNone;
    } else {
      return absl::InvalidArgumentError(absl::StrCat("model option 'sampling' is '", sampling,
                                                     "'; it must be 'portal', 'click' or 'none'"));
    }
    if (!mlp.batch_norm || sampling_ == Sampling::kNone) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "model option 'batch_norm' would let samples that sampling leaves out into the tower, by "
        "the batch's statistics; use sampling = 'none' or no batch_norm");
  }

  absl::Status ParseNumbers() {
    debias_portal_ = options_.Get<bool>("debias_portal");
    debias_block_ = options_.Get<bool>("debias_block");
    for (const char* key : {"alpha", "beta"}) {
      const double value = options_.Get<double>(key);
      if (value >= 0.0 && std::isfinite(value)) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("model option '", key, "' is ", value, "; it must be 0 or more"));
    }
    const std::vector<double>& clip = options_.Get<std::vector<double>>("weight_clip");
    if (clip.size() != 2 || !(clip[0] >= 0.0) || !(clip[0] <= clip[1]) || !std::isfinite(clip[1])) {
      return absl::InvalidArgumentError(
          "model option 'weight_clip' must be two numbers, 0 <= low <= high");
    }
    for (const char* key : {"intent_dim", "intent_layers", "intent_heads", "intent_hidden",
                            "attention_dim", "attention_heads"}) {
      const int64_t value = options_.Get<int64_t>(key);
      if (value >= 1 && value <= 4096) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("model option '", key, "' is ", value, "; it must be in [1, 4096]"));
    }
    for (const std::string name : {"intent", "attention"}) {
      if (options_.Get<int64_t>(name + "_dim") % options_.Get<int64_t>(name + "_heads") == 0) {
        continue;
      }
      return absl::InvalidArgumentError(
          absl::StrCat("model option '", name, "_heads' does not divide '", name, "_dim'"));
    }
    return absl::OkStatus();
  }

  absl::Status FindTargets(const FeatureSchema& schema) {
    const bool intent = !options_.Get<std::string>("activity").empty();
    needs_targets_ = intent || sampling_ != Sampling::kNone;
    const auto find = [&](const std::string& option, int* index) -> absl::Status {
      const std::string name = options_.Get<std::string>(option);
      *index = schema.TargetIndex(name);
      if (*index >= 0 || !needs_targets_) return absl::OkStatus();
      return absl::InvalidArgumentError(absl::StrCat("model option '", option, "' names '", name,
                                                     "', which is not one of schema.targets"));
    };
    PAGODA_RETURN_IF_ERROR(find("portal", &portal_));
    PAGODA_RETURN_IF_ERROR(find("block", &block_));
    if (!intent) return absl::OkStatus();
    PAGODA_RETURN_IF_ERROR(find("recent", &recent_));
    return find("day_first", &day_first_);
  }

  absl::Status DeclareTower(const FeatureSchema& schema, Declaration& declaration,
                            const nn::MlpOptions& mlp) {
    std::vector<int> fields;
    const std::vector<int> sparse = schema.SparseFeatures();
    for (int f = 0; f < static_cast<int>(sparse.size()); ++f) {
      const auto feature = static_cast<size_t>(sparse[static_cast<size_t>(f)]);
      if (!schema.features[feature].sequence()) fields.push_back(f);
    }
    if (fields.empty()) {
      return absl::InvalidArgumentError(
          "model 'usd' needs a feature that is neither numeric nor a sequence");
    }
    rows_ = nn::DeclareEmbeddings(declaration, schema, fields, {.dim = dim_});
    int64_t width = static_cast<int64_t>(schema.DenseFeatures().size() +
                                         fields.size() * static_cast<size_t>(dim_));
    const Names candidate = options_.Get<Names>("candidate");
    std::vector<int> candidate_fields;
    for (const std::string& name : candidate) {
      const int position = schema.SparseIndex(name);
      if (std::count(fields.begin(), fields.end(), position) == 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("model option 'candidate' names '", name,
                         "', which is not a feature with ids, or is a sequence"));
      }
      candidate_fields.push_back(position);
    }
    for (const char* option : {"short_history", "long_history"}) {
      if (options_.Get<Names>(option).empty()) continue;
      if (candidate.empty()) {
        return absl::InvalidArgumentError(absl::StrCat(
            "model option '", option, "' needs 'candidate', the features that attend to it"));
      }
      PAGODA_RETURN_IF_ERROR(DeclareInterest(schema, declaration, option, candidate.size()));
      width += options_.Get<int64_t>("attention_dim");
    }
    if (!interests_.empty()) {
      candidate_rows_ = nn::DeclareEmbeddings(declaration, schema, candidate_fields, {.dim = dim_});
    }
    deep_ = nn::Mlp::Declare(declaration, "deep", width, mlp);
    out_ = nn::LinearLayer::Declare(declaration, "out", {deep_.output_dim(), 1});
    return absl::OkStatus();
  }

  absl::Status DeclareInterest(const FeatureSchema& schema, Declaration& declaration,
                               const std::string& option, size_t num_candidate) {
    Interest interest;
    PAGODA_ASSIGN_OR_RETURN(interest.history, nn::ParallelHistory::Declare(
                                                  declaration, schema, options_.Get<Names>(option),
                                                  {.dim = dim_, .option = option}));
    const int64_t width = options_.Get<int64_t>("attention_dim");
    interest.attention =
        nn::MultiHeadAttention::Declare(declaration, option,
                                        {.query_dim = dim_ * static_cast<int64_t>(num_candidate),
                                         .key_dim = interest.history.width(),
                                         .value_dim = interest.history.width(),
                                         .width = width,
                                         .value_width = width,
                                         .output_dim = width,
                                         .heads = options_.Get<int64_t>("attention_heads")});
    interests_.push_back(std::move(interest));
    return absl::OkStatus();
  }

  absl::StatusOr<Var> TowerLogits(ForwardInput& input) const {
    const Batch& batch = input.host().batch;
    std::vector<Var> parts = {nn::ConcatInputs(input.Dense(), input.Lookup(rows_))};
    for (const Interest& interest : interests_) {
      PAGODA_ASSIGN_OR_RETURN(const Var events, interest.history.Rows(input));
      const nn::SequenceLayout layout(input.tape(), interest.history.Offsets(batch),
                                      batch.first_sample);
      const Var candidate = nn::Flatten(input.Lookup(candidate_rows_));
      parts.push_back(
          interest.attention
              .Target(input,
                      {.queries = candidate, .keys = events, .values = events, .bias = Var()},
                      layout)
              .output);
    }
    const Var hidden = deep_.Apply(input, parts.size() == 1 ? parts[0] : nn::Concat(parts));
    return nn::Reshape(out_.Apply(input, hidden), {input.batch_size()});
  }

  Memberships FindMembers(const PreparedBatch& prepared) const {
    const Batch& batch = prepared.batch;
    const auto n = static_cast<size_t>(batch.size);
    const auto num_targets = static_cast<size_t>(prepared.num_targets);
    Memberships members;
    members.portal_only.assign(n, 0.0f);
    members.block = members.user_day = members.portal_only;
    members.sampled.assign(n, 1.0f);
    if (!needs_targets_ || batch.targets.empty()) return members;
    for (size_t i = 0; i < n; ++i) {
      const auto is = [&](int target) {
        return target >= 0 && batch.targets[i * num_targets + static_cast<size_t>(target)] > 0.5f;
      };
      members.block[i] = is(block_);
      members.portal_only[i] = is(portal_) && !is(block_);
      members.user_day[i] = is(recent_) && is(day_first_);
      if (sampling_ == Sampling::kPortal) members.sampled[i] = is(portal_);
      if (sampling_ == Sampling::kClick) members.sampled[i] = is(block_);
      members.all_sampled = members.all_sampled && members.sampled[i] > 0.0f;
    }
    return members;
  }

  // What multiplies each sample's loss, before the sample's own weight; a constant for backward.
  Var CtrWeight(ForwardInput& input, const Memberships& members,
                const IntentExtractor::Logits& intent) const {
    Tape& tape = input.tape();
    const Var sampled = nn::Constant(tape, members.sampled);
    if (!debias_portal_ && !debias_block_) return sampled;
    const std::vector<double>& clip = options_.Get<std::vector<double>>("weight_clip");
    // 1 + m (clip(1 / p) - 1), with 1 / sigmoid(z) taken where it keeps its digits.
    const auto excess = [&](const Var& logits, const std::vector<float>& mask) {
      const Var p = nn::Sigmoid(nn::StopGradient(logits));
      const Var ones = nn::Constant(tape, std::vector<float>(mask.size(), 1.0f));
      const Var weight =
          nn::Clip(nn::Divide(ones, p), static_cast<float>(clip[0]), static_cast<float>(clip[1]));
      return nn::Multiply(nn::Affine(weight, 1.0f, -1.0f), nn::Constant(tape, mask));
    };
    Var weight = nn::Constant(tape, std::vector<float>(members.sampled.size(), 1.0f));
    if (debias_portal_) {
      weight = nn::Add(weight, excess(nn::Scale(intent.portal, -1.0f), members.portal_only));
    }
    if (debias_block_) weight = nn::Add(weight, excess(intent.block, members.block));
    return nn::Multiply(weight, sampled);
  }

  LossTerm CtrLoss(ForwardInput& input, const Var& logits, const Var& weight,
                   const Memberships& members) const {
    const Batch& batch = input.host().batch;
    LossTerm loss;
    loss.name = "ctr";
    for (size_t i = 0; i < members.sampled.size(); ++i) {
      const double own = batch.weights.empty() ? 1.0 : static_cast<double>(batch.weights[i]);
      loss.count += own * static_cast<double>(members.sampled[i]);
    }
    Var weights = input.Weights();
    if (!members.all_sampled || debias_portal_ || debias_block_) {
      weights = weights.valid() ? nn::Multiply(weights, weight) : weight;
    }
    loss.sum = nn::Sum(nn::SigmoidCrossEntropy(logits, input.Labels(), weights));
    return loss;
  }

  LossTerm IntentLoss(ForwardInput& input, const char* name, const Var& logits, int target,
                      const Memberships& members) const {
    LossTerm loss;
    loss.name = name;
    for (const float member : members.user_day) loss.count += static_cast<double>(member);
    loss.weight = static_cast<float>(options_.Get<double>(target == portal_ ? "alpha" : "beta"));
    loss.sum = nn::Sum(nn::SigmoidCrossEntropy(logits, input.Target(target),
                                               nn::Constant(input.tape(), members.user_day)));
    return loss;
  }

  ModelOptions options_;
  int64_t dim_ = 0;
  double l2_ = 0.0;
  Sampling sampling_ = Sampling::kPortal;
  bool debias_portal_ = true, debias_block_ = true;
  bool needs_targets_ = true;
  bool has_intent_ = true;
  int portal_ = -1, block_ = -1, recent_ = -1, day_first_ = -1;  // Targets.
  LookupHandle rows_, candidate_rows_;
  std::vector<Interest> interests_;
  nn::Mlp deep_;
  nn::LinearLayer out_;
  IntentExtractor intent_;
};

}  // namespace

ModelInfo UsdModelInfo() {
  ModelInfo info;
  info.name = "usd";
  info.summary = "Clicks on a portal's block: intent-driven sampling and dual debiasing.";
  info.options = nn::MlpOptionSpecs();
  info.options.push_back(nn::EmbeddingDimOption());
  info.options.push_back(nn::L2Option());
  const auto add = [&](const char* key, OptionValue value, const char* unit, const char* help) {
    info.options.push_back({key, std::move(value), unit, help});
  };
  add("sampling", std::string("portal"), "",
      "Samples that train the tower: 'portal' (of users who visited the portal that day), 'click' "
      "(who clicked the block), 'none' (all).");
  add("debias_portal", true, "", "Weigh by 1 / (1 - P(portal)) who visited without the block.");
  add("debias_block", true, "", "Weigh by 1 / P(block) who clicked the block.");
  add("weight_clip", std::vector<double>{1.0, 15.0}, "", "Lowest and highest debiasing weight.");
  add("alpha", 1e-4, "", "Weight of the loss of P(portal).");
  add("beta", 1e-4, "", "Weight of the loss of P(block).");
  add("portal", std::string("portal"), "", "Target: the portal was visited on the sample's day.");
  add("block", std::string("block"), "", "Target: the block was clicked on the sample's day.");
  add("recent", std::string("recent"), "", "Target: the portal was visited in the week before.");
  add("day_first", std::string("day_first"), "",
      "Target: 1 for one sample of each user and day, which stands for the user-day.");
  add("activity", std::string("activity"), "",
      "Sequence of one token a day up to yesterday; empty: no intent extractor.");
  add("intent_dim", int64_t{32}, "units", "Width of the intent extractor.");
  add("intent_layers", int64_t{2}, "layers", "Of its decoder.");
  add("intent_heads", int64_t{2}, "", "Of its attention; they divide intent_dim.");
  add("intent_hidden", int64_t{64}, "units", "Of its feed-forward layers.");
  add("candidate", Names{}, "", "Features that attend to the histories.");
  add("short_history", Names{}, "", "Parallel sequences of recent events; empty: none.");
  add("long_history", Names{}, "", "Parallel sequences of many events; empty: none.");
  add("attention_dim", int64_t{32}, "units", "Width of the attention over each history.");
  add("attention_heads", int64_t{2}, "", "Its heads; they divide attention_dim.");
  info.create = [](const ModelOptions& options) { return std::make_unique<Usd>(options); };
  return info;
}

}  // namespace pagoda
