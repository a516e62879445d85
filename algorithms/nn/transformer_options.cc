#include "algorithms/nn/transformer_options.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace pagoda::nn {
namespace {

constexpr int64_t kLayersMax = 256;

template <typename T>
absl::Status Refuse(const std::string& key, T found, const std::string& wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat("model option '", key, "' is ", found, "; it must be ", wanted));
}

}  // namespace

std::vector<OptionSpec> TransformerOptionSpecs() {
  return {
      {"layers", int64_t{2}, "blocks", "Number of Transformer blocks."},
      {"heads", int64_t{1}, "heads", "Of attention; each has its share of the columns."},
      {"feed_forward_hidden", int64_t{0}, "units",
       "Hidden units of a block's feed-forward layer; 0: as the paper has it."},
      {"dropout", 0.0, "probability", "Share of inputs and hidden values dropped in training."}};
}

absl::StatusOr<TransformerOptions> ParseTransformerOptions(const ModelOptions& options,
                                                           TransformerStyle style, int64_t dim) {
  TransformerOptions blocks;
  blocks.style = style;
  blocks.dim = dim;
  blocks.layers = options.Get<int64_t>("layers");
  blocks.heads = options.Get<int64_t>("heads");
  blocks.hidden = options.Get<int64_t>("feed_forward_hidden");
  blocks.dropout = options.Get<double>("dropout");
  if (blocks.layers < 1 || blocks.layers > kLayersMax) {
    return Refuse("layers", blocks.layers, absl::StrCat("in [1, ", kLayersMax, "]"));
  }
  if (blocks.heads < 1 || dim % blocks.heads != 0) {
    return Refuse("heads", blocks.heads, absl::StrCat("a divisor of the width ", dim));
  }
  if (style == TransformerStyle::kGpsd && dim / blocks.heads % 2 != 0) {
    return Refuse("heads", blocks.heads,
                  absl::StrCat("such that a head of the width ", dim, " has an even share"));
  }
  if (blocks.hidden < 0) return Refuse("feed_forward_hidden", blocks.hidden, "at least 0");
  if (!(blocks.dropout >= 0.0 && blocks.dropout < 1.0)) {
    return Refuse("dropout", blocks.dropout, "in [0, 1)");
  }
  return blocks;
}

}  // namespace pagoda::nn
