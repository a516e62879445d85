// Target attention over long sequences through a bottleneck of `rank` compressed events: the
// cost of a candidate does not grow with the sequence. Equations (3.1) to (3.6) of README.md.
//
//   q = t W_q;  K = S W_k;  V = S W_v;  K_r = C K;  z = K_r q / sqrt(width);  alpha = D^T z
//   o = 1/l sum_j alpha_j V_j  (with max(0, alpha_j) where `relu`)
//
// Candidates that share a sequence share everything up to z.
//
// Threads: immutable after Declare.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "algorithms/nn/layers.h"
#include "algorithms/nn/model.h"

namespace pagoda::lrea {

enum class Projection {
  kFixed,    // C and D are parameters [length, rank], indexed by how recent an event is.
  kAdaptive  // Of the events: E = (S W_c) U^T; C a softmax of E over events, D one over rank.
};

struct LowRankOptions {
  int64_t candidate_dim = 0;  // Columns of t.
  int64_t event_dim = 0;      // Columns of S.
  int64_t width = 0;          // Of queries and keys.
  int64_t value_width = 0;    // Of values, and of what comes out.
  int64_t rank = 0;
  int64_t length = 0;  // The last so many events count.
  Projection projection = Projection::kFixed;
};

// Distinct sequences of a batch, and which of them each candidate reads.
struct EventRows {
  Var rows;                      // [events, event_dim], oldest first
  std::vector<int32_t> offsets;  // [sequences + 1]
  std::vector<int32_t> of;       // [candidates] its sequence
};

// Parameters NAME.query.weight [width, candidate_dim], NAME.key.weight, NAME.value.weight;
// NAME.candidate_norm.gamma and .beta, NAME.event_norm.gamma and .beta; with kFixed NAME.compress
// and NAME.expand [length, rank] (C and D, transposed), with kAdaptive NAME.assign.weight
// [width, event_dim] and NAME.seeds [rank, width].
class LowRankAttention {
 public:
  static LowRankAttention Declare(Declaration& declaration, const std::string& name,
                                  const LowRankOptions& options);

  struct Result {
    Var linear;          // o of (3.5) as it is served, [candidates, value_width]
    Var rectified;       // with max(0, alpha)
    Var negativity;      // (3.6), [candidates]
    Var negative_share;  // sum of max(0, -alpha)^2 over sum of alpha^2, [candidates]: (3.6)
                         // for alpha of length 1
    Var negative_mass;   // sum of -alpha where alpha < 0, [candidates]
    Var mass;            // sum of |alpha|, [candidates]
  };
  // candidates [n, candidate_dim]. Without events all of it is zero.
  Result Apply(ForwardInput& input, const Var& candidates, const EventRows& events) const;

 private:
  // Where events lie in blocks of `length` a sequence, newest first, and candidates in blocks of
  // `most` a sequence; -1: nothing.
  struct Blocks {
    int64_t sequences = 0, length = 0, most = 0;
    std::vector<int32_t> events;      // [sequences * length]
    std::vector<int32_t> by_place;    // [length * sequences]
    std::vector<int32_t> recency;     // [sequences * length]
    std::vector<int32_t> counts;      // [sequences]
    std::vector<int32_t> candidates;  // [sequences * most]
    std::vector<int32_t> place;       // [candidates] in them
    std::vector<float> scale;         // [candidates] 1 / l
  };
  Blocks BlocksOf(const EventRows& events) const;
  // K_r [sequences, rank, width] and D^T [sequences, length, rank].
  struct Projected {
    Var keys, expand;
  };
  Projected Compress(ForwardInput& input, const Var& normed, const Var& keys,
                     const Blocks& blocks) const;

  struct Norm {
    DenseHandle gamma, beta;
  };
  static Norm DeclareNorm(Declaration& declaration, const std::string& name, int64_t dim);
  Var Normalize(ForwardInput& input, const Norm& norm, const Var& x) const;

  LowRankOptions options_;
  nn::LinearLayer query_, key_, value_, assign_;
  DenseHandle compress_, expand_, seeds_;
  Norm candidate_norm_, event_norm_;
};

}  // namespace pagoda::lrea
