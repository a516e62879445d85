#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "absl/strings/str_join.h"
#include "algorithms/lrea/low_rank_attention.h"
#include "algorithms/models.h"
#include "algorithms/nn/attention_layers.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"

namespace pagoda {
namespace {

using lrea::EventRows;
using Names = std::vector<std::string>;

// Recencies 0, 1, 2 .. 3, 4 .. 7, ...: an event's age is told in powers of two.
constexpr int64_t kRecencies = 24;
int32_t RecencyOf(int32_t age) {
  int32_t recency = 0;
  for (; age > 0; age /= 2) ++recency;
  return std::min(recency, static_cast<int32_t>(kRecencies) - 1);
}

absl::Status BadOption(const std::string& key, const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat("model option '", key, "' ", problem));
}

// A list of events told by several sequence features of one length, for each distinct row of
// their join, or for each sample.
class Events {
 public:
  static absl::StatusOr<Events> Declare(Declaration& declaration, const FeatureSchema& schema,
                                        const ModelOptions& options, const std::string& key) {
    Events events;
    events.option_ = key;
    events.names_ = options.Get<Names>(key);
    for (const std::string& name : events.names_) {
      const int position = schema.SparseIndex(name);
      const FeatureSpec* const spec =
          position < 0 ? nullptr
                       : &schema.features[static_cast<size_t>(
                             schema.SparseFeatures()[static_cast<size_t>(position)])];
      if (spec == nullptr || !spec->sequence()) {
        return BadOption(key, absl::StrCat("names '", name, "', which is no sequence feature"));
      }
      const TableHandle table = declaration.AddTable(
          {.name = spec->table_name(), .dim = options.Get<int64_t>("embedding_dim")});
      events.positions_.push_back(position);
      events.lookups_.push_back(declaration.AddLookup(
          {.features = {position}, .tables = {table.index}, .sequence = true}));
    }
    return events;
  }

  bool empty() const { return names_.empty(); }
  const std::vector<int>& positions() const { return positions_; }

  //   INVALID_ARGUMENT  the features do not have the same numbers of values
  absl::StatusOr<EventRows> Load(ForwardInput& input) const {
    EventRows events;
    std::vector<Var> fields;
    for (size_t f = 0; f < lookups_.size(); ++f) {
      const ForwardInput::Sequence sequence = input.LookupSequence(lookups_[f]);
      if (f > 0 && *sequence.offsets != events.offsets) {
        return absl::InvalidArgumentError(
            absl::StrCat("feature '", names_[f], "' has other numbers of values than '", names_[0],
                         "', and both are listed in model option '", option_, "'"));
      }
      fields.push_back(sequence.values);
      events.offsets = *sequence.offsets;
      if (sequence.sample_row != nullptr) {
        events.of = *sequence.sample_row;
      } else {
        events.of.resize(static_cast<size_t>(input.batch_size()));
        std::iota(events.of.begin(), events.of.end(), 0);
      }
    }
    events.rows = nn::Concat(fields);
    return events;
  }

