// The operations a model is written in: values on a tape in, a value on the same
// tape out, backward recorded. Each is one or a few operators of kernels/.
//
// Shapes are row-major; n is the batch. A shape or type that does not fit is the
// tape's sticky error (INVALID_ARGUMENT, with the operation's name), and so is an
// invalid operand, except where a Var is marked optional. Nothing here reads a
// tensor on the host.
//
// Threads: as the tape, one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithms/nn/tape.h"
#include "base/ids.h"
#include "base/random.h"
#include "kernels/activation.h"
#include "kernels/batch_norm.h"
#include "kernels/embedding_bag.h"
#include "kernels/item_frequency.h"
#include "kernels/segment_sum.h"

namespace pagoda::nn {

// ---- Elementwise and sums (ops_elementwise.cc). Operands of one shape. ----
Var Add(const Var& a, const Var& b);
Var Subtract(const Var& a, const Var& b);
Var Multiply(const Var& a, const Var& b);
Var Scale(const Var& x, float alpha);
Var Square(const Var& x);
Var Divide(const Var& a, const Var& b);
Var Exp(const Var& x);
Var Log(const Var& x);                               // natural
Var Affine(const Var& x, float scale, float shift);  // scale * x + shift
// The nearest to x within [low, high]. Gradient where low <= x <= high alone.
Var Clip(const Var& x, float low, float high);
// x [n, d] + v [d] in every row; x [n, d] * s [n] in every column.
Var AddRowVector(const Var& x, const Var& v);
Var ScaleRows(const Var& x, const Var& s);
Var Sum(const Var& x);                     // [...] -> scalar
Var SumColumns(const Var& x);              // [n, d] -> [n]
Var DotRows(const Var& a, const Var& b);   // [n, d], [n, d] -> [n]
Var Activate(const Var& x, Activation f);  // any shape
Var Sigmoid(const Var& x);                 // any shape
Var Softmax(const Var& x);                 // [n, m], over each row
// Over the first counts[i] (host; or i32 [n] on the device) of row i, and 0 beyond.
Var MaskedSoftmax(const Var& x, const std::vector<int32_t>& counts);
Var MaskedSoftmax(const Var& x, const Tensor& counts);
Var StopGradient(const Var& x);  // the same value, cut off from backward

// ---- Products (ops_linear.cc). ----
struct Transposes {
  bool a = false;
  bool b = false;
};
// a [m, k], b [k, n] -> [m, n]; a transposed operand is given as [k, m] or [n, k].
Var MatMul(const Var& a, const Var& b, Transposes transposes = {});
// a [s, m, k], b [s, k, n] -> [s, m, n]: a product for each of the first axis.
Var BatchMatMul(const Var& a, const Var& b, Transposes transposes = {});
// f(x w^T + bias): x [n, in], w [out, in], bias [out] (optional) -> [n, out].
Var Linear(const Var& x, const Var& w, const Var& bias, Activation f = Activation::kNone);

// ---- Shape (ops_shape.cc). ----
// Values from the host as [n], without gradient.
Var Constant(Tape& tape, const std::vector<float>& values);
Var Reshape(const Var& x, const Shape& shape);
Var Flatten(const Var& x);                                   // [n, ...] -> [n, rest]
Var Concat(const std::vector<Var>& parts);                   // [n, d_i] -> [n, sum d_i]
Var ConcatRows(const std::vector<Var>& parts);               // [n_i, ...] -> [sum n_i, ...]
Var SliceColumns(const Var& x, int64_t begin, int64_t end);  // [n, d] -> [n, end - begin]
Var SliceRows(const Var& x, int64_t begin, int64_t end);     // [n, ...] -> [end - begin, ...]
// y[i] = x[rows[i]], or zeros where rows[i] is -1; rows (host) may repeat. x [n, ...] -> [rows,
// ...]. An element's gradient is the sum over its row's uses, in the order of `rows`.
Var SelectRows(const Var& x, const std::vector<int32_t>& rows);
Var BroadcastRow(const Var& v, int64_t num_rows);  // [d] -> [num_rows, d]
Var SwapAxes(const Var& x);                        // [a, b, c, d] -> [a, c, b, d]
// Sequences as a block and back (kernels/pad_sequences.h); offsets [n + 1] on the host.
Var PadSequences(const Var& ragged, const std::vector<int32_t>& offsets, int64_t length);
Var UnpadSequences(const Var& padded, const std::vector<int32_t>& offsets);
// The same with offsets i32 [n + 1] on the device, which are trusted (SequenceLayout has them).
Var PadSequences(const Var& ragged, const Tensor& offsets, int64_t length);
Var UnpadSequences(const Var& padded, const Tensor& offsets, int64_t num_rows);

// ---- Normalisation (ops_normalize.cc). x [n, d]; gamma, beta [d]. ----
struct BatchNormState {
  Tensor running_mean, running_var;  // [d]
  bool update = true;                // In training: move them towards the batch's.
};
// Training uses and differentiates the batch's statistics, inference the running
// ones (no gradient to x is recorded then).
Var BatchNorm(const Var& x, const Var& gamma, const Var& beta, const BatchNormState& state,
              const BatchNormArgs& args, bool training);
Var LayerNorm(const Var& x, const Var& gamma, const Var& beta, float epsilon = 1e-5f);
Var L2Normalize(const Var& x, float epsilon = 1e-12f);
Var RmsNorm(const Var& x, const Var& gamma, float epsilon = 1e-5f);
// Keeps (sample, column) by (key, first_sample + row, column); identity at rate 0.
Var Dropout(const Var& x, float rate, RandomKey key, uint64_t first_sample);
// The same for rows that are not samples in order: (key, counters[row] + column).
struct RowDropout {
  float rate = 0.0f;
  RandomKey key = RandomKey();
  Tensor counters = Tensor();  // i64 [n]; may be absent at rate 0.
};
Var DropoutRows(const Var& x, const RowDropout& dropout);
// Turns the pairs of columns (2i, 2i + 1) of each head of x [n, heads * width] by
// position * base^(-2i / width); width even (kernels/rotary_embedding.h).
struct RotaryTable {
  Tensor positions;  // i32 [n], trusted to be rows of `turns`.
  Tensor turns;      // [positions, width]
};
Var RotaryEmbedding(const Var& x, const RotaryTable& table);
Var RotaryEmbedding(const Var& x, const std::vector<int32_t>& positions, int64_t heads,
                    float base = 10000.0f);

// ---- Feature interactions (ops_interaction.cc). ----
Var DotInteraction(const Var& x);  // [n, f, d] -> [n, f (f - 1) / 2]
Var Fm(const Var& x);              // [n, f, d] -> [n]
Var CrossV1(const Var& x0, const Var& x, const Var& w, const Var& b);  // -> [n, d]
Var CrossV2(const Var& x0, const Var& u, const Var& x);                // -> [n, d]

// Averages of x [n, d] over windows of columns that begin every `stride` columns (kernels/
// average_pool.h) -> [n, (d - window) / stride + 1].
struct PoolWindow {
  int64_t window = 1;
  int64_t stride = 1;
};
Var AveragePool(const Var& x, const PoolWindow& pool);
inline Var AveragePool(const Var& x, int64_t window, int64_t stride) {
  return AveragePool(x, PoolWindow{window, stride});
}
// USM's signed sums and products of the fields of every combination of `order` (2 to 4) of the f
// fields (kernels/field_combinations.h): x [n, f, d] -> [n, (order + 1) * combinations, d], the
// sums first, the products last.
Var CombineFields(const Var& x, int order);

// ---- Rows of tables and sequences (ops_embedding.cc). ----
// Rows [first_row, first_row + num_rows) of `rows` [*, dim]: what an index counts.
struct RowSpan {
  int64_t first_row = 0;
  int64_t num_rows = 0;
};
// -> [index.batch, index.num_features, dim]; index.columns must be 0, 1, 2, ...
Var EmbeddingBag(const Var& rows, RowSpan span, const EmbeddingBagIndex& index);
struct RowGather {
  Tensor inverse;             // i32 [nnz]
  Tensor occurrence_offsets;  // i32 [span.num_rows + 1]
  Tensor occurrences;         // i32 [nnz]
};
Var GatherRows(const Var& rows, RowSpan span, const RowGather& index);  // -> [nnz, dim]
// values [nnz, d], offsets [segments + 1] on the host -> [segments, d].
Var SegmentPool(const Var& values, const std::vector<int32_t>& offsets, SegmentPooling pooling);
Var SegmentPool(const Var& values, const Tensor& offsets, SegmentPooling pooling);  // Trusted.
// The index that gathers rows[i] (host, each in [0, num_rows)) of num_rows rows.
//   INVALID_ARGUMENT  a row outside [0, num_rows) (named)
absl::StatusOr<RowGather> MakeRowGather(Context& ctx, const std::vector<int32_t>& rows,
                                        int64_t num_rows);

// ---- Losses per sample (ops_loss.cc); models add them up with losses.h. ----
// logits, labels [n], weights [n] (optional) -> [n]. Gradient to the logits only.
Var SigmoidCrossEntropy(const Var& logits, const Var& labels, const Var& weights);
// x [n, m], targets (host, -1 skips the row), weights [n] (optional) -> [n].
Var SoftmaxCrossEntropy(const Var& x, const std::vector<int32_t>& targets, const Var& weights);
// In-batch softmax logits (kernels/in_batch_logits.h): scores [n, n] -> [n, n].
// items [n]: equal numbers mark the same item; log_q [n] (optional, no gradient).
Var InBatchLogits(const Var& scores, const std::vector<int32_t>& items, const Var& log_q,
                  float temperature);
// Sampled softmax logits (kernels/sampled_softmax_logits.h): the sample's own item in column 0,
// candidates behind it, for SoftmaxCrossEntropy with targets 0.
//    positives [n], negatives [n, m] -> [n, 1 + m]
// The candidates are the same for all samples, or each sample has its own m of them.
struct SampledCandidates {
  std::vector<FeatureId> positive_ids;  // [n]
  std::vector<FeatureId> negative_ids;  // [m] or [n * m]
  // log of each item's sampling probability, taken off after the division by the temperature;
  // empty: zeros.
  std::vector<float> positive_log_q;  // [n]
  std::vector<float> negative_log_q;  // [m] or [n * m], as the ids
};
Var SampledSoftmaxLogits(const Var& positives, const Var& negatives,
                         const SampledCandidates& candidates, float temperature);
// log of how often the items of `buckets` are in a batch (kernels/item_frequency.h),
// counting this batch when `update`; no gradient. -> [n]
struct ItemFrequencyOptions {
  float rate = 0.01f;
  bool update = true;
};
Var ItemLogFrequency(Tape& tape, const std::vector<int32_t>& buckets,
                     const ItemFrequencyState& state, const ItemFrequencyOptions& options);

}  // namespace pagoda::nn
