#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "algorithms/models.h"
#include "algorithms/msnet/auxiliary_pairs.h"
#include "algorithms/nn/attention_layers.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"
#include "algorithms/nn/parallel_history.h"

namespace pagoda {
namespace {

// The rungs of the ladder, each with what the ones before it have.
enum class Arm { kDin, kSplit, kMeta, kAux };

absl::StatusOr<Arm> ParseArm(const std::string& name) {
  const std::vector<std::string> names = {"din", "split", "meta", "aux"};
  const auto it = std::find(names.begin(), names.end(), name);
  if (it != names.end()) return static_cast<Arm>(it - names.begin());
  return absl::InvalidArgumentError(absl::StrCat("model option 'arm' is '", name,
                                                 "'; it must be 'din', 'split', 'meta' or 'aux'"));
}

absl::Status CheckRange(const ModelOptions& options, const std::string& key, int64_t max) {
  const int64_t value = options.Get<int64_t>(key);
  if (value >= 1 && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("model option '", key, "' is ", value, "; it must be in [1, ", max, "]"));
}

// Position in Batch::sparse of a feature that is not a sequence.
absl::StatusOr<int> FindField(const FeatureSchema& schema, const std::string& name,
                              const std::string& option) {
  const int position = schema.SparseIndex(name);
  const auto refuse = [&](const std::string& what) {
    return absl::InvalidArgumentError(
        absl::StrCat("model option '", option, "' names '", name, "', which is ", what));
  };
  if (position < 0) return refuse("not a feature with ids");
  const int feature = schema.SparseFeatures()[static_cast<size_t>(position)];
  if (schema.features[static_cast<size_t>(feature)].sequence()) return refuse("a sequence");
  return position;
}

// NAME.0 (`hidden` units, ReLU), then NAME.1, which begins as zeros.
class MetaNetwork {
 public:
  struct Shape {
    int64_t in = 0;
    int64_t hidden = 0;
    int64_t out = 0;
  };
  static MetaNetwork Declare(Declaration& declaration, const std::string& name,
                             const Shape& shape) {
    MetaNetwork network;
    network.hidden_ = nn::LinearLayer::Declare(declaration, name + ".0", {shape.in, shape.hidden});
    network.out_ = nn::LinearLayer::Declare(declaration, name + ".1", {shape.hidden, shape.out},
                                            /*bias=*/true, /*init_stddev=*/0.0);
    return network;
  }
  Var Apply(ForwardInput& input, const Var& x) const {
    return out_.Apply(input, hidden_.Apply(input, x, Activation::kRelu));
  }

