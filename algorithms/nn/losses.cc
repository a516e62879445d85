#include "algorithms/nn/losses.h"

#include "algorithms/nn/ops.h"

namespace pagoda::nn {

double WeightSum(const Batch& batch) {
  if (batch.weights.empty()) return static_cast<double>(batch.size);
  double sum = 0.0;
  for (float weight : batch.weights) sum += static_cast<double>(weight);
  return sum;
}

ForwardOutput BinaryOutput(ForwardInput& input, const Var& logits) {
  ForwardOutput output;
  output.prediction = Sigmoid(logits);
  const Var labels = input.Labels();
  if (!labels.valid()) return output;
  LossTerm loss;
  loss.name = "log_loss";
  loss.sum = Sum(SigmoidCrossEntropy(logits, labels, input.Weights()));
  loss.count = WeightSum(input.host().batch);
  output.losses.push_back(loss);
  return output;
}

void AddL2(ForwardInput& input, const std::vector<Var>& values, double l2, ForwardOutput* output) {
  if (!input.training() || l2 == 0.0) return;
  LossTerm loss;
  loss.name = "l2";
  loss.count = WeightSum(input.host().batch);
  loss.weight = static_cast<float>(l2);
  for (const Var& part : values) {
    if (!part.valid()) continue;
    const Var sum = Scale(Sum(Square(part)), 0.5f);
    loss.sum = loss.sum.valid() ? Add(loss.sum, sum) : sum;
  }
  if (loss.sum.valid()) output->losses.push_back(loss);
}

}  // namespace pagoda::nn
