#include "algorithms/nn/transformer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "algorithms/nn/ops.h"
#include "base/hash.h"

namespace pagoda::nn {

NormLayer NormLayer::Declare(Declaration& declaration, const std::string& name, int64_t dim,
                             NormKind kind, double epsilon) {
  NormLayer norm;
  norm.kind_ = kind;
  norm.epsilon_ = static_cast<float>(epsilon);
  norm.gamma_ = declaration.AddDense(
      {.name = name + ".gamma", .shape = {dim}, .init = InitKind::kOnes, .weight_decay = false});
  if (kind == NormKind::kLayer) {
    norm.beta_ = declaration.AddDense(
        {.name = name + ".beta", .shape = {dim}, .init = InitKind::kZeros, .weight_decay = false});
  }
  return norm;
}

Var NormLayer::Apply(ForwardInput& input, const Var& x) const {
  const Var gamma = input.Parameter(gamma_);
  if (kind_ == NormKind::kRms) return RmsNorm(x, gamma, epsilon_);
  return LayerNorm(x, gamma, input.Parameter(beta_), epsilon_);
}

LearnedPositions LearnedPositions::Declare(Declaration& declaration, const std::string& name,
                                           int64_t most, int64_t dim, double init_stddev) {
  LearnedPositions positions;
  positions.weight_ = declaration.AddDense({.name = name + ".weight",
                                            .shape = {most, dim},
                                            .init = InitKind::kNormal,
                                            .init_scale = static_cast<float>(init_stddev)});
  return positions;
}

Var LearnedPositions::Apply(ForwardInput& input, const SequenceLayout& layout,
                            PositionOrder order) const {
  return layout.TakePositions(input.Parameter(weight_), order);
}

FeedForward FeedForward::Declare(Declaration& declaration, const std::string& name,
                                 const FeedForwardOptions& options) {
  FeedForward layer;
  layer.options_ = options;
  const int64_t hidden = options.hidden > 0 ? options.hidden : 4 * options.dim;
  layer.up_ = LinearLayer::Declare(declaration, name + ".up", {options.dim, hidden}, options.biases,
                                   options.init_stddev);
  layer.down_ = LinearLayer::Declare(declaration, name + ".down", {hidden, options.dim},
                                     options.biases, options.init_stddev);
  layer.dropout_label_ = HashBytes(name + ".hidden");
  return layer;
}

Var FeedForward::Apply(ForwardInput& input, const Var& x, const SequenceLayout& layout) const {
  const Var hidden = DropoutPositions(input, up_.Apply(input, x, options_.activation), layout,
                                      options_.dropout, dropout_label_);
  return down_.Apply(input, hidden);
}

int64_t SwiGluHidden(int64_t dim) {
  return (2 * 4 * dim / 3 + 31) / 32 * 32;
}

SwiGlu SwiGlu::Declare(Declaration& declaration, const std::string& name,
                       const FeedForwardOptions& options) {
  SwiGlu layer;
  const int64_t dim = options.dim;
  const int64_t hidden = options.hidden > 0 ? options.hidden : SwiGluHidden(dim);
  const auto linear = [&](const char* suffix, LinearShape shape) {
    return LinearLayer::Declare(declaration, name + suffix, shape, /*bias=*/false,
                                options.init_stddev);
  };
  layer.gate_ = linear(".gate", {dim, hidden});
  layer.up_ = linear(".up", {dim, hidden});
  layer.down_ = linear(".down", {hidden, dim});
  return layer;
}

Var SwiGlu::Apply(ForwardInput& input, const Var& x) const {
  const Var gate = gate_.Apply(input, x, Activation::kSilu);
  return down_.Apply(input, Multiply(gate, up_.Apply(input, x)));
}

TransformerBlock TransformerBlock::Declare(Declaration& declaration, const std::string& name,
                                           const TransformerOptions& options) {
  TransformerBlock block;
  block.options_ = options;
  const bool gpsd = options.style == TransformerStyle::kGpsd;
  const NormKind kind = gpsd ? NormKind::kRms : NormKind::kLayer;
  block.attention_norm_ = NormLayer::Declare(declaration, name + ".attention_norm", options.dim,
                                             kind, options.norm_epsilon);
  block.attention_ = MultiHeadAttention::Declare(declaration, name + ".attention",
                                                 {.query_dim = options.dim,
                                                  .heads = options.heads,
                                                  .causal = options.causal,
                                                  .biases = !gpsd,
                                                  .rotary = gpsd,
                                                  .rotary_base = options.rotary_base,
                                                  .project_output = options.project_output,
                                                  .dropout = gpsd ? 0.0 : options.dropout,
                                                  .init_stddev = options.init_stddev});
  block.feed_forward_norm_ = NormLayer::Declare(declaration, name + ".feed_forward_norm",
                                                options.dim, kind, options.norm_epsilon);
  FeedForwardOptions feed_forward = {.dim = options.dim,
                                     .hidden = options.hidden,
                                     .dropout = options.dropout,
                                     .init_stddev = options.init_stddev};
  if (gpsd) {
    block.swiglu_ = SwiGlu::Declare(declaration, name + ".feed_forward", feed_forward);
  } else {
    if (options.hidden == 0) feed_forward.hidden = options.dim;
    block.feed_forward_ = FeedForward::Declare(declaration, name + ".feed_forward", feed_forward);
  }
  block.attention_dropout_ = HashBytes(name + ".attention");
  block.feed_forward_dropout_ = HashBytes(name + ".feed_forward");
  return block;
}

Var TransformerBlock::Apply(ForwardInput& input, const Var& h, const SequenceLayout& layout,
                            const Var& bias) const {
  return options_.style == TransformerStyle::kGpsd ? ApplyGpsd(input, h, layout, bias)
                                                   : ApplySasRec(input, h, layout, bias);
}

Var TransformerBlock::ApplyGpsd(ForwardInput& input, const Var& h, const SequenceLayout& layout,
                                const Var& bias) const {
  const Var attended = attention_.Self(input, attention_norm_.Apply(input, h), layout, bias);
  const Var u =
      Add(h, DropoutPositions(input, attended, layout, options_.dropout, attention_dropout_));
  const Var fed = swiglu_.Apply(input, feed_forward_norm_.Apply(input, u));
  return Add(u, DropoutPositions(input, fed, layout, options_.dropout, feed_forward_dropout_));
}

Var TransformerBlock::ApplySasRec(ForwardInput& input, const Var& h, const SequenceLayout& layout,
                                  const Var& bias) const {
  const Var q = attention_norm_.Apply(input, h);
  const Var u = Add(q, attention_.Within(input, {q, h, h, bias}, layout));
  const Var m = feed_forward_norm_.Apply(input, u);
  const Var fed = feed_forward_.Apply(input, m, layout);
  return Add(m, DropoutPositions(input, fed, layout, options_.dropout, feed_forward_dropout_));
}

Var TransformerBlock::ApplyLast(ForwardInput& input, const Var& h,
                                const SequenceLayout& layout) const {
  const std::vector<int32_t> last = layout.LastRows();
  if (options_.style == TransformerStyle::kGpsd) {
    const Var n = attention_norm_.Apply(input, h);
    const Var u = Add(SelectRows(h, last), attention_.Last(input, SelectRows(n, last), n, layout));
    return Add(u, swiglu_.Apply(input, feed_forward_norm_.Apply(input, u)));
  }
  const Var q = attention_norm_.Apply(input, SelectRows(h, last));
  const Var m = feed_forward_norm_.Apply(input, Add(q, attention_.Last(input, q, h, layout)));
  return Add(m, feed_forward_.Apply(input, m, layout));
}

TransformerStack TransformerStack::Declare(Declaration& declaration, const std::string& name,
                                           const TransformerOptions& options) {
  TransformerStack stack;
  stack.drops_ = options.dropout > 0.0;
  for (int64_t i = 0; i < options.layers; ++i) {
    stack.blocks_.push_back(
        TransformerBlock::Declare(declaration, absl::StrCat(name, ".", i), options));
  }
  stack.norm_ = NormLayer::Declare(
      declaration, name + ".norm", options.dim,
      options.style == TransformerStyle::kGpsd ? NormKind::kRms : NormKind::kLayer,
      options.norm_epsilon);
  return stack;
}

Var TransformerStack::Apply(ForwardInput& input, const Var& h, const SequenceLayout& layout,
                            const Var& bias) const {
  Var z = h;
  for (const TransformerBlock& block : blocks_) z = block.Apply(input, z, layout, bias);
  return norm_.Apply(input, z);
}

Var TransformerStack::ApplyLast(ForwardInput& input, const Var& h,
                                const SequenceLayout& layout) const {
  const std::vector<int32_t> last = layout.LastRows();
  const bool any_empty = std::find(last.begin(), last.end(), -1) != last.end();
  if (blocks_.empty() || any_empty || (drops_ && input.training())) {
    return SelectRows(Apply(input, h, layout), last);
  }
  Var z = h;
  for (size_t i = 0; i + 1 < blocks_.size(); ++i) z = blocks_[i].Apply(input, z, layout);
  return norm_.Apply(input, blocks_.back().ApplyLast(input, z, layout));
}

}  // namespace pagoda::nn
