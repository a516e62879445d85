#include "algorithms/nn/op_node.h"
#include "algorithms/nn/ops.h"
#include "kernels/in_batch_logits.h"
#include "kernels/sampled_softmax_logits.h"
#include "kernels/sigmoid_cross_entropy.h"
#include "kernels/softmax.h"

namespace pagoda::nn {
namespace {

struct UploadedCandidates {
  SampledCandidateIds ids;
  SampledLogQ log_q;
};

// Of n samples with m candidates.
absl::StatusOr<UploadedCandidates> Upload(Context& ctx, const SampledCandidates& c, int64_t n,
                                          int64_t m) {
  const auto size = static_cast<int64_t>(c.negative_ids.size());
  const Shape shape = size == m ? Shape{m} : Shape{n, m};
  if (static_cast<int64_t>(c.positive_ids.size()) != n || size != NumElements(shape)) {
    return absl::InvalidArgumentError(absl::StrCat(c.positive_ids.size(), " and ", size,
                                                   " ids do not fit ", n, " samples with ", m,
                                                   " candidates"));
  }
  if (c.positive_log_q.empty() != c.negative_log_q.empty() && n > 0 && size > 0) {
    return absl::InvalidArgumentError("log_q is given for positives or negatives alone");
  }
  const auto ids = [&ctx](const std::vector<FeatureId>& values, const Shape& of) {
    return ctx.Upload<int64_t>(std::vector<int64_t>(values.begin(), values.end()), of);
  };
  UploadedCandidates uploaded;
  PAGODA_ASSIGN_OR_RETURN(uploaded.ids.positive, ids(c.positive_ids, {n}));
  PAGODA_ASSIGN_OR_RETURN(uploaded.ids.negative, ids(c.negative_ids, shape));
  if (c.positive_log_q.empty() && c.negative_log_q.empty()) return uploaded;
  if (c.positive_log_q.size() != c.positive_ids.size() ||
      c.negative_log_q.size() != c.negative_ids.size()) {
    return absl::InvalidArgumentError("log_q has not as many values as there are ids");
  }
  PAGODA_ASSIGN_OR_RETURN(uploaded.log_q.positive, ctx.Upload<float>(c.positive_log_q, {n}));
  PAGODA_ASSIGN_OR_RETURN(uploaded.log_q.negative, ctx.Upload<float>(c.negative_log_q, shape));
  return uploaded;
}

}  // namespace

Var SigmoidCrossEntropy(const Var& logits, const Var& labels, const Var& weights) {
  return RunOp("SigmoidCrossEntropy", {logits, labels}, [&](Tape& tape) -> absl::StatusOr<Var> {
    const Tensor label_values = labels.value();
    const Tensor weight_values = weights.valid() ? weights.value() : Tensor();
    PAGODA_ASSIGN_OR_RETURN(Tensor loss, tape.ctx().Empty(logits.shape()));
    PAGODA_RETURN_IF_ERROR(
        SigmoidCrossEntropyForward(tape.ctx(), logits.value(), label_values, weight_values, loss));
    return tape.Node(
        loss, {logits}, [logits, label_values, weight_values](const Tensor& dloss) -> absl::Status {
          PAGODA_ASSIGN_OR_RETURN(const Tensor dlogits, logits.tape().GradOf(logits));
          return SigmoidCrossEntropyBackward(logits.tape().ctx(), logits.value(), label_values,
                                             weight_values, dloss, dlogits);
        });
  });
}

Var SoftmaxCrossEntropy(const Var& x, const std::vector<int32_t>& targets, const Var& weights) {
  return RunOp("SoftmaxCrossEntropy", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 2));
    Context& ctx = tape.ctx();
    const int64_t num_rows = x.shape()[0];
    for (int32_t target : targets) {
      if (target >= -1 && target < x.shape()[1]) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("target ", target, " is not a class of ", ShapeString(x.shape())));
    }
    PAGODA_ASSIGN_OR_RETURN(const Tensor classes,
                            ctx.Upload<int32_t>(targets, {static_cast<int64_t>(targets.size())}));
    const Tensor weight_values = weights.valid() ? weights.value() : Tensor();
    PAGODA_ASSIGN_OR_RETURN(Tensor loss, ctx.Empty({num_rows}));
    PAGODA_ASSIGN_OR_RETURN(Tensor probabilities, ctx.Empty(x.shape()));
    PAGODA_RETURN_IF_ERROR(
        SoftmaxCrossEntropyForward(ctx, x.value(), classes, weight_values, loss, probabilities));
    return tape.Node(
        loss, {x}, [x, classes, weight_values, probabilities](const Tensor& dloss) -> absl::Status {
          PAGODA_ASSIGN_OR_RETURN(const Tensor dx, x.tape().GradOf(x));
          return SoftmaxCrossEntropyBackward(x.tape().ctx(), probabilities, classes, weight_values,
                                             dloss, dx);
        });
  });
}

