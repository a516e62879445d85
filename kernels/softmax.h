// Softmax and log-softmax cross-entropy over the rows of x [n, m], in the
// max-subtracted form. y may be x. An element of -inf gets 0, and a row of nothing else is all
// zeros (masks by addition); its cross-entropy is NaN.
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

absl::Status SoftmaxForward(Context& ctx, const Tensor& x, const Tensor& y);
// The same over the first counts[i] of row i (i32 [n]; more than m is m), and 0 for the others:
// keys past a sequence's end, or after the query's place. A row that counts none is all zeros.
absl::Status MaskedSoftmaxForward(Context& ctx, const Tensor& x, const Tensor& counts,
                                  const Tensor& y);
// dx += y * (dy - sum(dy * y)); of either.
absl::Status SoftmaxBackward(Context& ctx, const Tensor& y, const Tensor& dy, const Tensor& dx);

// Cross-entropy of row i against class targets[i] (i32 [n]; -1: the row is skipped):
//   loss[i] = weights[i] * (log sum exp(x[i]) - x[i, target]);  weights [n] or absent
// and probabilities [n, m] kept for backward. A skipped row has loss 0 and no
// gradient. Any other target outside [0, m) is a bug of the caller that only the
// device can see: its loss is NaN, which stops the step, and it has no gradient.
absl::Status SoftmaxCrossEntropyForward(Context& ctx, const Tensor& x, const Tensor& targets,
                                        const Tensor& weights, const Tensor& loss,
                                        const Tensor& probabilities);
// dx += dloss[i] * weights[i] * (probabilities - onehot).
absl::Status SoftmaxCrossEntropyBackward(Context& ctx, const Tensor& probabilities,
                                         const Tensor& targets, const Tensor& weights,
                                         const Tensor& dloss, const Tensor& dx);

}  // namespace pagoda
