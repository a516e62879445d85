#include "algorithms/nn/op_node.h"
#include "algorithms/nn/ops.h"
#include "kernels/average_pool.h"
#include "kernels/cross_layer.h"
#include "kernels/dot_interaction.h"
#include "kernels/field_combinations.h"
#include "kernels/fm.h"

namespace pagoda::nn {
namespace {

// The gradient of `input` to write with `beta`; left absent when it needs none.
absl::Status AskGradient(const Var& input, Tensor* gradient, float* beta) {
  return AddGradient(input, [&](const Tensor& dx, float beta_of_input) {
    *gradient = dx;
    *beta = beta_of_input;
    return absl::OkStatus();
  });
}

}  // namespace

Var DotInteraction(const Var& x) {
  return RunOp("DotInteraction", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 3));
    const int64_t num_features = x.shape()[1];
    PAGODA_ASSIGN_OR_RETURN(
        Tensor y, tape.ctx().Empty({x.shape()[0], num_features * (num_features - 1) / 2}));
    PAGODA_RETURN_IF_ERROR(DotInteractionForward(tape.ctx(), x.value(), y));
    return tape.Node(y, {x}, [x](const Tensor& dy) {
      return AddGradient(x, [&](const Tensor& dx, float beta) {
        return DotInteractionBackward(x.tape().ctx(), x.value(), dy, beta, dx);
      });
    });
  });
}

Var Fm(const Var& x) {
  return RunOp("Fm", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 3));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty({x.shape()[0]}));
    PAGODA_RETURN_IF_ERROR(FmForward(tape.ctx(), x.value(), y));
    return tape.Node(y, {x}, [x](const Tensor& dy) {
      return AddGradient(x, [&](const Tensor& dx, float beta) {
        return FmBackward(x.tape().ctx(), x.value(), dy, beta, dx);
      });
    });
  });
}

Var AveragePool(const Var& x, const PoolWindow& pool) {
  return RunOp("AveragePool", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 2));
    const AveragePoolArgs args = {.window = pool.window,
                                  .stride = std::max<int64_t>(pool.stride, 1)};
    if (pool.window < 1 || pool.stride < 1 || pool.window > x.shape()[1]) {
      return absl::InvalidArgumentError(absl::StrCat("a window of ", pool.window, " with stride ",
                                                     pool.stride, " does not fit ",
                                                     ShapeString(x.shape())));
    }
    PAGODA_ASSIGN_OR_RETURN(Tensor y,
                            tape.ctx().Empty({x.shape()[0], NumPoolWindows(x.shape()[1], args)}));
    PAGODA_RETURN_IF_ERROR(AveragePoolForward(tape.ctx(), x.value(), args, y));
    return tape.Node(y, {x}, [x, args](const Tensor& dy) {
      return AddGradient(x, [&](const Tensor& dx, float beta) {
        return AveragePoolBackward(x.tape().ctx(), dy, args, beta, dx);
      });
    });
  });
}

Var CombineFields(const Var& x, int order) {
  return RunOp("CombineFields", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 3));
    if (order < kLeastFieldOrder || order > kMostFieldOrder || order > x.shape()[1]) {
      return absl::InvalidArgumentError(
          absl::StrCat("order ", order, " is not within [2, 4] and the ", x.shape()[1], " fields"));
    }
    const std::vector<int32_t> fields = FieldCombinations(static_cast<int>(x.shape()[1]), order);
    const int64_t m = static_cast<int64_t>(fields.size()) / order;
    PAGODA_ASSIGN_OR_RETURN(const Tensor combinations,
                            tape.ctx().Upload<int32_t>(fields, {m, order}));
    PAGODA_ASSIGN_OR_RETURN(Tensor y,
                            tape.ctx().Empty({x.shape()[0], (order + 1) * m, x.shape()[2]}));
    PAGODA_RETURN_IF_ERROR(FieldCombinationsForward(tape.ctx(), x.value(), combinations, y));
    return tape.Node(y, {x}, [x, combinations](const Tensor& dy) {
      return AddGradient(x, [&](const Tensor& dx, float beta) {
        return FieldCombinationsBackward(x.tape().ctx(), x.value(), combinations, dy, beta, dx);
      });
    });
  });
}

Var CrossV1(const Var& x0, const Var& x, const Var& w, const Var& b) {
  return RunOp("CrossV1", {x0, x, w, b}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 2));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_ASSIGN_OR_RETURN(Tensor xw, tape.ctx().Empty({x.shape()[0]}));
    PAGODA_RETURN_IF_ERROR(
        CrossV1Forward(tape.ctx(), x0.value(), x.value(), w.value(), b.value(), y, xw));
    return tape.Node(y, {x0, x, w, b}, [x0, x, w, b, xw](const Tensor& dy) -> absl::Status {
      CrossV1Gradients gradients;
      PAGODA_RETURN_IF_ERROR(AskGradient(x0, &gradients.dx0, &gradients.beta_dx0));
      PAGODA_RETURN_IF_ERROR(AskGradient(x, &gradients.dx, &gradients.beta_dx));
      PAGODA_RETURN_IF_ERROR(AskGradient(w, &gradients.dw, &gradients.beta_dw));
      PAGODA_RETURN_IF_ERROR(AskGradient(b, &gradients.db, &gradients.beta_db));
      return CrossV1Backward(x.tape().ctx(), x0.value(), x.value(), w.value(), xw, dy, gradients);
    });
  });
}

Var CrossV2(const Var& x0, const Var& u, const Var& x) {
  return RunOp("CrossV2", {x0, u, x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_RETURN_IF_ERROR(CrossV2Forward(tape.ctx(), x0.value(), u.value(), x.value(), y));
    return tape.Node(y, {x0, u, x}, [x0, u, x](const Tensor& dy) -> absl::Status {
      CrossV2Gradients gradients;
      PAGODA_RETURN_IF_ERROR(AskGradient(x0, &gradients.dx0, &gradients.beta_dx0));
      PAGODA_RETURN_IF_ERROR(AskGradient(u, &gradients.du, &gradients.beta_du));
      // dx is dy: where nothing else has been added yet, dy's memory is handed on.
      const bool hand_on = x.needs_grad() && x.grad().absent();
      if (!hand_on) PAGODA_RETURN_IF_ERROR(AskGradient(x, &gradients.dx, &gradients.beta_dx));
      PAGODA_RETURN_IF_ERROR(CrossV2Backward(x.tape().ctx(), x0.value(), u.value(), dy, gradients));
      return hand_on ? x.tape().TakeGrad(x, dy) : absl::OkStatus();
    });
  });
}

}  // namespace pagoda::nn
