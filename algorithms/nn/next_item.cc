#include "algorithms/nn/next_item.h"

#include <algorithm>
#include <cmath>

#include "absl/container/flat_hash_set.h"
#include "algorithms/nn/ops.h"

namespace pagoda::nn {
namespace {

// A limit of a batch's drawn items, far above use: positions are 32-bit numbers.
constexpr int64_t kNegativesMax = int64_t{1} << 20;

absl::Status Refuse(const std::string& key, const std::string& found, const std::string& wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat("model option '", key, "' is ", found, "; it must be ", wanted));
}

const FeatureSpec& SpecOf(const FeatureSchema& schema, int feature) {
  const int position = schema.SparseFeatures()[static_cast<size_t>(feature)];
  return schema.features[static_cast<size_t>(position)];
}

}  // namespace

std::vector<OptionSpec> HistoryAndItemOptions() {
  return {{"history", std::string("history"), "", "Name of the feature with the items so far."},
          {"item", std::string("item"), "",
           "Name of the feature with the item that followed; its table is the history's."}};
}

absl::StatusOr<int> FindHistory(const FeatureSchema& schema, const std::string& name,
                                const std::string& option) {
  const int feature = schema.SparseIndex(name);
  if (feature < 0) {
    return absl::InvalidArgumentError(absl::StrCat("model option '", option, "' names '", name,
                                                   "', which is not a feature with ids"));
  }
  if (!SpecOf(schema, feature).sequence()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model option '", option, "' names '", name,
        "', which is not a sequence; give the feature `last`, the number of events to keep"));
  }
  return feature;
}

absl::StatusOr<HistoryAndItem> FindHistoryAndItem(const FeatureSchema& schema,
                                                  const ModelOptions& options) {
  HistoryAndItem found;
  PAGODA_ASSIGN_OR_RETURN(found.history,
                          FindHistory(schema, options.Get<std::string>("history"), "history"));
  const auto& item = options.Get<std::string>("item");
  found.item = schema.SparseIndex(item);
  if (found.item < 0 || SpecOf(schema, found.item).sequence()) {
    return absl::InvalidArgumentError(
        absl::StrCat("model option 'item' names '", item, "', which is not a feature with one id"));
  }
  const FeatureSpec& history = SpecOf(schema, found.history);
  found.table = history.table_name();
  found.last = history.last;
  if (SpecOf(schema, found.item).table_name() == found.table) return found;
  return absl::InvalidArgumentError(absl::StrCat(
      "features '", history.name, "' and '", item, "' have their rows in tables '", found.table,
      "' and '", SpecOf(schema, found.item).table_name(), "'; give them one `table`"));
}

Events LookupEvents(ForwardInput& input, LookupHandle lookup) {
  const ForwardInput::Sequence sequence = input.LookupSequence(lookup);
  if (sequence.sample_row == nullptr) return {sequence.values, *sequence.offsets};
  Events events;
  events.offsets = {0};
  std::vector<int32_t> rows;
  for (int32_t row : *sequence.sample_row) {
    const auto r = static_cast<size_t>(row);
    for (int32_t p = (*sequence.offsets)[r]; p < (*sequence.offsets)[r + 1]; ++p) rows.push_back(p);
    events.offsets.push_back(static_cast<int32_t>(rows.size()));
  }
  events.values = SelectRows(sequence.values, rows);
  return events;
}

absl::StatusOr<NextItems> FindNextItems(const FeatureSchema& schema, const Batch& batch,
                                        int history, int item) {
  NextItems next;
  const bool labelled = !schema.label.empty() && !batch.labels.empty();
  int32_t num_events = 0;
  for (int64_t i = 0; i < batch.size; ++i) {
    num_events += static_cast<int32_t>(batch.IdsOf(history, i).size());
  }
  for (int64_t i = 0; i < batch.size; ++i) {
    const auto s = static_cast<size_t>(i);
    const auto events = batch.IdsOf(history, i);
    const auto items = batch.IdsOf(item, i);
    if (items.size() > 1) {
      return absl::InvalidArgumentError(absl::StrCat("a sample has ", items.size(), " items (",
                                                     batch.OriginRange(),
                                                     "); a model of the next item needs one"));
    }
    const bool taken = !items.empty() && (!labelled || batch.labels[s] > 0.0f);
    const float weight = batch.weights.empty() ? 1.0f : batch.weights[s];
    for (size_t t = 0; t < events.size(); ++t) {
      const bool inside = t + 1 < events.size();
      const auto here = static_cast<int32_t>(next.ids.size());
      next.rows.push_back(inside ? here + 1 : taken ? num_events + static_cast<int32_t>(i) : -1);
      next.ids.push_back(inside ? events[t + 1] : taken ? items[0] : FeatureId{0});
      next.weights.push_back(inside || taken ? weight : 0.0f);
      next.sample.push_back(static_cast<int32_t>(i));
      next.count += double{next.weights.back()};
    }
  }
  return next;
}