 private:
  std::string option_;
  Names names_;
  std::vector<int> positions_;
  std::vector<LookupHandle> lookups_;
};

// Events of each candidate, one after another: places in EventRows::rows.
nn::RaggedRows PerCandidate(const EventRows& events, int64_t last) {
  nn::RaggedRows chosen;
  chosen.offsets = {0};
  for (const int32_t u : events.of) {
    const int32_t begin = events.offsets[static_cast<size_t>(u)];
    const int32_t end = events.offsets[static_cast<size_t>(u) + 1];
    const auto first = static_cast<int32_t>(std::max<int64_t>(begin, end - last));
    for (int32_t p = first; p < end; ++p) chosen.rows.push_back(p);
    chosen.offsets.push_back(static_cast<int32_t>(chosen.rows.size()));
  }
  return chosen;
}

enum class Arm { kLrea, kDinFull, kDinShort, kSimHard, kMean };
constexpr const char* kArmNames[] = {"lrea", "din_full", "din_short", "sim_hard", "mean"};

class Lrea : public Model {
 public:
  explicit Lrea(const ModelOptions& options) : options_(options) {}

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    PAGODA_RETURN_IF_ERROR(nn::RequireSparse(schema, "lrea"));
    PAGODA_ASSIGN_OR_RETURN(const int64_t dim, nn::ParseEmbeddingDim(options_));
    PAGODA_ASSIGN_OR_RETURN(const nn::MlpOptions mlp, nn::ParseMlpOptions(options_));
    PAGODA_ASSIGN_OR_RETURN(l2_, nn::ParseL2(options_));
    PAGODA_RETURN_IF_ERROR(ParseNumbers());
    PAGODA_RETURN_IF_ERROR(DeclareFeatures(schema, declaration, dim));
    const int64_t width = static_cast<int64_t>(candidate_.size()) * dim;
    if (options_.Get<bool>("recency")) {
      recency_ = declaration.AddDense({.name = "recency",
                                       .shape = {kRecencies, width},
                                       .init = InitKind::kNormal,
                                       .init_scale = 0.05f,
                                       .weight_decay = false});
    }
    int64_t inputs = static_cast<int64_t>(schema.DenseFeatures().size()) + width +
                     static_cast<int64_t>(profile_.size()) * dim;
    PAGODA_ASSIGN_OR_RETURN(const std::vector<int64_t> unit,
                            nn::ParseWidths(options_, "din_hidden"));
    const nn::DinOptions din = {.dim = width, .hidden = unit, .activation = mlp.activation};
    short_unit_ = nn::DinUnit::Declare(declaration, "short", din);
    inputs += width;
    if (arm_ == Arm::kLrea) {
      inputs += DeclareLowRank(declaration, width);
    } else if (arm_ == Arm::kDinFull || arm_ == Arm::kSimHard) {
      long_unit_ = nn::DinUnit::Declare(declaration, "long", din);
      inputs += width;
    } else if (arm_ == Arm::kMean) {
      inputs += width;
    }
    deep_ = nn::Mlp::Declare(declaration, "deep", inputs, mlp);
    out_ = nn::LinearLayer::Declare(declaration, "out", {deep_.output_dim(), 1});
    return absl::OkStatus();
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    PAGODA_ASSIGN_OR_RETURN(EventRows events, long_.Load(input));
    events.rows = WithRecency(input, events);
    EventRows recent = events;
    if (!short_.empty()) {
      PAGODA_ASSIGN_OR_RETURN(recent, short_.Load(input));
      recent.rows = WithRecency(input, recent);
    }
    const Var candidates = nn::Flatten(input.Lookup(candidate_rows_));
    std::vector<Var> parts = {candidates, Unit(input, short_unit_, candidates, recent.rows,
                                               PerCandidate(recent, short_length_))};
    if (input.Dense().valid()) parts.push_back(input.Dense());
    if (!profile_.empty()) parts.push_back(nn::Flatten(input.Lookup(profile_rows_)));
    ForwardOutput output = arm_ == Arm::kLrea ? LowRankOutput(input, candidates, events, parts)
                                              : ArmOutput(input, candidates, events, parts);
    nn::AddL2(input, {candidates}, l2_, &output);
    return output;
  }

