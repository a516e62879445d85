#include "algorithms/nn/op_node.h"
#include "algorithms/nn/ops.h"
#include "kernels/cross_layer.h"
#include "kernels/dot_interaction.h"
#include "kernels/fm.h"

namespace pagoda::nn {

Var DotInteraction(const Var& x) {
  return RunOp("DotInteraction", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 3));
    const int64_t num_features = x.shape()[1];
    PAGODA_ASSIGN_OR_RETURN(
        Tensor y, tape.ctx().Empty({x.shape()[0], num_features * (num_features - 1) / 2}));
    PAGODA_RETURN_IF_ERROR(DotInteractionForward(tape.ctx(), x.value(), y));
    return tape.Node(y, {x}, [x](const Tensor& dy) -> absl::Status {
      PAGODA_ASSIGN_OR_RETURN(const Tensor dx, x.tape().GradOf(x));
      return DotInteractionBackward(x.tape().ctx(), x.value(), dy, dx);
    });
  });
}

Var Fm(const Var& x) {
  return RunOp("Fm", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 3));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty({x.shape()[0]}));
    PAGODA_RETURN_IF_ERROR(FmForward(tape.ctx(), x.value(), y));
    return tape.Node(y, {x}, [x](const Tensor& dy) -> absl::Status {
      PAGODA_ASSIGN_OR_RETURN(const Tensor dx, x.tape().GradOf(x));
      return FmBackward(x.tape().ctx(), x.value(), dy, dx);
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
      PAGODA_ASSIGN_OR_RETURN(gradients.dx0, GradientOrAbsent(x0));
      PAGODA_ASSIGN_OR_RETURN(gradients.dx, GradientOrAbsent(x));
      PAGODA_ASSIGN_OR_RETURN(gradients.dw, GradientOrAbsent(w));
      PAGODA_ASSIGN_OR_RETURN(gradients.db, GradientOrAbsent(b));
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
      PAGODA_ASSIGN_OR_RETURN(gradients.dx0, GradientOrAbsent(x0));
      PAGODA_ASSIGN_OR_RETURN(gradients.du, GradientOrAbsent(u));
      PAGODA_ASSIGN_OR_RETURN(gradients.dx, GradientOrAbsent(x));
      return CrossV2Backward(x.tape().ctx(), x0.value(), u.value(), dy, gradients);
    });
  });
}

}  // namespace pagoda::nn
