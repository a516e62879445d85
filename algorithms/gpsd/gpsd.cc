#include "algorithms/models.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/next_item.h"
#include "algorithms/nn/ops.h"
#include "algorithms/nn/transformer_options.h"
#include "base/hash.h"

namespace pagoda {
namespace {

constexpr double kInitStddev = 0.02;  // Of every weight, as in the published code.

class Gpsd : public Model {
 public:
  explicit Gpsd(const ModelOptions& options) : options_(options) {}
  bool retrieval() const override { return options_.Get<std::string>("task") == "generate"; }
  bool rows_without_label() const override { return true; }

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    schema_ = schema;
    PAGODA_RETURN_IF_ERROR(ReadOptions(schema));
    table_ = declaration.AddTable({.name = features_.table, .dim = dim_});
    history_ = declaration.AddLookup(
        {.features = {features_.history}, .tables = {table_.index}, .sequence = true});
    item_ = declaration.AddLookup({.features = {features_.item}, .tables = {table_.index}});
    size_t first = declaration.dense.size();
    DeclareInputs(declaration);
    first = Group(declaration, first, "inputs");
    DeclareTransformer(declaration);
    first = Group(declaration, first, "transformer");
    if (!retrieval()) {
      DeclareRankHead(declaration);
      Group(declaration, first, "head");
      return absl::OkStatus();
    }
    if (dim_ != width_) {
      out_ = Linear(declaration, "out", {width_, dim_}, false);
      out_norm_ = nn::NormLayer::Declare(declaration, "out.norm", dim_, nn::NormKind::kRms);
    }
    Group(declaration, first, "generate");
    PAGODA_ASSIGN_OR_RETURN(
        loss_, nn::NextItemLoss::Declare(declaration, options_,
                                         {.features = features_, .table = table_, .cosine = true}));
    return absl::OkStatus();
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    PAGODA_RETURN_IF_ERROR(CheckCategories(input.host().batch));
    return retrieval() ? Generate(input) : Rank(input);
  }

 private:
  absl::Status ReadOptions(const FeatureSchema& schema) {
    const auto& task = options_.Get<std::string>("task");
    if (task != "generate" && task != "rank") {
      return absl::InvalidArgumentError(
          absl::StrCat("model option 'task' is '", task, "'; it must be 'generate' or 'rank'"));
    }
    const auto& head = options_.Get<std::string>("head");
    if (head != "mlp" && head != "linear") {
      return absl::InvalidArgumentError(
          absl::StrCat("model option 'head' is '", head, "'; it must be 'mlp' or 'linear'"));
    }
    PAGODA_ASSIGN_OR_RETURN(features_, nn::FindHistoryAndItem(schema, options_));
    PAGODA_ASSIGN_OR_RETURN(dim_, nn::ParseEmbeddingDim(options_));
    width_ = options_.Get<int64_t>("width");
    if (width_ < 0 || width_ > kWidthMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("model option 'width' is ", width_, "; it must be in [0, ", kWidthMax, "]"));
    }
    if (width_ == 0) width_ = dim_;
    PAGODA_ASSIGN_OR_RETURN(blocks_options_, nn::ParseTransformerOptions(
                                                 options_, nn::TransformerStyle::kGpsd, width_));
    blocks_options_.init_stddev = kInitStddev;
    return FindCategories(schema);
  }