 private:
  absl::Status ParseNumbers() {
    const std::string& arm = options_.Get<std::string>("attention");
    const auto found = std::find(std::begin(kArmNames), std::end(kArmNames), arm);
    if (found == std::end(kArmNames)) {
      return BadOption("attention", absl::StrCat("is '", arm, "'; it must be one of ",
                                                 absl::StrJoin(kArmNames, ", ")));
    }
    arm_ = static_cast<Arm>(found - std::begin(kArmNames));
    const std::string& projection = options_.Get<std::string>("projection");
    if (projection != "fixed" && projection != "adaptive") {
      return BadOption("projection",
                       absl::StrCat("is '", projection, "'; it must be 'fixed' or 'adaptive'"));
    }
    for (const char* key :
         {"rank", "attention_dim", "value_dim", "length", "short_length", "search_length"}) {
      const int64_t value = options_.Get<int64_t>(key);
      if (value >= 1 && value <= 65536) continue;
      return BadOption(key, absl::StrCat("is ", value, "; it must be in [1, 65536]"));
    }
    if (options_.Get<int64_t>("rank") > options_.Get<int64_t>("length")) {
      return BadOption("rank", absl::StrCat("is ", options_.Get<int64_t>("rank"),
                                            ", above 'length' ", options_.Get<int64_t>("length")));
    }
    short_length_ = options_.Get<int64_t>("short_length");
    relu_train_ = options_.Get<bool>("relu_train");
    const std::string& form = options_.Get<std::string>("non_negativity");
    if (form != "share" && form != "size") {
      return BadOption("non_negativity",
                       absl::StrCat("is '", form, "'; it must be 'share' or 'size'"));
    }
    by_share_ = form == "share";
    lambda_ = options_.Get<double>("lambda");
    if (lambda_ >= 0.0 && std::isfinite(lambda_)) return absl::OkStatus();
    return BadOption("lambda", absl::StrCat("is ", lambda_, "; it must be at least 0"));
  }

  absl::Status DeclareFeatures(const FeatureSchema& schema, Declaration& declaration, int64_t dim) {
    PAGODA_ASSIGN_OR_RETURN(candidate_, FindPooled(schema, "candidate"));
    PAGODA_ASSIGN_OR_RETURN(profile_, FindPooled(schema, "profile"));
    PAGODA_ASSIGN_OR_RETURN(long_, Events::Declare(declaration, schema, options_, "sequence"));
    PAGODA_ASSIGN_OR_RETURN(short_,
                            Events::Declare(declaration, schema, options_, "short_sequence"));
    if (candidate_.empty()) return BadOption("candidate", "names no feature");
    const size_t fields = candidate_.size();
    if (long_.positions().size() != fields ||
        (!short_.empty() && short_.positions().size() != fields)) {
      return BadOption(long_.positions().size() != fields ? "sequence" : "short_sequence",
                       "must have a feature for each of 'candidate', in that order");
    }
    candidate_rows_ = nn::DeclareEmbeddings(declaration, schema, candidate_, {.dim = dim});
    if (!profile_.empty()) {
      profile_rows_ = nn::DeclareEmbeddings(declaration, schema, profile_, {.dim = dim});
    }
    return absl::OkStatus();
  }

  // Positions in Batch::sparse.
  absl::StatusOr<std::vector<int>> FindPooled(const FeatureSchema& schema,
                                              const std::string& key) const {
    std::vector<int> found;
    const std::vector<int> sparse = schema.SparseFeatures();
    for (const std::string& name : options_.Get<Names>(key)) {
      const int position = schema.SparseIndex(name);
      if (position >= 0) {
        const int at = sparse[static_cast<size_t>(position)];
        if (!schema.features[static_cast<size_t>(at)].sequence()) {
          found.push_back(position);
          continue;
        }
      }
      return BadOption(key, absl::StrCat("names '", name, "', which is no pooled feature"));
    }
    return found;
  }

  // Returns its width.
  int64_t DeclareLowRank(Declaration& declaration, int64_t width) {
    const int64_t value_width = options_.Get<int64_t>("value_dim");
    const bool fixed = options_.Get<std::string>("projection") == "fixed";
    low_rank_ = lrea::LowRankAttention::Declare(
        declaration, "lrea",
        {.candidate_dim = width,
         .event_dim = width,
         .width = options_.Get<int64_t>("attention_dim"),
         .value_width = value_width,
         .rank = options_.Get<int64_t>("rank"),
         .length = options_.Get<int64_t>("length"),
         .projection = fixed ? lrea::Projection::kFixed : lrea::Projection::kAdaptive});
    const auto vector = [&](const char* name, InitKind init) {
      return declaration.AddDense(
          {.name = name, .shape = {value_width}, .init = init, .weight_decay = false});
    };
    // The long history starts with no say and gets as much as it proves useful (ours).
    gamma_ = vector("lrea.norm.gamma", InitKind::kZeros);
    beta_ = vector("lrea.norm.beta", InitKind::kZeros);
    return value_width;
  }