 private:
  nn::LinearLayer hidden_, out_;
};

// What a step knows of its batch's events on the host.
struct Streams {
  nn::EventStream limited, deep;  // din: everything is in `deep`.
  std::vector<bool> is_limited;   // Per event of the batch.
  std::vector<float> target;      // Per sample: 1 where the candidate is limited.
};

class MsNet : public Model {
 public:
  explicit MsNet(const ModelOptions& options) : options_(options) {}

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    PAGODA_ASSIGN_OR_RETURN(arm_, ParseArm(options_.Get<std::string>("arm")));
    PAGODA_ASSIGN_OR_RETURN(dim_, nn::ParseEmbeddingDim(options_));
    PAGODA_ASSIGN_OR_RETURN(const nn::MlpOptions mlp, nn::ParseMlpOptions(options_));
    PAGODA_ASSIGN_OR_RETURN(l2_, nn::ParseL2(options_));
    PAGODA_RETURN_IF_ERROR(CheckOptions());
    PAGODA_RETURN_IF_ERROR(DeclareCandidate(schema, declaration));
    PAGODA_RETURN_IF_ERROR(DeclareHistory(schema, declaration));
    PAGODA_RETURN_IF_ERROR(FindHostFields(schema));
    PAGODA_RETURN_IF_ERROR(DeclareOthers(schema, declaration));
    return DeclareLayers(declaration, mlp);
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    PAGODA_ASSIGN_OR_RETURN(const Streams streams, SplitEvents(input.host().batch));
    PAGODA_ASSIGN_OR_RETURN(const Var events, history_.Rows(input));
    const Var candidate = Candidate(input, streams);
    const Var deep_events = nn::SelectRows(events, streams.deep.rows);
    const nn::AttentionResult deep =
        Attend(input, deep_attention_, candidate, deep_events, streams.deep);
    std::vector<Var> parts = HeadInputs(input, streams, candidate);
    AddInterest(input, deep_match_, candidate, deep.output, &parts);
    Var mass, limited_events;
    if (arm_ == Arm::kDin) {
      mass = LimitedMass(input, deep.weights, streams, streams.deep);
    } else {
      limited_events = LimitedRows(input, events, streams);
      const nn::AttentionResult limited =
          Attend(input, limited_attention_, candidate, limited_events, streams.limited);
      AddInterest(input, limited_match_, candidate, limited.output, &parts);
      mass = LimitedMass(input, limited.weights, streams, streams.limited);
    }
    const Var hidden = deep_.Apply(input, nn::Concat(parts));
    const Var logits = nn::Reshape(out_.Apply(input, hidden), {input.batch_size()});
    ForwardOutput output = nn::BinaryOutput(input, logits);
    output.outputs.push_back({"limited_mass", mass});
    nn::AddL2(input, {L2Rows(input), events}, l2_, &output);
    if (arm_ == Arm::kAux && input.training()) {
      PAGODA_ASSIGN_OR_RETURN(LossTerm aux,
                              AuxiliaryLoss(input, streams, limited_events, deep_events));
      output.losses.push_back(std::move(aux));
    }
    return output;
  }

 private:
  absl::Status CheckOptions() const {
    PAGODA_RETURN_IF_ERROR(CheckRange(options_, "attention_dim", 4096));
    PAGODA_RETURN_IF_ERROR(CheckRange(options_, "attention_heads", 64));
    PAGODA_RETURN_IF_ERROR(CheckRange(options_, "meta_hidden", 4096));
    PAGODA_RETURN_IF_ERROR(CheckRange(options_, "events", 100000));
    PAGODA_RETURN_IF_ERROR(CheckRange(options_, "aux_events", 1000));
    PAGODA_RETURN_IF_ERROR(CheckRange(options_, "aux_negatives", 1000));
    PAGODA_RETURN_IF_ERROR(CheckRange(options_, "aux_window", 100000));
    if (options_.Get<int64_t>("attention_dim") % options_.Get<int64_t>("attention_heads") != 0) {
      return absl::InvalidArgumentError(
          "model option 'attention_heads' does not divide 'attention_dim'");
    }
    const double gamma = options_.Get<double>("gamma");
    if (gamma >= 0.0 && std::isfinite(gamma)) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("model option 'gamma' is ", gamma, "; it must be 0 or more"));
  }

  // The candidate's rows, [item, sides], and those of every other feature that is no sequence.
  absl::Status DeclareCandidate(const FeatureSchema& schema, Declaration& declaration) {
    std::vector<int> candidate, profile;
    PAGODA_ASSIGN_OR_RETURN(item_, FindField(schema, options_.Get<std::string>("item"), "item"));
    candidate.push_back(item_);
    for (const std::string& name : options_.Get<std::vector<std::string>>("sides")) {
      PAGODA_ASSIGN_OR_RETURN(const int position, FindField(schema, name, "sides"));
      candidate.push_back(position);
    }
    if (candidate.size() < 2 && arm_ >= Arm::kMeta) {
      return absl::InvalidArgumentError(
          "model 'msnet' needs option 'sides', which its meta networks read");
    }
    PAGODA_ASSIGN_OR_RETURN(stock_, FindField(schema, options_.Get<std::string>("stock"), "stock"));
    const std::vector<int> sparse = schema.SparseFeatures();
    for (int f = 0; f < static_cast<int>(sparse.size()); ++f) {
      const FeatureSpec& spec =
          schema.features[static_cast<size_t>(sparse[static_cast<size_t>(f)])];
      const bool taken = f == stock_ || std::count(candidate.begin(), candidate.end(), f) > 0;
      if (!taken && !spec.sequence()) profile.push_back(f);
    }
    num_sides_ = static_cast<int64_t>(candidate.size()) - 1;
    num_profile_ = static_cast<int64_t>(profile.size());
    num_dense_ = static_cast<int64_t>(schema.DenseFeatures().size());
    candidate_rows_ = nn::DeclareEmbeddings(declaration, schema, candidate, {.dim = dim_});
    if (!profile.empty()) {
      profile_rows_ = nn::DeclareEmbeddings(declaration, schema, profile, {.dim = dim_});
    }
    return absl::OkStatus();
  }

