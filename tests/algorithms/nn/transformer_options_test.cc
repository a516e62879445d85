#include "algorithms/nn/transformer_options.h"

#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

absl::StatusOr<nn::TransformerOptions> Parse(const std::string& key, const OptionValue& value,
                                             nn::TransformerStyle style) {
  ModelOptions options(nn::TransformerOptionSpecs());
  REQUIRE(options.Set(key, value).ok());
  return nn::ParseTransformerOptions(options, style, 12);
}

TEST_CASE("a stack's options are read, and refused out of range") {
  using Style = nn::TransformerStyle;
  const auto some = Parse("heads", int64_t{3}, Style::kGpsd);
  REQUIRE(some.ok());
  REQUIRE(some->dim == 12);
  REQUIRE(some->heads == 3);
  REQUIRE(some->layers == 2);
  REQUIRE(some->causal);
  REQUIRE(Parse("heads", int64_t{12}, Style::kSasRec).ok());
  RequireInvalid(Parse("heads", int64_t{12}, Style::kGpsd).status(), "even");
  RequireInvalid(Parse("heads", int64_t{0}, Style::kGpsd).status(), "'heads' is 0");
  RequireInvalid(Parse("heads", int64_t{5}, Style::kSasRec).status(), "divisor of the width 12");
  RequireInvalid(Parse("layers", int64_t{257}, Style::kGpsd).status(), "'layers' is 257");
  RequireInvalid(Parse("dropout", -0.1, Style::kGpsd).status(), "'dropout'");
  RequireInvalid(Parse("feed_forward_hidden", int64_t{-2}, Style::kGpsd).status(), "is -2");
}

}  // namespace
}  // namespace pagoda
