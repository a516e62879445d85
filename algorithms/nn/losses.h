// What most models end with: logits to a prediction and a loss.
#pragma once

#include "algorithms/nn/model.h"

namespace pagoda::nn {

// Sum of the batch's sample weights (its size when it has none), on the host:
// the count of a loss in which every sample takes part.
double WeightSum(const Batch& batch);

// prediction = sigmoid(logits), logits [batch]; loss "log_loss" = weighted sum of
// the samples' logistic losses, when the batch has labels.
ForwardOutput BinaryOutput(ForwardInput& input, const Var& logits);

// Adds the loss "l2" = l2 / 2 * sum of squares of `values` (each [batch, ...]: the
// rows that a batch looked up, once per sample), counted like the other losses.
// Invalid values are passed over. Does nothing when not training or l2 == 0.
void AddL2(ForwardInput& input, const std::vector<Var>& values, double l2, ForwardOutput* output);

}  // namespace pagoda::nn