Var InBatchLogits(const Var& scores, const std::vector<int32_t>& items, const Var& log_q,
                  float temperature) {
  return RunOp("InBatchLogits", {scores}, [&](Tape& tape) -> absl::StatusOr<Var> {
    Context& ctx = tape.ctx();
    const Shape columns = {static_cast<int64_t>(items.size())};
    PAGODA_ASSIGN_OR_RETURN(const Tensor numbers, ctx.Upload<int32_t>(items, columns));
    const Tensor correction = log_q.valid() ? log_q.value() : Tensor();
    PAGODA_ASSIGN_OR_RETURN(Tensor y, ctx.Empty(scores.shape()));
    PAGODA_RETURN_IF_ERROR(
        InBatchLogitsForward(ctx, scores.value(), numbers, correction, temperature, y));
    return tape.Node(y, {scores}, [scores, numbers, temperature](const Tensor& dy) {
      return AddGradient(scores, [&](const Tensor& dx, float beta) {
        return InBatchLogitsBackward(scores.tape().ctx(), dy, numbers, temperature, beta, dx);
      });
    });
  });
}

Var SampledSoftmaxLogits(const Var& positives, const Var& negatives,
                         const SampledCandidates& candidates, float temperature) {
  return RunOp(
      "SampledSoftmaxLogits", {positives, negatives}, [&](Tape& tape) -> absl::StatusOr<Var> {
        PAGODA_RETURN_IF_ERROR(CheckRank(negatives, 2));
        Context& ctx = tape.ctx();
        const int64_t n = negatives.shape()[0], m = negatives.shape()[1];
        PAGODA_ASSIGN_OR_RETURN(const UploadedCandidates on_device, Upload(ctx, candidates, n, m));
        PAGODA_ASSIGN_OR_RETURN(Tensor y, ctx.Empty({n, 1 + m}));
        PAGODA_RETURN_IF_ERROR(SampledSoftmaxLogitsForward(ctx, positives.value(),
                                                           negatives.value(), on_device.ids,
                                                           on_device.log_q, temperature, y));
        const SampledCandidateIds ids = on_device.ids;
        return tape.Node(
            y, {positives, negatives},
            [positives, negatives, ids, temperature](const Tensor& dy) -> absl::Status {
              Context& context = negatives.tape().ctx();
              PAGODA_RETURN_IF_ERROR(AddGradient(positives, [&](const Tensor& dx, float beta) {
                return SampledSoftmaxLogitsBackward(context, dy, ids, temperature, beta, dx,
                                                    Tensor());
              }));
              return AddGradient(negatives, [&](const Tensor& dx, float beta) {
                return SampledSoftmaxLogitsBackward(context, dy, ids, temperature, beta, Tensor(),
                                                    dx);
              });
            });
      });
}

Var ItemLogFrequency(Tape& tape, const std::vector<int32_t>& buckets,
                     const ItemFrequencyState& state, const ItemFrequencyOptions& options) {
  if (!tape.status().ok()) return Var();
  const auto run = [&]() -> absl::StatusOr<Var> {
    const Shape shape = {static_cast<int64_t>(buckets.size())};
    for (const int32_t bucket : buckets) {  // A GPU would only give NaN.
      if (bucket >= 0 && bucket < state.last_step.size()) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("bucket ", bucket, " is not one of ", state.last_step.size()));
    }
    PAGODA_ASSIGN_OR_RETURN(const Tensor numbers, tape.ctx().Upload<int32_t>(buckets, shape));
    PAGODA_ASSIGN_OR_RETURN(Tensor log_q, tape.ctx().Empty(shape));
    PAGODA_RETURN_IF_ERROR(
        ItemFrequency(tape.ctx(), numbers, options.rate, options.update, state, log_q));
    return tape.Leaf(log_q, /*needs_grad=*/false);
  };
  absl::StatusOr<Var> result = run();
  if (result.ok()) return *result;
  tape.Fail(WithContext(result.status(), "ItemLogFrequency"));
  return Var();
}

}  // namespace pagoda::nn
