// The options of models with a stack of Transformer blocks: layers, heads,
// feed_forward_hidden and dropout, read and checked once.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "algorithms/nn/model_options.h"
#include "algorithms/nn/transformer.h"

namespace pagoda::nn {

std::vector<OptionSpec> TransformerOptionSpecs();
// A causal stack of `style` over rows of `dim` columns.
//   INVALID_ARGUMENT  layers outside [1, 256], heads that do not divide dim (or leave an odd
//                     width to be turned), a hidden width below 0, or dropout outside [0, 1)
absl::StatusOr<TransformerOptions> ParseTransformerOptions(const ModelOptions& options,
                                                           TransformerStyle style, int64_t dim);

}  // namespace pagoda::nn