  absl::Status FindCategories(const FeatureSchema& schema) {
    num_categories_ = options_.Get<int64_t>("num_categories");
    if (num_categories_ == 0) return absl::OkStatus();
    if (num_categories_ < 0 || num_categories_ > kCategoriesMax) {
      return absl::InvalidArgumentError(absl::StrCat("model option 'num_categories' is ",
                                                     num_categories_, "; it must be in [0, ",
                                                     kCategoriesMax, "]"));
    }
    PAGODA_ASSIGN_OR_RETURN(categories_,
                            nn::FindHistory(schema, options_.Get<std::string>("history_categories"),
                                            "history_categories"));
    const auto& name = options_.Get<std::string>("category");
    category_ = schema.SparseIndex(name);
    if (category_ >= 0) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("model option 'category' names '", name,
                                                   "', which is not a feature with ids"));
  }

  // Puts parameters from `first` on into a group; the number of parameters.
  static size_t Group(Declaration& declaration, size_t first, const std::string& group) {
    for (size_t i = first; i < declaration.dense.size(); ++i) declaration.dense[i].group = group;
    return declaration.dense.size();
  }
  static nn::LinearLayer Linear(Declaration& declaration, const std::string& name,
                                nn::LinearShape shape, bool bias) {
    return nn::LinearLayer::Declare(declaration, name, shape, bias, kInitStddev);
  }
  static DenseHandle Table(Declaration& declaration, const std::string& name, Shape shape) {
    return declaration.AddDense({.name = name + ".weight",
                                 .shape = std::move(shape),
                                 .init = InitKind::kNormal,
                                 .init_scale = static_cast<float>(kInitStddev)});
  }

  void DeclareInputs(Declaration& declaration) {
    segment_rows_ = Table(declaration, "segment", {2, dim_});
    if (num_categories_ > 0) {
      category_rows_ = Table(declaration, "category", {num_categories_, dim_});
    }
  }

  void DeclareTransformer(Declaration& declaration) {
    if (dim_ != width_) {
      in_norm_ = nn::NormLayer::Declare(declaration, "in.norm", dim_, nn::NormKind::kRms);
      in_ = Linear(declaration, "in", {dim_, width_}, false);
    }
    blocks_ = nn::TransformerStack::Declare(declaration, "blocks", blocks_options_);
  }

  void DeclareRankHead(Declaration& declaration) {
    mlp_head_ = options_.Get<std::string>("head") == "mlp";
    const int64_t hidden = mlp_head_ ? 4 * width_ : width_;
    if (mlp_head_) hidden_ = Linear(declaration, "head.hidden", {width_, hidden}, true);
    logit_ = Linear(declaration, "head.logit", {hidden, 1}, true);
  }

  // Every history has as many categories as items; ids are rows of the category table.
  absl::Status CheckCategories(const Batch& batch) const {
    if (num_categories_ == 0) return absl::OkStatus();
    for (int64_t i = 0; i < batch.size; ++i) {
      const size_t items = batch.IdsOf(features_.history, i).size();
      const auto categories = batch.IdsOf(categories_, i);
      if (categories.size() != items) {
        return absl::InvalidArgumentError(absl::StrCat("a history has ", items, " items and ",
                                                       categories.size(), " categories (",
                                                       batch.OriginRange(), ")"));
      }
      for (const auto& ids : {categories, batch.IdsOf(category_, i)}) {
        for (FeatureId id : ids) {
          if (id < static_cast<FeatureId>(num_categories_)) continue;
          return absl::InvalidArgumentError(
              absl::StrCat("category ", id, " is not below num_categories = ", num_categories_,
                           " (", batch.OriginRange(), ")"));
        }
      }
    }
    return absl::OkStatus();
  }

  // The category that comes with an item of a sample; -1: none is known.
  int32_t CategoryOf(const Batch& batch, int64_t sample) const {
    const auto ids = batch.IdsOf(category_, sample);
    return ids.size() == 1 ? static_cast<int32_t>(ids[0]) : -1;
  }

  Var Inputs(ForwardInput& input, const Var& items, bool with_candidate) const {
    const Batch& batch = input.host().batch;
    std::vector<int32_t> segments, categories;
    for (int64_t i = 0; i < batch.size; ++i) {
      const size_t events = batch.IdsOf(features_.history, i).size();
      segments.insert(segments.end(), events, 0);
      if (with_candidate) segments.push_back(1);
      if (num_categories_ == 0) continue;
      for (FeatureId id : batch.IdsOf(categories_, i)) {
        categories.push_back(static_cast<int32_t>(id));
      }
      if (with_candidate) categories.push_back(CategoryOf(batch, i));
    }
    const Var x = nn::Add(items, nn::SelectRows(input.Parameter(segment_rows_), segments));
    if (num_categories_ == 0) return x;
    return nn::Add(x, nn::SelectRows(input.Parameter(category_rows_), categories));
  }

  // The Transformer over `x`: z of every row, or of each sequence's last one.
  enum class Rows { kAll, kLast };
  Var Transform(ForwardInput& input, const Var& x, const nn::SequenceLayout& layout,
                Rows rows) const {
    Var h = x;
    if (dim_ != width_) h = in_.Apply(input, in_norm_.Apply(input, x));
    h = nn::DropoutPositions(input, h, layout, blocks_options_.dropout, HashBytes("gpsd.input"));
    return rows == Rows::kAll ? blocks_.Apply(input, h, layout)
                              : blocks_.ApplyLast(input, h, layout);
  }

  absl::StatusOr<ForwardOutput> Generate(ForwardInput& input) const {
    const Batch& batch = input.host().batch;
    PAGODA_ASSIGN_OR_RETURN(const nn::NextItems next,
                            nn::FindNextItems(schema_, batch, features_.history, features_.item));
    const nn::Events events = nn::LookupEvents(input, history_);
    const Var items = nn::Reshape(input.Lookup(item_), {input.batch_size(), dim_});
    const nn::SequenceLayout layout(input.tape(), events.offsets, batch.first_sample);
    const Rows rows = input.training() ? Rows::kAll : Rows::kLast;
    Var g = Transform(input, Inputs(input, events.values, false), layout, rows);
    if (dim_ != width_) g = out_norm_.Apply(input, out_.Apply(input, g));
    ForwardOutput output;
    output.user = nn::L2Normalize(rows == Rows::kLast ? g : nn::SelectRows(g, layout.LastRows()));
    output.item = nn::L2Normalize(items);
    if (!input.training()) return output;
    const Var following = next.Select(events.values, items);
    output.losses.push_back(loss_.Apply(input, g, following, events.offsets, next));
    if (num_categories_ > 0) output.losses.push_back(CategoryLoss(input, g, next));
    return output;
  }

  // Full softmax over the categories of what follows.
  LossTerm CategoryLoss(ForwardInput& input, const Var& g, const nn::NextItems& next) const {
    const Batch& batch = input.host().batch;
    std::vector<int32_t> targets;
    LossTerm loss;
    loss.name = "next_category";
    for (int64_t i = 0; i < batch.size; ++i) {
      const auto ids = batch.IdsOf(categories_, i);
      for (size_t t = 0; t < ids.size(); ++t) {
        const size_t event = targets.size();
        int32_t target = -1;
        if (t + 1 < ids.size()) {
          target = static_cast<int32_t>(ids[t + 1]);
        } else if (next.rows[event] >= 0) {
          target = CategoryOf(batch, i);
        }
        targets.push_back(target);
        if (target >= 0) loss.count += double{next.weights[event]};
      }
    }
    const Var scores =
        nn::MatMul(nn::L2Normalize(g), nn::L2Normalize(input.Parameter(category_rows_)),
                   {.a = false, .b = true});
    const auto temperature = static_cast<float>(options_.Get<double>("temperature"));
    loss.sum = nn::Sum(nn::SoftmaxCrossEntropy(nn::Scale(scores, 1.0f / temperature), targets,
                                               nn::Constant(input.tape(), next.weights)));
    return loss;
  }

  absl::StatusOr<ForwardOutput> Rank(ForwardInput& input) const {
    const Batch& batch = input.host().batch;
    const nn::Events events = nn::LookupEvents(input, history_);
    const Var candidates = nn::Reshape(input.Lookup(item_), {input.batch_size(), dim_});
    const nn::RaggedRows rows = nn::AppendRows(events.offsets);
    const Var items = nn::TakeRows(nn::ConcatRows({events.values, candidates}), rows.rows);
    const nn::SequenceLayout layout(input.tape(), rows.offsets, batch.first_sample);
    Var head = Transform(input, Inputs(input, items, true), layout, Rows::kLast);
    if (mlp_head_) head = hidden_.Apply(input, head, Activation::kRelu);
    const Var logits = nn::Reshape(logit_.Apply(input, head), {input.batch_size()});
    return RankOutput(input, logits);
  }

  // As nn::BinaryOutput, over the rows whose label is 0 or 1.
  static ForwardOutput RankOutput(ForwardInput& input, const Var& logits) {
    const Batch& batch = input.host().batch;
    const Var labels = input.Labels();
    ForwardOutput output;
    output.prediction = nn::Sigmoid(logits);
    if (!labels.valid()) return output;
    LossTerm loss;
    loss.name = "log_loss";
    std::vector<float> weights;
    for (size_t i = 0; i < batch.labels.size(); ++i) {
      const bool unlabelled = batch.labels[i] == kNoLabel;
      weights.push_back(unlabelled ? 0.0f : batch.weights.empty() ? 1.0f : batch.weights[i]);
      loss.count += double{weights.back()};
    }
    loss.sum =
        nn::Sum(nn::SigmoidCrossEntropy(logits, labels, nn::Constant(input.tape(), weights)));
    output.losses.push_back(loss);
    return output;
  }

  static constexpr int64_t kWidthMax = 8192;
  static constexpr int64_t kCategoriesMax = int64_t{1} << 20;

  ModelOptions options_;
  FeatureSchema schema_;
  nn::HistoryAndItem features_;
  int categories_ = -1;  // Position of the history's categories among the sparse features,
  int category_ = -1;    // and of the item's.
  int64_t num_categories_ = 0;
  int64_t dim_ = 0, width_ = 0;
  nn::TransformerOptions blocks_options_;
  bool mlp_head_ = false;

  TableHandle table_;
  LookupHandle history_, item_;
  DenseHandle segment_rows_, category_rows_;
  nn::NormLayer in_norm_, out_norm_;
  nn::LinearLayer in_, out_, hidden_, logit_;
  nn::TransformerStack blocks_;
  nn::NextItemLoss loss_;
};

}  // namespace