Var NextItems::Select(const Var& events, const Var& items) const {
  return SelectRows(ConcatRows({events, items}), rows);
}

std::vector<OptionSpec> NextItemLoss::Options(const std::vector<OptionSpec>& defaults) {
  std::vector<OptionSpec> all = {
      {"loss", std::string("softmax"), "",
       "Over drawn items: 'softmax', or 'bce', a yes or no for each."},
      {"negatives", int64_t{512}, "items", "Drawn for each event, sample or batch to tell from."},
      {"negatives_scope", std::string("batch"), "",
       "Who shares drawn items: the events of a 'batch', of a 'sample', or none: 'position'."},
      {"sampler", std::string("uniform"), "",
       "Items are drawn 'uniform' or by 'popularity' in the training data."},
      {"log_q", false, "", "Softmax: take the log of the probability to be drawn off the logits."},
      {"temperature", 1.0, "", "Scores are divided by this in the loss."},
      {"num_items", int64_t{0}, "items",
       "Items are drawn from the ids 1 to this; 0: from the item file."}};
  for (OptionSpec& spec : all) {
    for (const OptionSpec& given : defaults) {
      if (given.key == spec.key) spec.default_value = given.default_value;
    }
  }
  return all;
}

absl::StatusOr<NextItemLoss> NextItemLoss::Declare(Declaration& declaration,
                                                   const ModelOptions& options, Settings settings) {
  NextItemLoss loss;
  loss.settings_ = std::move(settings);
  const auto& kind = options.Get<std::string>("loss");
  if (kind != "softmax" && kind != "bce") return Refuse("loss", kind, "'softmax' or 'bce'");
  loss.softmax_ = kind == "softmax";
  loss.log_q_ = options.Get<bool>("log_q");
  if (loss.log_q_ && !loss.softmax_) return Refuse("log_q", "true", "false where loss is 'bce'");
  const double temperature = options.Get<double>("temperature");
  if (!(temperature > 0.0 && std::isfinite(temperature))) {
    return Refuse("temperature", absl::StrCat(temperature), "above 0");
  }
  loss.temperature_ = static_cast<float>(temperature);
  const auto& scope = options.Get<std::string>("negatives_scope");
  const auto& sampler = options.Get<std::string>("sampler");
  if (scope != "batch" && scope != "sample" && scope != "position") {
    return Refuse("negatives_scope", scope, "'batch', 'sample' or 'position'");
  }
  if (sampler != "uniform" && sampler != "popularity") {
    return Refuse("sampler", sampler, "'uniform' or 'popularity'");
  }
  loss.scope_ = scope == "batch"    ? Scope::kBatch
                : scope == "sample" ? Scope::kSample
                                    : Scope::kPosition;
  loss.count_ = options.Get<int64_t>("negatives");
  const int64_t drawn =
      loss.count_ * (loss.scope_ == Scope::kPosition ? loss.settings_.features.last : 1);
  if (loss.count_ < 1 || loss.count_ > kNegativesMax || drawn > kNegativesMax) {
    return Refuse("negatives", absl::StrCat(loss.count_), "at least 1 and 2^20 a draw at most");
  }
  const int64_t num_items = options.Get<int64_t>("num_items");
  if (num_items < 0) return Refuse("num_items", absl::StrCat(num_items), "at least 0");
  NegativesDecl negatives;
  negatives.feature = loss.settings_.features.item;
  negatives.table = loss.settings_.table.index;
  negatives.count = drawn;
  negatives.scope = loss.scope_ == Scope::kBatch ? NegativeScope::kBatch : NegativeScope::kSample;
  negatives.sampler =
      sampler == "uniform" ? NegativeSampler::kUniform : NegativeSampler::kPopularity;
  negatives.num_items = num_items;
  loss.negatives_ = declaration.AddNegatives(std::move(negatives));
  return loss;
}

size_t NextItemLoss::PlaceOf(size_t event, int64_t j, const std::vector<int32_t>& offsets,
                             const NextItems& next) const {
  const auto place = static_cast<size_t>(j);
  if (scope_ == Scope::kBatch) return place;
  const auto sample = static_cast<size_t>(next.sample[event]);
  const auto count = static_cast<size_t>(count_);
  if (scope_ == Scope::kSample) return sample * count + place;
  const size_t position = event - static_cast<size_t>(offsets[sample]);
  return (sample * static_cast<size_t>(settings_.features.last) + position) * count + place;
}