  absl::Status DeclareHistory(const FeatureSchema& schema, Declaration& declaration) {
    const std::vector<std::string> sides = options_.Get<std::vector<std::string>>("history_sides");
    if (static_cast<int64_t>(sides.size()) != num_sides_) {
      return absl::InvalidArgumentError(
          absl::StrCat("model option 'history_sides' names ", sides.size(), " features for the ",
                       num_sides_, " of 'sides'; they must be the same fields of an event"));
    }
    std::vector<std::string> names = {options_.Get<std::string>("history_item")};
    names.insert(names.end(), sides.begin(), sides.end());
    const std::vector<std::string> context =
        options_.Get<std::vector<std::string>>("history_context");
    names.insert(names.end(), context.begin(), context.end());
    PAGODA_ASSIGN_OR_RETURN(history_,
                            nn::ParallelHistory::Declare(declaration, schema, names,
                                                         {.dim = dim_, .option = "history_item"}));
    return absl::OkStatus();
  }

  // Features that the host alone reads.
  absl::Status FindHostFields(const FeatureSchema& schema) {
    const auto find = [&](const std::string& option) {
      return nn::FindSequence(schema, options_.Get<std::string>(option), option);
    };
    PAGODA_ASSIGN_OR_RETURN(history_item_, find("history_item"));
    PAGODA_ASSIGN_OR_RETURN(history_stock_, find("history_stock"));
    for (const int64_t id : options_.Get<std::vector<int64_t>>("limited_ids")) {
      limited_ids_.insert(static_cast<FeatureId>(id));
    }
    if (arm_ != Arm::kAux) return absl::OkStatus();
    PAGODA_ASSIGN_OR_RETURN(history_category_, find("history_category"));
    PAGODA_ASSIGN_OR_RETURN(user_, FindField(schema, options_.Get<std::string>("user"), "user"));
    return absl::OkStatus();
  }

  absl::Status DeclareLayers(Declaration& declaration, const nn::MlpOptions& mlp) {
    const int64_t width = options_.Get<int64_t>("attention_dim");
    const int64_t candidate = dim_ * (1 + num_sides_);
    const nn::MultiHeadAttentionOptions attention = {
        .query_dim = candidate,
        .key_dim = history_.width(),
        .value_dim = history_.width(),
        .width = width,
        .value_width = width,
        .output_dim = width,
        .heads = options_.Get<int64_t>("attention_heads")};
    const int64_t num_attentions = arm_ == Arm::kDin ? 1 : 2;
    products_ = options_.Get<bool>("products");
    const int64_t interest = products_ ? 2 * width : width;
    const int64_t head =
        num_dense_ + dim_ * num_profile_ + candidate + 1 + num_attentions * interest;
    deep_ = nn::Mlp::Declare(declaration, "deep", head, mlp);
    out_ = nn::LinearLayer::Declare(declaration, "out", {deep_.output_dim(), 1});
    const auto match = [&](const std::string& name) {
      return products_ ? nn::LinearLayer::Declare(declaration, name, {candidate, width},
                                                  /*bias=*/false)
                       : nn::LinearLayer();
    };
    deep_attention_ = nn::MultiHeadAttention::Declare(declaration, "attention", attention);
    deep_match_ = match("match");
    if (arm_ == Arm::kDin) return absl::OkStatus();
    limited_attention_ =
        nn::MultiHeadAttention::Declare(declaration, "limited_attention", attention);
    limited_match_ = match("limited_match");
    if (arm_ == Arm::kSplit) return absl::OkStatus();
    const int64_t hidden = options_.Get<int64_t>("meta_hidden"), sides = dim_ * num_sides_;
    meta_scale_ = MetaNetwork::Declare(declaration, "meta_scale", {sides, hidden, dim_});
    meta_shift_ = MetaNetwork::Declare(declaration, "meta_shift", {dim_ + sides, hidden, dim_});
    if (arm_ == Arm::kMeta) return absl::OkStatus();
    aux_user_ = nn::LinearLayer::Declare(declaration, "aux_user", {2 * history_.width(), dim_},
                                         /*bias=*/false);
    return absl::OkStatus();
  }