ModelInfo GpsdModelInfo() {
  ModelInfo info;
  info.name = "gpsd";
  info.summary = "A Transformer pretrained on the next item, then trained to rank candidates.";
  info.options = nn::HistoryAndItemOptions();
  const std::vector<OptionSpec> own = {
      {"task", std::string("rank"), "",
       "'generate' trains and ranks the next item of histories, 'rank' predicts clicks."},
      {"history_categories", std::string("categories"), "",
       "Name of the feature with the categories of the history's items, their ids below "
       "num_categories."},
      {"category", std::string("category"), "", "Name of the feature with the item's category."},
      {"num_categories", int64_t{0}, "categories", "Rows of the category table; 0: no categories."},
      {"width", int64_t{0}, "units", "Of the Transformer; 0: embedding_dim."},
      {"head", std::string("mlp"), "",
       "Of 'rank': 'mlp', one hidden layer of 4 times the width, or 'linear'."}};
  info.options.insert(info.options.end(), own.begin(), own.end());
  info.options.push_back(nn::EmbeddingDimOption());
  for (const OptionSpec& spec : nn::TransformerOptionSpecs()) info.options.push_back(spec);
  for (const OptionSpec& spec : nn::NextItemLoss::Options(
           {{"negatives", int64_t{4096}, "", ""}, {"temperature", 0.05, "", ""}})) {
    info.options.push_back(spec);
  }
  info.create = [](const ModelOptions& options) { return std::make_unique<Gpsd>(options); };
  return info;
}

}  // namespace pagoda
