// Scaled dot-product attention over blocks of padded sequences (nn::PadSequences):
//
//    softmax over the keys of (Q K^T / sqrt(d / heads) + bias) V, for each head on its own
//
// (Vaswani et al., "Attention Is All You Need", 2017, section 3.2.1 and 3.2.2, without the
// projections, which are a layer's: attention_layers.h.) Self-attention, causal or not, has the
// queries' block for keys; target attention has one query a sample.
//
// A query that sees no key, because its sample has none or because its bias is -inf for all,
// gets exactly zero and passes no gradient on.
#pragma once

#include <cstdint>
#include <vector>

#include "algorithms/nn/ops.h"
#include "algorithms/nn/tape.h"

namespace pagoda::nn {

struct AttentionOptions {
  int64_t heads = 1;    // Divides the widths of q, k and v; each head has its share of columns.
  bool causal = false;  // Query j sees keys 0 .. j alone. REQUIRES: as many keys as queries.
  // [n, lq, lk], the same for all heads; -inf hides a key. Gradient flows to it. Invalid: none.
  Var bias = Var();
  // Of the weights after the softmax; counters [n * heads * lq].
  RowDropout dropout = {};
  // How many keys each row of weights [n * heads * lq] sees, i32 on the device, where the
  // caller has kept it (AttentionKeyCounts, SequenceLayout). Absent: made from key_lengths.
  Tensor key_counts = Tensor();
};

// q [n, lq, d], k [n, lk, d], v [n, lk, dv] -> [n, lq, dv]. Sample i has key_lengths[i] keys (at
// most lk; host); one without any gets zeros.
//   INVALID_ARGUMENT  shapes, heads or lengths that do not fit (the tape's)
Var Attention(const Var& q, const Var& k, const Var& v, const std::vector<int32_t>& key_lengths,
              const AttentionOptions& options);

// The same, with the weights: zero where a key is not seen, else each row adds up to one
// (before dropout, if there is any). Gradient flows through them too.
struct AttentionResult {
  Var output;   // [n, lq, dv]
  Var weights;  // [n, heads, lq, lk]
};
AttentionResult AttentionWithWeights(const Var& q, const Var& k, const Var& v,
                                     const std::vector<int32_t>& key_lengths,
                                     const AttentionOptions& options);

// AttentionOptions::key_counts on the host: n * heads * num_queries numbers.
std::vector<int32_t> AttentionKeyCounts(const std::vector<int32_t>& key_lengths,
                                        int64_t num_queries, const AttentionOptions& options);

}  // namespace pagoda::nn