  // Of the events that the auxiliary loss compares with: items, then side fields.
  absl::Status DeclareOthers(const FeatureSchema& schema, Declaration& declaration) {
    if (arm_ != Arm::kAux) return absl::OkStatus();
    std::vector<std::string> names = options_.Get<std::vector<std::string>>("history_sides");
    names.insert(names.begin(), options_.Get<std::string>("history_item"));
    const std::vector<int> sparse = schema.SparseFeatures();
    int first = -1;
    for (const std::string& name : names) {
      NegativesDecl decl;
      PAGODA_ASSIGN_OR_RETURN(decl.feature, nn::FindSequence(schema, name, "history_sides"));
      const int feature = sparse[static_cast<size_t>(decl.feature)];
      const FeatureSpec& spec = schema.features[static_cast<size_t>(feature)];
      decl.table = declaration.AddTable({.name = spec.table_name(), .dim = dim_}).index;
      decl.count = 1;
      decl.same_as = first;
      if (first < 0) {
        decl.choose = [this](const Batch& batch, RandomKey key) {
          return ChooseOthers(batch, key);
        };
      }
      other_columns_.push_back(decl.feature);
      others_.push_back(declaration.AddNegatives(decl));
      if (first < 0) first = others_[0].index;
    }
    return absl::OkStatus();
  }

  bool Limited(FeatureId stock) const { return limited_ids_.count(stock) > 0; }

  absl::StatusOr<Streams> SplitEvents(const Batch& batch) const {
    PAGODA_RETURN_IF_ERROR(
        history_.CheckParallel(batch, history_stock_, options_.Get<std::string>("history_stock")));
    Streams streams;
    for (const FeatureId id : batch.sparse[static_cast<size_t>(history_stock_)].ids) {
      streams.is_limited.push_back(Limited(id));
    }
    for (int64_t i = 0; i < batch.size; ++i) {
      const absl::Span<const FeatureId> stock = batch.IdsOf(stock_, i);
      streams.target.push_back(!stock.empty() && Limited(stock[0]) ? 1.0f : 0.0f);
    }
    const std::vector<int32_t>& offsets = history_.Offsets(batch);
    const int64_t last = options_.Get<int64_t>("events");
    const auto limited = [&](int32_t p) {
      return bool{streams.is_limited[static_cast<size_t>(p)]};
    };
    if (arm_ == Arm::kDin) {
      streams.deep = nn::SelectEvents(
          offsets, [](int32_t) { return true; }, 2 * last);
      return streams;
    }
    streams.limited = nn::SelectEvents(offsets, limited, last);
    streams.deep = nn::SelectEvents(
        offsets, [&](int32_t p) { return !limited(p); }, last);
    return streams;
  }

  static nn::AttentionResult Attend(ForwardInput& input, const nn::MultiHeadAttention& attention,
                                    const Var& candidate, const Var& events,
                                    const nn::EventStream& stream) {
    const nn::SequenceLayout layout(input.tape(), stream.offsets, input.host().batch.first_sample);
    return attention.Target(
        input, {.queries = candidate, .keys = events, .values = events, .bias = Var()}, layout);
  }

  // An attention's result z, and with `products` also z (x) W q.
  void AddInterest(ForwardInput& input, const nn::LinearLayer& match, const Var& candidate,
                   const Var& interest, std::vector<Var>* parts) const {
    parts->push_back(interest);
    if (products_) parts->push_back(nn::Multiply(interest, match.Apply(input, candidate)));
  }

