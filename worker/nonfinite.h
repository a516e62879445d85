// Finding what is not finite (NaN or infinite), and saying so in words that lead to
// the input: names of losses, tables, features and tensors, files and lines.
//
// Threads: pure functions, except where they run the model.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithms/nn/batch.h"
#include "algorithms/nn/declaration.h"
#include "algorithms/nn/feature_schema.h"
#include "algorithms/nn/step.h"
#include "base/finite.h"
#include "worker/model_instance.h"

namespace pagoda {

// Index of the first value that is not finite, or -1.
int64_t FirstNonFinite(std::span<const float> values);

// "adult.csv:17, adult.csv:40 and 3 more": where samples came from. At most
// `shown_max` are listed.
std::string DescribeSamples(const Batch& batch, const std::vector<int64_t>& samples,
                            size_t shown_max = 5);

// The samples of `step` that make its loss non-finite: those whose own numeric
// values, label or weight are not finite; else those whose prediction (or
// embedding) is not. Empty when they cannot be told apart. Runs the model again
// (without training) when one sample has spoilt all, as in batch norm.
std::vector<int64_t> FindNonFiniteSamples(ModelInstance& model, const StepInput& input,
                                          ModelStep& step);

// "loss 'log_loss' is nan; samples data.csv:17" (or the batch's range of lines).
std::string DescribeNonFiniteLoss(ModelInstance& model, const StepInput& input, ModelStep& step,
                                  const std::vector<LossValue>& losses);

// "the gradient of table 'user', id 17, is inf (feature 'user'); samples data.csv:3".
// `row` is the position in unique_ids[table], `value` the culprit.
std::string DescribeNonFiniteRow(const ModelInstance& model, const PreparedBatch& batch,
                                 size_t table, int64_t row, float value);

// "the gradient of 'deep.0.weight' is nan", or "the running statistic 'deep.0.mean' is
// inf"; `element` counts in the flat values.
std::string DescribeNonFiniteDense(const ParameterSet& parameters, int64_t element, float value);

}  // namespace pagoda
