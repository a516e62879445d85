#include <cmath>

#include "algorithms/models.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/next_item.h"
#include "algorithms/nn/ops.h"
#include "algorithms/nn/transformer_options.h"
#include "base/hash.h"

namespace pagoda {
namespace {

class SasRec : public Model {
 public:
  explicit SasRec(const ModelOptions& options) : options_(options) {}
  bool retrieval() const override { return true; }

  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    PAGODA_ASSIGN_OR_RETURN(features_, nn::FindHistoryAndItem(schema, options_));
    PAGODA_ASSIGN_OR_RETURN(dim_, nn::ParseEmbeddingDim(options_));
    PAGODA_ASSIGN_OR_RETURN(
        nn::TransformerOptions blocks,
        nn::ParseTransformerOptions(options_, nn::TransformerStyle::kSasRec, dim_));
    blocks.project_output = false;  // Neither the paper nor its code has one.
    blocks.norm_epsilon = 1e-8;
    dropout_ = blocks.dropout;
    schema_ = schema;
    const TableHandle table = declaration.AddTable({.name = features_.table, .dim = dim_});
    history_ = declaration.AddLookup(
        {.features = {features_.history}, .tables = {table.index}, .sequence = true});
    item_ = declaration.AddLookup({.features = {features_.item}, .tables = {table.index}});
    positions_ = nn::LearnedPositions::Declare(declaration, "position", features_.last, dim_);
    blocks_ = nn::TransformerStack::Declare(declaration, "blocks", blocks);
    PAGODA_ASSIGN_OR_RETURN(
        loss_,
        nn::NextItemLoss::Declare(declaration, options_, {.features = features_, .table = table}));
    return absl::OkStatus();
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    const Batch& batch = input.host().batch;
    PAGODA_ASSIGN_OR_RETURN(const nn::NextItems next,
                            nn::FindNextItems(schema_, batch, features_.history, features_.item));
    const nn::Events events = nn::LookupEvents(input, history_);
    const nn::SequenceLayout layout(input.tape(), events.offsets, batch.first_sample);
    const Var inputs = Embed(input, events, layout);
    const Var items = nn::Reshape(input.Lookup(item_), {input.batch_size(), dim_});
    ForwardOutput output;
    output.item = items;
    if (!input.training()) {
      output.user = blocks_.ApplyLast(input, inputs, layout);
      return output;
    }
    const Var states = blocks_.Apply(input, inputs, layout);
    output.user = nn::SelectRows(states, layout.LastRows());
    output.losses.push_back(
        loss_.Apply(input, states, next.Select(events.values, items), events.offsets, next));
    return output;
  }

 private:
  // Positions count from the end, so that the last event always has the same one.
  Var Embed(ForwardInput& input, const nn::Events& events, const nn::SequenceLayout& layout) const {
    const float scale = std::sqrt(static_cast<float>(dim_));
    const Var positions = positions_.Apply(input, layout, nn::PositionOrder::kFromEnd);
    return nn::DropoutPositions(input, nn::Add(nn::Scale(events.values, scale), positions), layout,
                                dropout_, HashBytes("sasrec.input"));
  }

  ModelOptions options_;
  FeatureSchema schema_;
  nn::HistoryAndItem features_;
  int64_t dim_ = 0;
  double dropout_ = 0.0;
  LookupHandle history_, item_;
  nn::LearnedPositions positions_;
  nn::TransformerStack blocks_;
  nn::NextItemLoss loss_;
};

}  // namespace

ModelInfo SasRecModelInfo() {
  ModelInfo info;
  info.name = "sasrec";
  info.summary = "Retrieval: self-attention over a history, trained on the next item everywhere.";
  info.options = nn::HistoryAndItemOptions();
  info.options.push_back(nn::EmbeddingDimOption());
  for (const OptionSpec& spec : nn::TransformerOptionSpecs()) info.options.push_back(spec);
  for (const OptionSpec& spec :
       nn::NextItemLoss::Options({{"loss", std::string("bce"), "", ""},
                                  {"negatives", int64_t{1}, "", ""},
                                  {"negatives_scope", std::string("position"), "", ""}})) {
    info.options.push_back(spec);
  }
  info.create = [](const ModelOptions& options) { return std::make_unique<SasRec>(options); };
  return info;
}

}  // namespace pagoda