  // Of each sample the attention `weights` [batch, heads, 1, length] of the stream's limited
  // events, summed, and averaged over the heads; no gradient. [batch]
  static Var LimitedMass(ForwardInput& input, const Var& weights, const Streams& streams,
                         const nn::EventStream& stream) {
    const int64_t n = input.batch_size();
    if (stream.rows.empty()) return nn::Constant(input.tape(), std::vector<float>(n));
    if (!weights.valid()) return Var();
    const int64_t heads = weights.shape()[1], length = weights.shape()[3];
    std::vector<float> share(static_cast<size_t>(n * heads * length));
    for (int64_t i = 0; i < n; ++i) {
      const int32_t begin = stream.offsets[static_cast<size_t>(i)];
      for (int32_t r = begin; r < stream.offsets[static_cast<size_t>(i) + 1]; ++r) {
        const int32_t row = stream.rows[static_cast<size_t>(r)];
        if (!streams.is_limited[static_cast<size_t>(row)]) continue;
        for (int64_t h = 0; h < heads; ++h) {
          share[static_cast<size_t>((i * heads + h) * length + r - begin)] =
              1.0f / static_cast<float>(heads);
        }
      }
    }
    const Var counted = nn::Reshape(nn::Constant(input.tape(), share), {n, heads * length});
    return nn::DotRows(nn::Reshape(nn::StopGradient(weights), {n, heads * length}), counted);
  }

  // v (x) (1 + tanh(scale(a))) + shift([sg(v); a]) where `mask` (invalid: everywhere) is 1, else v.
  Var Meta(ForwardInput& input, const Var& items, const Var& sides, const Var& mask) const {
    Var scale = nn::Activate(meta_scale_.Apply(input, sides), Activation::kTanh);
    Var shift = meta_shift_.Apply(input, nn::Concat({nn::StopGradient(items), sides}));
    if (mask.valid()) {
      scale = nn::ScaleRows(scale, mask);
      shift = nn::ScaleRows(shift, mask);
    }
    return nn::Add(nn::Add(items, nn::Multiply(items, scale)), shift);
  }

  // [batch, item | sides]
  Var Candidate(ForwardInput& input, const Streams& streams) const {
    const Var rows = nn::Flatten(input.Lookup(candidate_rows_));
    if (arm_ < Arm::kMeta) return rows;
    const Var items = nn::SliceColumns(rows, 0, dim_);
    const Var sides = nn::SliceColumns(rows, dim_, dim_ * (1 + num_sides_));
    const Var mask = nn::Constant(input.tape(), streams.target);
    return nn::Concat({Meta(input, items, sides, mask), sides});
  }

  // [limited events, item | sides | context]
  Var LimitedRows(ForwardInput& input, const Var& events, const Streams& streams) const {
    const Var rows = nn::SelectRows(events, streams.limited.rows);
    if (arm_ < Arm::kMeta) return rows;
    const Var items = nn::SliceColumns(rows, 0, dim_);
    const Var sides = nn::SliceColumns(rows, dim_, dim_ * (1 + num_sides_));
    return nn::Concat(
        {Meta(input, items, sides, Var()), nn::SliceColumns(rows, dim_, history_.width())});
  }

  // [numeric columns], profile rows, the candidate and its flag.
  std::vector<Var> HeadInputs(ForwardInput& input, const Streams& streams,
                              const Var& candidate) const {
    std::vector<Var> parts;
    if (num_dense_ > 0) parts.push_back(input.Dense());
    if (num_profile_ > 0) parts.push_back(nn::Flatten(input.Lookup(profile_rows_)));
    parts.push_back(candidate);
    parts.push_back(
        nn::Reshape(nn::Constant(input.tape(), streams.target), {input.batch_size(), 1}));
    return parts;
  }

  Var L2Rows(ForwardInput& input) const {
    return l2_ > 0.0 ? input.Lookup(candidate_rows_) : Var();
  }

