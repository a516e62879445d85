// Transformers over ragged sequences: norms, feed-forward layers, blocks and stacks of them.
//
//   Declare:  stack_ = TransformerStack::Declare(declaration, "encoder", options);
//   Forward:  SequenceLayout layout(input.tape(), *sequence.offsets, first_sample);
//             Var z = stack_.Apply(input, sequence.values, layout);   // [num_rows, dim]
//
// Everything takes and gives rows [layout.num_rows(), dim] (sequence_layout.h); errors are the
// tape's. Threads: immutable after Declare.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "algorithms/nn/attention_layers.h"
#include "algorithms/nn/layers.h"
#include "algorithms/nn/model.h"
#include "algorithms/nn/sequence_layout.h"

namespace pagoda::nn {

enum class NormKind { kLayer, kRms };

// LayerNorm or RmsNorm of rows [n, dim]: parameters NAME.gamma [dim] (ones), and NAME.beta
// [dim] (zeros) of a LayerNorm. Neither decays.
class NormLayer {
 public:
  static NormLayer Declare(Declaration& declaration, const std::string& name, int64_t dim,
                           NormKind kind, double epsilon = 1e-5);
  Var Apply(ForwardInput& input, const Var& x) const;

 private:
  DenseHandle gamma_, beta_;
  NormKind kind_ = NormKind::kLayer;
  float epsilon_ = 0.0f;
};

// A learned vector for each of the first `most` positions: NAME.weight [most, dim].
class LearnedPositions {
 public:
  static LearnedPositions Declare(Declaration& declaration, const std::string& name, int64_t most,
                                  int64_t dim, double init_stddev = 0.02);
  // -> [layout.num_rows(), dim]
  //   INVALID_ARGUMENT (the tape's)  a sequence has more positions
  Var Apply(ForwardInput& input, const SequenceLayout& layout, PositionOrder order) const;

 private:
  DenseHandle weight_;
};

struct FeedForwardOptions {
  int64_t dim = 0;
  int64_t hidden = 0;  // 0: 4 * dim, or SwiGluHidden(dim) of a SwiGlu.
  Activation activation = Activation::kRelu;
  bool biases = true;
  double dropout = 0.0;  // Of the hidden units.
  double init_stddev = -1.0;
};

// W_2 Dropout(f(W_1 x + b_1)) + b_2: parameters NAME.up.weight [hidden, dim], NAME.down.weight
// [dim, hidden], and .bias of each with `biases`.
class FeedForward {
 public:
  static FeedForward Declare(Declaration& declaration, const std::string& name,
                             const FeedForwardOptions& options);
  Var Apply(ForwardInput& input, const Var& x, const SequenceLayout& layout) const;

 private:
  FeedForwardOptions options_;
  LinearLayer up_, down_;
  uint64_t dropout_label_ = 0;
};

// W_2 (SiLU(W_1 x) * W_3 x) (Shazeer, "GLU Variants Improve Transformer", 2020): parameters
// NAME.gate.weight (W_1), NAME.up.weight (W_3) [hidden, dim], NAME.down.weight (W_2) [dim,
// hidden]. Of the options, `activation`, `biases` and `dropout` are not used.
class SwiGlu {
 public:
  static SwiGlu Declare(Declaration& declaration, const std::string& name,
                        const FeedForwardOptions& options);
  Var Apply(ForwardInput& input, const Var& x) const;

 private:
  LinearLayer gate_, up_, down_;
};
// floor(2/3 * 4 dim), up to the next multiple of 32.
int64_t SwiGluHidden(int64_t dim);

// kGpsd: pre-RMSNorm with rotary positions and without biases, as LLaMA's
//    u  = h + Dropout(MHA(RMSNorm(h)))
//    h' = u + Dropout(SwiGLU(RMSNorm(u)))
// kSasRec: LayerNorm on the way of the queries, biases, positions added to the input by the
// model (Kang & McAuley, "Self-Attentive Sequential Recommendation", 2018; the output
// projection is that of its later implementations)
//    q  = LayerNorm(h),  u = q + MHA(queries q; keys and values h), Dropout of its weights
//    m  = LayerNorm(u),  h' = m + Dropout(W_2 Dropout(ReLU(W_1 m + b_1)) + b_2)
enum class TransformerStyle { kGpsd, kSasRec };

struct TransformerOptions {
  TransformerStyle style = TransformerStyle::kGpsd;
  int64_t dim = 0;
  int64_t heads = 1;   // Divides dim; dim / heads is even in the style kGpsd.
  int64_t layers = 1;  // Of a stack.
  int64_t hidden = 0;  // 0: SwiGluHidden(dim), or dim in the style kSasRec.
  bool causal = true;
  bool project_output = true;  // W_o of the attention.
  double dropout = 0.0;
  double rotary_base = 10000.0;
  double norm_epsilon = 1e-5;
  double init_stddev = -1.0;  // Of all matrices; < 0: Xavier.
};

// One block. Parameters NAME.attention.*, NAME.attention_norm.*, NAME.feed_forward.*,
// NAME.feed_forward_norm.*.
class TransformerBlock {
 public:
  static TransformerBlock Declare(Declaration& declaration, const std::string& name,
                                  const TransformerOptions& options);
  // `bias` [sequences, length, length] is added to the attention's scores; may be invalid.
  Var Apply(ForwardInput& input, const Var& h, const SequenceLayout& layout,
            const Var& bias = Var()) const;
  // The last position of each sequence alone -> [layout.size(), dim].
  //   REQUIRES: none is empty; no dropout when training
  Var ApplyLast(ForwardInput& input, const Var& h, const SequenceLayout& layout) const;

 private:
  Var ApplyGpsd(ForwardInput& input, const Var& h, const SequenceLayout& layout,
                const Var& bias) const;
  Var ApplySasRec(ForwardInput& input, const Var& h, const SequenceLayout& layout,
                  const Var& bias) const;

  TransformerOptions options_;
  MultiHeadAttention attention_;
  NormLayer attention_norm_, feed_forward_norm_;
  SwiGlu swiglu_;             // kGpsd
  FeedForward feed_forward_;  // kSasRec
  uint64_t attention_dropout_ = 0, feed_forward_dropout_ = 0;
};

// `layers` blocks NAME.0, NAME.1, ... and a norm of the style's kind, NAME.norm.*.
class TransformerStack {
 public:
  static TransformerStack Declare(Declaration& declaration, const std::string& name,
                                  const TransformerOptions& options);
  Var Apply(ForwardInput& input, const Var& h, const SequenceLayout& layout,
            const Var& bias = Var()) const;
  // What Apply has at each sequence's last position -> [layout.size(), dim]; zeros for a sequence
  // without positions. The last block then works on these alone, unless it drops elements.
  Var ApplyLast(ForwardInput& input, const Var& h, const SequenceLayout& layout) const;

 private:
  bool drops_ = false;
  std::vector<TransformerBlock> blocks_;
  NormLayer norm_;
};

}  // namespace pagoda::nn