// [events, count_]: the states' products with their drawn items' rows.
Var NextItemLoss::Score(ForwardInput& input, const Var& states, const std::vector<int32_t>& offsets,
                        const NextItems& next) const {
  Var rows = input.Negatives(negatives_).rows;
  if (settings_.cosine) rows = L2Normalize(rows);
  if (scope_ == Scope::kBatch) return MatMul(states, rows, {.a = false, .b = true});
  if (!states.valid() || !rows.valid()) return Var();
  const int64_t dim = states.shape()[1];
  if (scope_ == Scope::kSample) {
    int32_t length = 1;
    for (size_t i = 0; i + 1 < offsets.size(); ++i) {
      length = std::max(length, offsets[i + 1] - offsets[i]);
    }
    const Var blocks = Reshape(rows, {input.batch_size(), count_, dim});
    const Var scores =
        BatchMatMul(PadSequences(states, offsets, length), blocks, {.a = false, .b = true});
    return UnpadSequences(scores, offsets);
  }
  std::vector<int32_t> drawn, events;
  for (size_t e = 0; e < next.ids.size(); ++e) {
    for (int64_t j = 0; j < count_; ++j) {
      drawn.push_back(static_cast<int32_t>(PlaceOf(e, j, offsets, next)));
      events.push_back(static_cast<int32_t>(e));
    }
  }
  const Var products = DotRows(SelectRows(states, events), SelectRows(rows, drawn));
  return Reshape(products, {static_cast<int64_t>(next.ids.size()), count_});
}

Var NextItemLoss::Softmax(ForwardInput& input, const Var& positive, const Var& scores,
                          const std::vector<int32_t>& offsets, const NextItems& next) const {
  const ForwardInput::NegativeRows negatives = input.Negatives(negatives_);
  if (negatives.ids == nullptr) return Var();
  SampledCandidates candidates;
  candidates.positive_ids = next.ids;
  const auto spread = [&](const auto& values, auto& out) {
    if (scope_ == Scope::kBatch) {
      out.assign(values.begin(), values.end());
      return;
    }
    out.reserve(next.ids.size() * static_cast<size_t>(count_));
    for (size_t e = 0; e < next.ids.size(); ++e) {
      for (int64_t j = 0; j < count_; ++j) out.push_back(values[PlaceOf(e, j, offsets, next)]);
    }
  };
  spread(*negatives.ids, candidates.negative_ids);
  if (log_q_ && negatives.catalogue != nullptr) {
    spread(*negatives.log_q, candidates.negative_log_q);
    for (FeatureId id : next.ids) {
      // An item that is never drawn, or none at all, is left as it is.
      const float log_q = negatives.catalogue->LogQ(id);
      candidates.positive_log_q.push_back(std::isfinite(log_q) ? log_q : 0.0f);
    }
  }
  const Var logits = SampledSoftmaxLogits(positive, scores, candidates, temperature_);
  std::vector<int32_t> targets;
  for (int32_t row : next.rows) targets.push_back(row < 0 ? -1 : 0);
  return SoftmaxCrossEntropy(logits, targets, Constant(input.tape(), next.weights));
}

Var NextItemLoss::Bce(ForwardInput& input, const Var& positive, const Var& scores,
                      const std::vector<int32_t>& offsets, const NextItems& next) const {
  const ForwardInput::NegativeRows negatives = input.Negatives(negatives_);
  if (negatives.ids == nullptr || !scores.valid()) return Var();
  const Batch& batch = input.host().batch;
  std::vector<float> weights;
  absl::flat_hash_set<FeatureId> own;
  for (size_t e = 0; e < next.ids.size(); ++e) {
    if (e == 0 || next.sample[e] != next.sample[e - 1]) {
      own.clear();
      for (int feature : {settings_.features.history, settings_.features.item}) {
        const auto ids = batch.IdsOf(feature, next.sample[e]);
        own.insert(ids.begin(), ids.end());
      }
    }
    for (int64_t j = 0; j < count_; ++j) {
      const FeatureId id = (*negatives.ids)[PlaceOf(e, j, offsets, next)];
      weights.push_back(own.contains(id) ? 0.0f : next.weights[e]);
    }
  }
  Tape& tape = input.tape();
  const auto constant = [&](size_t size, float value) {
    return Constant(tape, std::vector<float>(size, value));
  };
  const float scale = 1.0f / temperature_;
  const Var yes = SigmoidCrossEntropy(Scale(positive, scale), constant(next.ids.size(), 1.0f),
                                      Constant(tape, next.weights));
  const Var flat = Reshape(scores, {static_cast<int64_t>(weights.size())});
  const Var no = SigmoidCrossEntropy(Scale(flat, scale), constant(weights.size(), 0.0f),
                                     Constant(tape, weights));
  return Add(Sum(yes), Sum(no));
}

LossTerm NextItemLoss::Apply(ForwardInput& input, const Var& states, const Var& following,
                             const std::vector<int32_t>& offsets, const NextItems& next) const {
  const Var g = settings_.cosine ? L2Normalize(states) : states;
  const Var p = settings_.cosine ? L2Normalize(following) : following;
  const Var positive = DotRows(g, p);
  const Var scores = Score(input, g, offsets, next);
  LossTerm loss;
  loss.name = "next_item";
  loss.count = next.count;
  loss.sum = softmax_ ? Sum(Softmax(input, positive, scores, offsets, next))
                      : Bce(input, positive, scores, offsets, next);
  return loss;
}

}  // namespace pagoda::nn