  // Of the columns that the auxiliary loss reads on the host.
  absl::Status CheckColumns(const Batch& batch) const {
    std::vector<std::string> names = options_.Get<std::vector<std::string>>("history_sides");
    for (size_t k = 0; k < names.size(); ++k) {
      PAGODA_RETURN_IF_ERROR(history_.CheckParallel(batch, other_columns_[k + 1], names[k]));
    }
    return history_.CheckParallel(batch, history_category_,
                                  options_.Get<std::string>("history_category"));
  }

  LimitedEvents EventsOf(const Batch& batch, const nn::EventStream& limited) const {
    LimitedEvents events;
    events.stream = &limited;
    events.items = &batch.sparse[static_cast<size_t>(history_item_)].ids;
    events.categories = &batch.sparse[static_cast<size_t>(history_category_)].ids;
    for (int64_t i = 0; i < batch.size; ++i) {
      const absl::Span<const FeatureId> user = batch.IdsOf(user_, i);
      events.users.push_back(user.empty() ? 0 : user[0]);
    }
    return events;
  }

  absl::StatusOr<AuxiliaryPairs> DrawPairs(const Batch& batch, const Streams& streams,
                                           RandomKey key) const {
    PAGODA_RETURN_IF_ERROR(CheckColumns(batch.Whole()));
    Streams whole;
    if (batch.whole != nullptr) {
      PAGODA_ASSIGN_OR_RETURN(whole, SplitEvents(*batch.whole));
    }
    AuxiliaryInput input;
    input.own = EventsOf(batch, streams.limited);
    input.deep = &streams.deep;
    input.pool = batch.whole == nullptr ? input.own : EventsOf(*batch.whole, whole.limited);
    input.first_sample = batch.first_sample;
    AuxiliarySettings settings;
    settings.events = options_.Get<int64_t>("aux_events");
    settings.negatives = options_.Get<int64_t>("aux_negatives");
    settings.window = options_.Get<int64_t>("aux_window");
    settings.key = key;
    return DrawAuxiliaryPairs(input, settings);
  }

  // NegativesDecl::choose; what is wrong with a batch, Forward says.
  std::vector<int32_t> ChooseOthers(const Batch& batch, RandomKey key) const {
    const absl::StatusOr<Streams> streams = SplitEvents(batch);
    if (!streams.ok()) return {};
    absl::StatusOr<AuxiliaryPairs> pairs = DrawPairs(batch, *streams, key);
    return pairs.ok() ? std::move(pairs->others) : std::vector<int32_t>();
  }

  // v~ of the events compared with.
  Var Others(ForwardInput& input) const {
    std::vector<Var> sides;
    for (size_t k = 1; k < others_.size(); ++k) sides.push_back(input.Negatives(others_[k]).rows);
    return Meta(input, input.Negatives(others_[0]).rows, nn::Concat(sides), Var());
  }

  absl::StatusOr<LossTerm> AuxiliaryLoss(ForwardInput& input, const Streams& streams,
                                         const Var& limited_events, const Var& deep_events) const {
    PAGODA_ASSIGN_OR_RETURN(const AuxiliaryPairs pairs, DrawPairs(input.host().batch, streams,
                                                                  input.Negatives(others_[0]).key));
    const auto mean = [](const Var& rows, const std::vector<int32_t>& chosen,
                         const std::vector<int32_t>& offsets) {
      return nn::SegmentPool(nn::SelectRows(rows, chosen), offsets, SegmentPooling::kMean);
    };
    const auto cost = [&](const Var& users, const Var& items, size_t n, float label, float each) {
      const Var labels = nn::Constant(input.tape(), std::vector<float>(n, label));
      const Var weights = nn::Constant(input.tape(), std::vector<float>(n, each));
      return nn::Sum(nn::SigmoidCrossEntropy(nn::DotRows(users, items), labels, weights));
    };
    const Var before =
        nn::Concat({mean(limited_events, pairs.earlier_limited, pairs.limited_offsets),
                    mean(deep_events, pairs.earlier_deep, pairs.deep_offsets)});
    const Var users = aux_user_.Apply(input, before);
    const Var items = nn::SelectRows(nn::SliceColumns(limited_events, 0, dim_), pairs.terms);
    const Var opposed = nn::SelectRows(users, pairs.other_term);
    const float each = 1.0f / static_cast<float>(options_.Get<int64_t>("aux_negatives"));
    LossTerm loss;
    loss.name = "aux";
    loss.sum = nn::Add(cost(users, items, pairs.terms.size(), 1.0f, 1.0f),
                       cost(opposed, Others(input), pairs.others.size(), 0.0f, each));
    loss.count = static_cast<double>(pairs.terms.size());
    loss.weight = static_cast<float>(options_.Get<double>("gamma"));
    return loss;
  }

