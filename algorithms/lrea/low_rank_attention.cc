#include "algorithms/lrea/low_rank_attention.h"

#include <algorithm>
#include <cmath>

#include "algorithms/nn/ops.h"

namespace pagoda::lrea {
namespace {

// Scores of events against seeds have this spread at first: enough for clusters that differ, and
// little enough that none is without a gradient.
constexpr double kSeedSpread = 3.0;
// Added to a sum of squares that may be zero. Far below any that matters: weights of 1e-6 over
// one event.
constexpr float kNoMass = 1e-12f;

}  // namespace

LowRankAttention LowRankAttention::Declare(Declaration& declaration, const std::string& name,
                                           const LowRankOptions& options) {
  LowRankAttention layer;
  layer.options_ = options;
  const auto linear = [&](const char* part, int64_t in, int64_t out) {
    return nn::LinearLayer::Declare(declaration, name + part, {in, out}, /*bias=*/false);
  };
  layer.candidate_norm_ = DeclareNorm(declaration, name + ".candidate_norm", options.candidate_dim);
  layer.event_norm_ = DeclareNorm(declaration, name + ".event_norm", options.event_dim);
  layer.query_ = linear(".query", options.candidate_dim, options.width);
  layer.key_ = linear(".key", options.event_dim, options.width);
  layer.value_ = linear(".value", options.event_dim, options.value_width);
  if (options.projection == Projection::kFixed) {
    const auto projection = [&](const char* part) {
      return declaration.AddDense({.name = name + part,
                                   .shape = {options.length, options.rank},
                                   .init = InitKind::kBlocks,
                                   .weight_decay = false});
    };
    layer.compress_ = projection(".compress");
    layer.expand_ = projection(".expand");
    return layer;
  }
  layer.assign_ = linear(".assign", options.event_dim, options.width);
  const double spread = kSeedSpread / std::sqrt(static_cast<double>(options.width));
  layer.seeds_ = declaration.AddDense({.name = name + ".seeds",
                                       .shape = {options.rank, options.width},
                                       .init = InitKind::kNormal,
                                       .init_scale = static_cast<float>(spread)});
  return layer;
}

LowRankAttention::Norm LowRankAttention::DeclareNorm(Declaration& declaration,
                                                     const std::string& name, int64_t dim) {
  const auto vector = [&](const char* part, InitKind init) {
    return declaration.AddDense(
        {.name = name + part, .shape = {dim}, .init = init, .weight_decay = false});
  };
  return {vector(".gamma", InitKind::kOnes), vector(".beta", InitKind::kZeros)};
}

Var LowRankAttention::Normalize(ForwardInput& input, const Norm& norm, const Var& x) const {
  return nn::LayerNorm(x, input.Parameter(norm.gamma), input.Parameter(norm.beta));
}

LowRankAttention::Blocks LowRankAttention::BlocksOf(const EventRows& events) const {
  Blocks b;
  b.sequences = static_cast<int64_t>(events.offsets.size()) - 1;
  const auto sequences = static_cast<size_t>(b.sequences);
  int32_t longest = 1;
  for (size_t u = 0; u < sequences; ++u) {
    const int32_t length = events.offsets[u + 1] - events.offsets[u];
    b.counts.push_back(std::min(length, static_cast<int32_t>(options_.length)));
    longest = std::max(longest, b.counts.back());
  }
  b.length = longest;
  const auto length = static_cast<size_t>(longest);
  b.events.assign(sequences * length, -1);
  b.by_place = b.recency = b.events;
  for (size_t u = 0; u < sequences; ++u) {
    for (size_t j = 0; j < static_cast<size_t>(b.counts[u]); ++j) {
      const int32_t event = events.offsets[u + 1] - 1 - static_cast<int32_t>(j);
      b.events[u * length + j] = event;
      b.by_place[j * sequences + u] = event;
      b.recency[u * length + j] = static_cast<int32_t>(j);
    }
  }
  std::vector<int32_t> taken(sequences, 0);
  std::vector<int32_t> slots;
  for (const int32_t u : events.of) slots.push_back(taken[static_cast<size_t>(u)]++);
  b.most = 1;
  for (const int32_t count : taken) b.most = std::max<int64_t>(b.most, count);
  b.candidates.assign(sequences * static_cast<size_t>(b.most), -1);
  for (size_t i = 0; i < slots.size(); ++i) {
    const auto u = static_cast<size_t>(events.of[i]);
    b.place.push_back(static_cast<int32_t>(u) * static_cast<int32_t>(b.most) + slots[i]);
    b.candidates[static_cast<size_t>(b.place.back())] = static_cast<int32_t>(i);
    b.scale.push_back(b.counts[u] > 0 ? 1.0f / static_cast<float>(b.counts[u]) : 0.0f);
  }
  return b;
}

LowRankAttention::Projected LowRankAttention::Compress(ForwardInput& input, const Var& normed,
                                                       const Var& keys,
                                                       const Blocks& blocks) const {
  const int64_t n = blocks.sequences, l = blocks.length, r = options_.rank, a = options_.width;
  if (options_.projection == Projection::kFixed) {
    // One product for all sequences: the events of one recency side by side.
    const Var by_place = nn::Reshape(nn::SelectRows(keys, blocks.by_place), {l, n * a});
    const Var compress = nn::SliceRows(input.Parameter(compress_), 0, l);
    const Var compressed = nn::MatMul(compress, by_place, {.a = true});
    return {nn::Reshape(nn::SwapAxes(nn::Reshape(compressed, {1, r, n, a})), {n, r, a}),
            nn::Reshape(nn::SelectRows(input.Parameter(expand_), blocks.recency), {n, l, r})};
  }
  const Var scores = nn::MatMul(assign_.Apply(input, normed), input.Parameter(seeds_), {.b = true});
  const Var block = nn::Reshape(nn::SelectRows(scores, blocks.events), {n, l, r, 1});
  std::vector<int32_t> counts;
  for (const int32_t count : blocks.counts) {
    counts.insert(counts.end(), static_cast<size_t>(r), count);
  }
  const Var compress = nn::MaskedSoftmax(nn::Reshape(nn::SwapAxes(block), {n * r, l}), counts);
  const Var key_block = nn::Reshape(nn::SelectRows(keys, blocks.events), {n, l, a});
  return {nn::BatchMatMul(nn::Reshape(compress, {n, r, l}), key_block),
          nn::Reshape(nn::SelectRows(nn::Softmax(scores), blocks.events), {n, l, r})};
}

LowRankAttention::Result LowRankAttention::Apply(ForwardInput& input, const Var& candidates,
                                                 const EventRows& events) const {
  const Blocks blocks = BlocksOf(events);
  const int64_t n = blocks.sequences, l = blocks.length, most = blocks.most;
  const Var normed = Normalize(input, event_norm_, events.rows);
  const Var keys = key_.Apply(input, normed);
  const Var values = nn::Reshape(nn::SelectRows(value_.Apply(input, normed), blocks.events),
                                 {n, l, options_.value_width});
  const Var queries = query_.Apply(input, Normalize(input, candidate_norm_, candidates));
  const Projected projected = Compress(input, normed, keys, blocks);
  const Var grouped =
      nn::Reshape(nn::SelectRows(queries, blocks.candidates), {n, most, options_.width});
  const auto root = static_cast<float>(1.0 / std::sqrt(static_cast<double>(options_.width)));
  const Var z = nn::Scale(nn::BatchMatMul(grouped, projected.keys, {.b = true}), root);
  const Var alpha = nn::BatchMatMul(z, projected.expand, {.b = true});  // [n, most, l]
  const Var scale = nn::Constant(input.tape(), blocks.scale);

  const auto attended = [&](const Var& weights) {
    const Var sums =
        nn::Reshape(nn::BatchMatMul(weights, values), {n * most, options_.value_width});
    return nn::ScaleRows(nn::SelectRows(sums, blocks.place), scale);
  };
  const auto total = [&](const Var& of_events) {
    return nn::SelectRows(nn::SumColumns(nn::Reshape(of_events, {n * most, l})), blocks.place);
  };
  const Var positive = nn::Activate(alpha, Activation::kRelu);
  const Var negative = nn::Activate(nn::Scale(alpha, -1.0f), Activation::kRelu);
  Result result;
  result.linear = attended(alpha);
  result.rectified = attended(positive);
  const Var below = total(nn::Square(negative));
  result.negativity = nn::Multiply(below, scale);
  result.negative_share = nn::Divide(below, nn::Affine(total(nn::Square(alpha)), 1.0f, kNoMass));
  result.negative_mass = total(negative);
  result.mass = total(nn::Add(positive, negative));
  return result;
}

}  // namespace pagoda::lrea
