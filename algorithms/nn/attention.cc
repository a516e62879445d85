#include "algorithms/nn/attention.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "algorithms/nn/op_node.h"
#include "algorithms/nn/ops.h"

namespace pagoda::nn {
namespace {

absl::Status Check(const Var& q, const Var& k, const Var& v,
                   const std::vector<int32_t>& key_lengths, const AttentionOptions& options) {
  for (const Var& x : {q, k, v}) PAGODA_RETURN_IF_ERROR(CheckRank(x, 3));
  const Shape &queries = q.shape(), &keys = k.shape(), &values = v.shape();
  const int64_t n = queries[0];
  if (keys[0] != n || values[0] != n || keys[1] != values[1] || keys[2] != queries[2]) {
    return absl::InvalidArgumentError(absl::StrCat("queries ", ShapeString(queries), ", keys ",
                                                   ShapeString(keys), " and values ",
                                                   ShapeString(values), " do not fit one another"));
  }
  if (options.heads < 1 || queries[2] % options.heads != 0 || values[2] % options.heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(options.heads, " heads do not divide widths ",
                                                   queries[2], " and ", values[2]));
  }
  if (options.causal && queries[1] != keys[1]) {
    return absl::InvalidArgumentError(
        absl::StrCat("causal attention of ", queries[1], " queries over ", keys[1], " keys"));
  }
  if (static_cast<int64_t>(key_lengths.size()) != n) {
    return absl::InvalidArgumentError(
        absl::StrCat(key_lengths.size(), " lengths were given for ", n, " samples"));
  }
  if (options.bias.valid() && options.bias.shape() != Shape{n, queries[1], keys[1]}) {
    return absl::InvalidArgumentError(absl::StrCat("a bias of shape ",
                                                   ShapeString(options.bias.shape()), " for ",
                                                   ShapeString({n, queries[1], keys[1]})));
  }
  for (const int32_t length : key_lengths) {
    if (length >= 0 && length <= keys[1]) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("a length of ", length, " is not within the ", keys[1], " keys"));
  }
  return absl::OkStatus();
}

// [n, l, d] -> [n * heads, l, d / heads].
Var SplitHeads(const Var& x, int64_t heads) {
  if (heads == 1 || !x.valid()) return x;
  const int64_t n = x.shape()[0], l = x.shape()[1], d = x.shape()[2] / heads;
  return Reshape(SwapAxes(Reshape(x, {n, l, heads, d})), {n * heads, l, d});
}

// The way back.
Var JoinHeads(const Var& x, int64_t heads) {
  if (heads == 1 || !x.valid()) return x;
  const int64_t n = x.shape()[0] / heads, l = x.shape()[1], d = x.shape()[2];
  return Reshape(SwapAxes(Reshape(x, {n, heads, l, d})), {n, l, heads * d});
}

// scores [n * heads, lq, lk] + the bias [n, lq, lk] of their sample.
Var AddBias(const Var& scores, const Var& bias, int64_t heads) {
  if (!bias.valid() || !scores.valid()) return scores;
  const Var of_heads = Concat(std::vector<Var>(static_cast<size_t>(heads), Flatten(bias)));
  return Add(scores, Reshape(of_heads, scores.shape()));
}

}  // namespace

std::vector<int32_t> AttentionKeyCounts(const std::vector<int32_t>& key_lengths,
                                        int64_t num_queries, const AttentionOptions& options) {
  std::vector<int32_t> counts;
  counts.reserve(key_lengths.size() * static_cast<size_t>(options.heads * num_queries));
  for (const int32_t length : key_lengths) {
    for (int64_t h = 0; h < options.heads; ++h) {
      for (int64_t j = 0; j < num_queries; ++j) {
        counts.push_back(options.causal ? std::min(length, static_cast<int32_t>(j + 1)) : length);
      }
    }
  }
  return counts;
}

AttentionResult AttentionWithWeights(const Var& q, const Var& k, const Var& v,
                                     const std::vector<int32_t>& key_lengths,
                                     const AttentionOptions& options) {
  Tape* const tape = OperandTape("Attention", {q, k, v});
  if (tape == nullptr) return {};
  if (absl::Status fits = Check(q, k, v, key_lengths, options); !fits.ok()) {
    tape->Fail(WithContext(fits, "Attention"));
    return {};
  }
  const int64_t n = q.shape()[0], num_queries = q.shape()[1], num_keys = k.shape()[1];
  const int64_t blocks = n * options.heads;
  const double width = static_cast<double>(q.shape()[2] / options.heads);
  const float scale = width > 0 ? static_cast<float>(1.0 / std::sqrt(width)) : 0.0f;
  const Var products =
      Scale(BatchMatMul(SplitHeads(q, options.heads), SplitHeads(k, options.heads), {false, true}),
            scale);
  const Var scores =
      Reshape(AddBias(products, options.bias, options.heads), {blocks * num_queries, num_keys});
  const Var seen =
      options.key_counts.absent()
          ? MaskedSoftmax(scores, AttentionKeyCounts(key_lengths, num_queries, options))
          : MaskedSoftmax(scores, options.key_counts);
  const Var weights = DropoutRows(seen, options.dropout);
  const Var out =
      BatchMatMul(Reshape(weights, {blocks, num_queries, num_keys}), SplitHeads(v, options.heads));
  return {JoinHeads(out, options.heads),
          Reshape(weights, {n, options.heads, num_queries, num_keys})};
}

Var Attention(const Var& q, const Var& k, const Var& v, const std::vector<int32_t>& key_lengths,
              const AttentionOptions& options) {
  return AttentionWithWeights(q, k, v, key_lengths, options).output;
}

}  // namespace pagoda::nn