  ModelOptions options_;
  Arm arm_ = Arm::kAux;
  int64_t dim_ = 0;
  double l2_ = 0.0;
  int64_t num_sides_ = 0, num_profile_ = 0, num_dense_ = 0;
  // Positions in Batch::sparse.
  int item_ = -1, stock_ = -1, user_ = -1;
  int history_item_ = -1, history_stock_ = -1, history_category_ = -1;
  std::set<FeatureId> limited_ids_;
  LookupHandle candidate_rows_, profile_rows_;
  nn::ParallelHistory history_;
  nn::MultiHeadAttention deep_attention_, limited_attention_;
  nn::LinearLayer deep_match_, limited_match_;
  bool products_ = true;
  MetaNetwork meta_scale_, meta_shift_;
  nn::LinearLayer aux_user_;
  std::vector<NegativesHandle> others_;  // aux: item, then side fields ...
  std::vector<int> other_columns_;       // ... and their positions in Batch::sparse.
  nn::Mlp deep_;
  nn::LinearLayer out_;
};

}  // namespace

ModelInfo MsNetModelInfo() {
  using Names = std::vector<std::string>;
  ModelInfo info;
  info.name = "msnet";
  info.summary = "Limited-stock items: split histories, meta networks, an auxiliary loss.";
  info.options = nn::MlpOptionSpecs();
  info.options.push_back(nn::EmbeddingDimOption());
  info.options.push_back(nn::L2Option());
  const auto add = [&](const char* key, OptionValue value, const char* unit, const char* help) {
    info.options.push_back({key, std::move(value), unit, help});
  };
  add("arm", std::string("aux"), "",
      "What of the method is on: 'din' (one attention), 'split' (two), 'meta' (and the meta "
      "networks), 'aux' (and the auxiliary loss).");
  add("item", std::string("item"), "", "Feature with the candidate's id.");
  add("sides", Names{}, "", "Features with the candidate's side fields.");
  add("stock", std::string("stock"), "", "Feature that tells whether the candidate is limited.");
  add("limited_ids", std::vector<int64_t>{1}, "", "Ids of the stock features that say: limited.");
  add("history_item", std::string("history_item"), "", "Sequence of the events' item ids.");
  add("history_sides", Names{}, "", "Sequences of the events' side fields, in the order of sides.");
  add("history_context", Names{}, "", "Sequences of further fields of an event, such as its age.");
  add("history_stock", std::string("history_stock"), "", "Sequence of the events' stock ids.");
  add("history_category", std::string("history_category"), "",
      "aux: sequence in whose ids negatives agree.");
  add("user", std::string("user"), "", "aux: feature that tells users apart.");
  add("events", int64_t{50}, "events", "Last events of each stream; din has twice as many of all.");
  add("attention_dim", int64_t{32}, "units", "Width of each attention.");
  add("attention_heads", int64_t{2}, "", "Heads of each attention; they divide its width.");
  add("products", true, "", "Also feed the head each attention times a projected candidate.");
  add("meta_hidden", int64_t{64}, "units", "Hidden layer of each meta network.");
  add("gamma", 0.05, "", "Weight of the auxiliary loss.");
  add("aux_events", int64_t{4}, "events", "Limited events of a sample in the auxiliary loss.");
  add("aux_negatives", int64_t{4}, "events", "Other users' events against each of them.");
  add("aux_window", int64_t{10}, "events", "Earlier events of each stream that tell of the user.");
  info.create = [](const ModelOptions& options) { return std::make_unique<MsNet>(options); };
  return info;
}

}  // namespace pagoda