  Var WithRecency(ForwardInput& input, const EventRows& events) const {
    if (recency_.index < 0) return events.rows;
    std::vector<int32_t> ages;
    for (size_t u = 0; u + 1 < events.offsets.size(); ++u) {
      const int32_t end = events.offsets[u + 1];
      for (int32_t p = events.offsets[u]; p < end; ++p) ages.push_back(RecencyOf(end - 1 - p));
    }
    return nn::Add(events.rows, nn::SelectRows(input.Parameter(recency_), ages));
  }

  static nn::SequenceLayout LayoutOf(ForwardInput& input, const nn::RaggedRows& chosen) {
    return nn::SequenceLayout(input.tape(), chosen.offsets, input.host().batch.first_sample);
  }

  Var Unit(ForwardInput& input, const nn::DinUnit& unit, const Var& candidates, const Var& rows,
           const nn::RaggedRows& chosen) const {
    const Var events = nn::SelectRows(rows, chosen.rows);
    return unit.Apply(input, candidates, events, events, LayoutOf(input, chosen)).output;
  }

  // The last events of the candidate's own value of the last feature (SIM's hard search).
  nn::RaggedRows Search(ForwardInput& input, const EventRows& events) const {
    const Batch& batch = input.host().batch;
    const std::vector<FeatureId>& ids =
        batch.sparse[static_cast<size_t>(long_.positions().back())].ids;
    const int64_t most = options_.Get<int64_t>("search_length");
    nn::RaggedRows chosen;
    chosen.offsets = {0};
    for (size_t i = 0; i < events.of.size(); ++i) {
      const auto own = batch.IdsOf(candidate_.back(), static_cast<int64_t>(i));
      const auto u = static_cast<size_t>(events.of[i]);
      const auto first = static_cast<std::ptrdiff_t>(chosen.rows.size());
      for (int32_t p = events.offsets[u + 1] - 1; p >= events.offsets[u]; --p) {
        if (static_cast<int64_t>(chosen.rows.size()) - first >= most) break;
        const FeatureId id = ids[static_cast<size_t>(p)];
        if (std::find(own.begin(), own.end(), id) != own.end()) chosen.rows.push_back(p);
      }
      std::reverse(chosen.rows.begin() + first, chosen.rows.end());
      chosen.offsets.push_back(static_cast<int32_t>(chosen.rows.size()));
    }
    return chosen;
  }

  ForwardOutput ArmOutput(ForwardInput& input, const Var& candidates, const EventRows& events,
                          std::vector<Var> parts) const {
    constexpr int64_t kAll = std::numeric_limits<int32_t>::max();
    if (arm_ == Arm::kDinFull) {
      parts.push_back(Unit(input, long_unit_, candidates, events.rows, PerCandidate(events, kAll)));
    } else if (arm_ == Arm::kSimHard) {
      parts.push_back(Unit(input, long_unit_, candidates, events.rows, Search(input, events)));
    } else if (arm_ == Arm::kMean) {
      const Var means = nn::SegmentPool(events.rows, events.offsets, SegmentPooling::kMean);
      parts.push_back(nn::SelectRows(means, events.of));
    }
    return nn::BinaryOutput(input, Logits(input, parts));
  }

