// Attention with its parameters: multi-head attention with projections, and DIN's unit.
//
// Sequences are ragged rows under a SequenceLayout (sequence_layout.h). Declare and Apply as in
// layers.h; errors of Apply are the tape's. Threads: immutable after Declare.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "algorithms/nn/attention.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/model.h"
#include "algorithms/nn/sequence_layout.h"

namespace pagoda::nn {

// Drops elements of rows [layout.num_rows(), d] in training, by (step, label, sequence,
// position, column); the identity otherwise. `label` tells layers apart.
Var DropoutPositions(ForwardInput& input, const Var& rows, const SequenceLayout& layout,
                     double rate, uint64_t label);

// Widths that are 0 are those of the line before, in the order of this struct.
struct MultiHeadAttentionOptions {
  int64_t query_dim = 0;    // Columns of the queries' rows.
  int64_t key_dim = 0;      // Of the keys' rows.
  int64_t value_dim = 0;    // Of the values' rows.
  int64_t width = 0;        // Of projected queries and keys, all heads together; 0: query_dim.
  int64_t value_width = 0;  // Of projected values.
  int64_t output_dim = 0;   // Of what comes out; 0: query_dim.
  int64_t heads = 1;        // Divides width and value_width.
  bool causal = false;      // A position sees itself and those before.
  bool biases = false;      // Of the projections.
  bool rotary = false;      // Queries and keys are turned by their positions.
  double rotary_base = 10000.0;
  bool project_output = true;  // false: heads side by side, value_width columns.
  double dropout = 0.0;        // Of the weights.
  double init_stddev = -1.0;   // Of the projections; < 0: Xavier.
};

// Multi-head attention (Vaswani et al., 2017, section 3.2.2):
//
//    head_h = softmax((Q W_q)_h (K W_k)_h^T / sqrt(width / heads) + bias) (V W_v)_h
//    y      = [head_1; ...; head_H] W_o
//
// Parameters NAME.query.weight [width, query_dim], NAME.key.weight, NAME.value.weight,
// NAME.output.weight [output_dim, value_width], and .bias of each with `biases`.
// A query whose sequence has no keys gets exactly zero, also with biases, and passes no gradient.
class MultiHeadAttention {
 public:
  //   REQUIRES: widths as the options' comments say (models check their own options).
  static MultiHeadAttention Declare(Declaration& declaration, const std::string& name,
                                    const MultiHeadAttentionOptions& options);
  const MultiHeadAttentionOptions& options() const { return options_; }  // Without zeros.

  // Every position of `queries` over the positions of the same sequence in `keys` and
  // `values` (of one layout). `bias` [sequences, queries' length, keys' length] or invalid.
  struct Rows {
    Var queries;  // [query_layout.num_rows(), query_dim]
    Var keys;     // [key_layout.num_rows(), key_dim]
    Var values;   // [key_layout.num_rows(), value_dim]
    Var bias;
  };
  // -> output [query_layout.num_rows(), output_dim], weights [sequences, heads, lq, lk].
  AttentionResult Apply(ForwardInput& input, const Rows& rows, const SequenceLayout& query_layout,
                        const SequenceLayout& key_layout) const;
  // Queries and keys of one layout, and the output alone: sequences of like lengths are padded
  // together (SequenceLayout::Groups) unless there is a bias.
  Var Within(ForwardInput& input, const Rows& rows, const SequenceLayout& layout) const;
  // x over itself. REQUIRES: one width of queries, keys and values.
  Var Self(ForwardInput& input, const Var& x, const SequenceLayout& layout,
           const Var& bias = Var()) const;
  // Of the last position of each sequence, which sees all of it: queries [layout.size(),
  // query_dim] over keys (and values) [layout.num_rows(), key_dim] -> [layout.size(), output_dim],
  // the rows that Self has there. REQUIRES: no dropout of the weights when training.
  Var Last(ForwardInput& input, const Var& queries, const Var& keys,
           const SequenceLayout& layout) const;
  // One query a sequence: rows.queries [layout.size(), query_dim], rows.bias [sequences,
  // length] or invalid -> output [sequences, output_dim], weights [sequences, heads, 1, length].
  //   INVALID_ARGUMENT (the tape's)  with `rotary`, as such a query has no position
  AttentionResult Target(ForwardInput& input, const Rows& rows, const SequenceLayout& layout) const;

 private:
  struct Projected {
    Var q, k, v;  // Blocks [n, l, width].
    bool causal = false;
  };
  AttentionResult Attend(ForwardInput& input, const Projected& projected, const Var& bias,
                         const SequenceLayout& key_layout) const;
  // What heads [layout.size(), 1, value_width] of one query a sequence become: [layout.size(),
  // output_dim], zeros where the sequence is empty.
  Var OneEach(ForwardInput& input, const Var& heads, const SequenceLayout& layout) const;

  MultiHeadAttentionOptions options_;
  LinearLayer query_, key_, value_, output_;
  uint64_t dropout_label_ = 0;
};

enum class DinWeights {
  kSoftmax,  // Over a sequence's positions.
  kSigmoid   // Each on its own; they do not add up to one.
};
struct DinOptions {
  int64_t dim = 0;  // Of queries and keys.
  std::vector<int64_t> hidden = {80, 40};
  Activation activation = Activation::kRelu;
  DinWeights weights = DinWeights::kSoftmax;
};

// The local activation unit of DIN (Zhou et al., "Deep Interest Network for Click-Through Rate
// Prediction", 2018):
//
//    s_t = MLP([q; k_t; q - k_t; q * k_t]),   w = softmax(s) or sigmoid(s),   y = sum of w_t v_t
//
// Parameters NAME.0.weight, NAME.0.bias, ... of the hidden layers and NAME.score.weight,
// NAME.score.bias. A sequence without positions gives exactly zero.
class DinUnit {
 public:
  static DinUnit Declare(Declaration& declaration, const std::string& name,
                         const DinOptions& options);

  // query [layout.size(), dim], keys [layout.num_rows(), dim], values [layout.num_rows(), *].
  struct Result {
    Var output;   // [layout.size(), columns of values]
    Var weights;  // [layout.num_rows()]
  };
  Result Apply(ForwardInput& input, const Var& query, const Var& keys, const Var& values,
               const SequenceLayout& layout) const;

 private:
  DinOptions options_;
  Mlp mlp_;
  LinearLayer score_;
};

}  // namespace pagoda::nn
