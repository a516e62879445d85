#include "algorithms/nn/attention_layers.h"

#include <algorithm>

#include "algorithms/nn/op_node.h"
#include "algorithms/nn/ops.h"
#include "base/hash.h"

namespace pagoda::nn {
namespace {

// What was given, or `otherwise`.
int64_t Or(int64_t width, int64_t otherwise) {
  return width > 0 ? width : otherwise;
}

bool AnyEmpty(const SequenceLayout& layout) {
  const std::vector<int32_t>& lengths = layout.lengths();
  return std::count(lengths.begin(), lengths.end(), 0) > 0;
}

// [layout.size()]: 0 for a sequence without positions, else 1. What these multiply comes out
// zero where a bias, added after the weighted sum of nothing, would not be.
Var HasKeys(const SequenceLayout& layout) {
  std::vector<float> has_keys;
  for (const int32_t length : layout.lengths()) has_keys.push_back(length > 0 ? 1.0f : 0.0f);
  return Constant(layout.tape(), has_keys);
}

}  // namespace

Var DropoutPositions(ForwardInput& input, const Var& rows, const SequenceLayout& layout,
                     double rate, uint64_t label) {
  if (rate == 0.0 || !input.training() || !rows.valid()) return rows;
  return DropoutRows(rows, {.rate = static_cast<float>(rate),
                            .key = input.random().Derive(label),
                            .counters = layout.RowCounters(rows.shape()[1])});
}

MultiHeadAttention MultiHeadAttention::Declare(Declaration& declaration, const std::string& name,
                                               const MultiHeadAttentionOptions& options) {
  MultiHeadAttention attention;
  MultiHeadAttentionOptions& o = attention.options_;
  o = options;
  o.key_dim = Or(o.key_dim, o.query_dim);
  o.value_dim = Or(o.value_dim, o.key_dim);
  o.width = Or(o.width, o.query_dim);
  o.value_width = Or(o.value_width, o.width);
  o.output_dim = o.project_output ? Or(o.output_dim, o.query_dim) : o.value_width;
  const auto layer = [&](const char* suffix, int64_t in, int64_t out) {
    return LinearLayer::Declare(declaration, name + suffix, {in, out}, o.biases, o.init_stddev);
  };
  attention.query_ = layer(".query", o.query_dim, o.width);
  attention.key_ = layer(".key", o.key_dim, o.width);
  attention.value_ = layer(".value", o.value_dim, o.value_width);
  if (o.project_output) attention.output_ = layer(".output", o.value_width, o.output_dim);
  attention.dropout_label_ = HashBytes(name + ".weights");
  return attention;
}

AttentionResult MultiHeadAttention::Attend(ForwardInput& input, const Projected& projected,
                                           const Var& bias,
                                           const SequenceLayout& key_layout) const {
  if (!projected.q.valid()) return {};
  const int64_t num_queries = projected.q.shape()[1];
  AttentionOptions attention = {
      .heads = options_.heads,
      .causal = projected.causal,
      .bias = bias,
      .key_counts = key_layout.KeyCounts(options_.heads, num_queries, projected.causal)};
  if (input.training() && options_.dropout > 0.0) {
    attention.dropout = {.rate = static_cast<float>(options_.dropout),
                         .key = input.random().Derive(dropout_label_),
                         .counters = key_layout.WeightCounters(options_.heads, num_queries)};
  }
  return AttentionWithWeights(projected.q, projected.k, projected.v, key_layout.lengths(),
                              attention);
}

AttentionResult MultiHeadAttention::Apply(ForwardInput& input, const Rows& rows,
                                          const SequenceLayout& query_layout,
                                          const SequenceLayout& key_layout) const {
  Var q = query_.Apply(input, rows.queries);
  Var k = key_.Apply(input, rows.keys);
  if (options_.rotary) {
    const int64_t width = options_.width / options_.heads;
    q = RotaryEmbedding(q, query_layout.Rotary(width, options_.rotary_base));
    k = RotaryEmbedding(k, key_layout.Rotary(width, options_.rotary_base));
  }
  const Var v = value_.Apply(input, rows.values);
  const AttentionResult heads =
      Attend(input, {query_layout.Pad(q), key_layout.Pad(k), key_layout.Pad(v), options_.causal},
             rows.bias, key_layout);
  Var out = query_layout.Unpad(heads.output);
  if (options_.project_output) out = output_.Apply(input, out);
  if (options_.biases && AnyEmpty(key_layout) && &query_layout != &key_layout) {
    const Var of_queries =
        query_layout.Repeat(Reshape(HasKeys(key_layout), {key_layout.size(), 1}));
    out = ScaleRows(out, Reshape(of_queries, {query_layout.num_rows()}));
  }
  return {out, heads.weights};
}

Var MultiHeadAttention::Within(ForwardInput& input, const Rows& rows,
                               const SequenceLayout& layout) const {
  const std::vector<SequenceLayout::Group>& groups = layout.Groups();
  if (rows.bias.valid() || groups.empty()) return Apply(input, rows, layout, layout).output;
  std::vector<Var> parts;
  for (const SequenceLayout::Group& group : groups) {
    const auto own = [&](const Var& x) {
      return GatherRows(x, {0, layout.num_rows()}, group.gather);
    };
    Rows part;
    part.queries = own(rows.queries);
    part.keys = rows.keys == rows.queries ? part.queries : own(rows.keys);
    part.values = rows.values == rows.keys ? part.keys : own(rows.values);
    parts.push_back(Apply(input, part, group.layout, group.layout).output);
  }
  return layout.JoinGroups(parts);
}

Var MultiHeadAttention::Self(ForwardInput& input, const Var& x, const SequenceLayout& layout,
                             const Var& bias) const {
  return Within(input, {x, x, x, bias}, layout);
}

Var MultiHeadAttention::Last(ForwardInput& input, const Var& queries, const Var& keys,
                             const SequenceLayout& layout) const {
  const int64_t n = layout.size();
  Var q = query_.Apply(input, queries);
  Var k = key_.Apply(input, keys);
  if (options_.rotary) {
    std::vector<int32_t> last;
    for (const int32_t length : layout.lengths()) last.push_back(std::max(length - 1, 0));
    q = RotaryEmbedding(q, last, options_.heads, static_cast<float>(options_.rotary_base));
    k = RotaryEmbedding(k, layout.Rotary(options_.width / options_.heads, options_.rotary_base));
  }
  const Var v = value_.Apply(input, keys);
  const AttentionResult heads = Attend(
      input, {Reshape(q, {n, 1, options_.width}), layout.Pad(k), layout.Pad(v)}, Var(), layout);
  return OneEach(input, heads.output, layout);
}

Var MultiHeadAttention::OneEach(ForwardInput& input, const Var& heads,
                                const SequenceLayout& layout) const {
  Var out = Reshape(heads, {layout.size(), options_.value_width});
  if (options_.project_output) out = output_.Apply(input, out);
  // A bias must not speak for a sequence without keys.
  if (options_.biases && AnyEmpty(layout)) out = ScaleRows(out, HasKeys(layout));
  return out;
}

AttentionResult MultiHeadAttention::Target(ForwardInput& input, const Rows& rows,
                                           const SequenceLayout& layout) const {
  if (options_.rotary) {
    input.tape().Fail(absl::InvalidArgumentError(
        "MultiHeadAttention: the query of target attention has no position to be turned by"));
    return {};
  }
  const int64_t n = layout.size();
  const Var q = Reshape(query_.Apply(input, rows.queries), {n, 1, options_.width});
  const Var k = layout.Pad(key_.Apply(input, rows.keys));
  const Var v = layout.Pad(value_.Apply(input, rows.values));
  const Var bias = rows.bias.valid() ? Reshape(rows.bias, {n, 1, layout.length()}) : Var();
  const AttentionResult heads = Attend(input, {q, k, v}, bias, layout);
  return {OneEach(input, heads.output, layout), heads.weights};
}

DinUnit DinUnit::Declare(Declaration& declaration, const std::string& name,
                         const DinOptions& options) {
  DinUnit unit;
  unit.options_ = options;
  unit.mlp_ = Mlp::Declare(declaration, name, 4 * options.dim,
                           {.hidden = options.hidden, .activation = options.activation});
  unit.score_ = LinearLayer::Declare(declaration, name + ".score", {unit.mlp_.output_dim(), 1});
  return unit;
}

DinUnit::Result DinUnit::Apply(ForwardInput& input, const Var& query, const Var& keys,
                               const Var& values, const SequenceLayout& layout) const {
  const Var q = layout.Repeat(query);
  const Var x = Concat({q, keys, Subtract(q, keys), Multiply(q, keys)});
  const Var scores = score_.Apply(input, mlp_.Apply(input, x));  // [num_rows, 1]
  Var weights;
  if (options_.weights == DinWeights::kSigmoid) {
    weights = Sigmoid(scores);
  } else {
    const Var block = Reshape(layout.Pad(scores), {layout.size(), layout.length()});
    const Var softmax = MaskedSoftmax(block, layout.KeyCounts(1, 1, /*causal=*/false));
    weights = layout.Unpad(Reshape(softmax, {layout.size(), layout.length(), 1}));
  }
  weights = Reshape(weights, {layout.num_rows()});
  return {layout.SumRows(ScaleRows(values, weights)), weights};
}

}  // namespace pagoda::nn