  ForwardOutput LowRankOutput(ForwardInput& input, const Var& candidates, const EventRows& events,
                              const std::vector<Var>& parts) const {
    const lrea::LowRankAttention::Result attention = low_rank_.Apply(input, candidates, events);
    const auto logits = [&](const Var& attended) {
      std::vector<Var> all = parts;
      all.push_back(nn::LayerNorm(attended, input.Parameter(gamma_), input.Parameter(beta_)));
      return Logits(input, all);
    };
    const Var& trained = relu_train_ ? attention.rectified : attention.linear;
    ForwardOutput output =
        nn::BinaryOutput(input, logits(input.training() ? trained : attention.linear));
    output.outputs.push_back(
        {"train_path", input.training() ? output.prediction : nn::Sigmoid(logits(trained))});
    output.outputs.push_back({"negative_mass", attention.negative_mass});
    output.outputs.push_back({"attention_mass", attention.mass});
    if (!input.training() || lambda_ == 0.0) return output;
    const Var weights = input.Weights();
    LossTerm loss;
    loss.name = "non_negativity";
    const Var& below = by_share_ ? attention.negative_share : attention.negativity;
    loss.sum = nn::Sum(weights.valid() ? nn::Multiply(below, weights) : below);
    loss.count = nn::WeightSum(input.host().batch);
    loss.weight = static_cast<float>(lambda_);
    output.losses.push_back(loss);
    return output;
  }

  Var Logits(ForwardInput& input, const std::vector<Var>& parts) const {
    const Var hidden = deep_.Apply(input, nn::Concat(parts));
    return nn::Reshape(out_.Apply(input, hidden), {input.batch_size()});
  }

  ModelOptions options_;
  Arm arm_ = Arm::kLrea;
  double l2_ = 0.0, lambda_ = 0.0;
  bool relu_train_ = true, by_share_ = true;
  int64_t short_length_ = 0;
  std::vector<int> candidate_, profile_;
  Events long_, short_;
  LookupHandle candidate_rows_, profile_rows_;
  DenseHandle recency_, gamma_, beta_;  // recency_.index < 0: none
  lrea::LowRankAttention low_rank_;
  nn::DinUnit short_unit_, long_unit_;
  nn::Mlp deep_;
  nn::LinearLayer out_;
};

}  // namespace

ModelInfo LreaModelInfo() {
  ModelInfo info;
  info.name = "lrea";
  info.summary = "Target attention over long sequences through low-rank projections.";
  info.options = nn::MlpOptionSpecs();
  info.options.push_back(nn::EmbeddingDimOption());
  info.options.push_back(nn::L2Option());
  info.options.push_back({"candidate", Names{}, "", "Features of the candidate: item, category."});
  info.options.push_back({"sequence", Names{}, "",
                          "Sequence features of the long history, one for each of 'candidate'."});
  info.options.push_back({"short_sequence", Names{}, "",
                          "The same of the short history; empty: the last events of 'sequence'."});
  info.options.push_back({"profile", Names{}, "", "Further features: user and context."});
  info.options.push_back({"attention", std::string("lrea"), "",
                          "What reads the long history: lrea, din_full, din_short (nothing), "
                          "sim_hard (events of the candidate's last feature), mean."});
  info.options.push_back({"projection", std::string("fixed"), "",
                          "fixed: by recency; adaptive: by what the events are."});
  info.options.push_back({"rank", int64_t{32}, "", "Compressed events of a sequence."});
  info.options.push_back({"length", int64_t{1024}, "events", "The last so many events count."});
  info.options.push_back({"short_length", int64_t{50}, "events", "Of the short history."});
  info.options.push_back({"search_length", int64_t{50}, "events", "What sim_hard finds at most."});
  info.options.push_back({"attention_dim", int64_t{64}, "columns", "Of queries and keys."});
  info.options.push_back(
      {"value_dim", int64_t{64}, "columns", "Of values, and of what is attended."});
  info.options.push_back(
      {"din_hidden", std::vector<int64_t>{80, 40}, "units", "Hidden layers of DIN's units."});
  info.options.push_back(
      {"recency", true, "", "Events carry a learned vector of their age, in powers of two."});
  info.options.push_back({"relu_train", true, "", "Training takes max(0, weight) of an event."});
  info.options.push_back({"non_negativity", std::string("share"), "",
                          "Loss on negative weights: share, of their squares in all squares; size, "
                          "the mean square, which smaller weights meet as well."});
  info.options.push_back({"lambda", 1.0, "", "Weight of the loss on negative attention weights."});
  info.create = [](const ModelOptions& options) { return std::make_unique<Lrea>(options); };
  return info;
}

}  // namespace pagoda
