// Scaled dot-product attention over blocks of padded sequences (nn::PadSequences):
//
//    softmax over the keys of (Q K^T / sqrt(d / heads)) V, for each head on its own
//
// (Vaswani et al., "Attention Is All You Need", 2017, section 3.2.1 and 3.2.2, without the
// projections, which are the model's.) Self-attention, causal or not, has the queries' block
// for keys; target attention has one query a sample.
#pragma once

#include <cstdint>
#include <vector>

#include "algorithms/nn/tape.h"

namespace pagoda::nn {

struct AttentionOptions {
  int64_t heads = 1;    // Divides the widths of q, k and v; each head has its share of columns.
  bool causal = false;  // Query j sees keys 0 .. j alone. REQUIRES: as many keys as queries.
};

// q [n, lq, d], k [n, lk, d], v [n, lk, dv] -> [n, lq, dv]. Sample i has key_lengths[i] keys (at
// most lk; host); one without any gets zeros.
//   INVALID_ARGUMENT  shapes, heads or lengths that do not fit (the tape's)
Var Attention(const Var& q, const Var& k, const Var& v, const std::vector<int32_t>& key_lengths,
              const AttentionOptions& options);

}  // namespace pagoda::nn
