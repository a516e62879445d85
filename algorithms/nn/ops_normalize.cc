#include "algorithms/nn/op_node.h"
#include "algorithms/nn/ops.h"
#include "kernels/dropout.h"
#include "kernels/elementwise.h"
#include "kernels/l2_normalize.h"
#include "kernels/layer_norm.h"

namespace pagoda::nn {
namespace {

absl::Status BatchNormGradients(const Var& x, const Var& gamma, const Var& beta, const Tensor& mean,
                                const Tensor& inv_std, const Tensor& dy) {
  PAGODA_ASSIGN_OR_RETURN(const Tensor dx, GradientOrAbsent(x));
  PAGODA_ASSIGN_OR_RETURN(const Tensor dgamma, GradientOrAbsent(gamma));
  PAGODA_ASSIGN_OR_RETURN(const Tensor dbeta, GradientOrAbsent(beta));
  return BatchNormBackward(x.tape().ctx(), x.value(), gamma.value(), mean, inv_std, dy, dx, dgamma,
                           dbeta);
}

absl::StatusOr<Var> BatchNormTraining(Tape& tape, const Var& x, const Var& gamma, const Var& beta,
                                      const BatchNormState& state, const BatchNormArgs& args) {
  Context& ctx = tape.ctx();
  const Shape columns = {x.shape()[1]};
  PAGODA_ASSIGN_OR_RETURN(Tensor y, ctx.Empty(x.shape()));
  PAGODA_ASSIGN_OR_RETURN(Tensor mean, ctx.Empty(columns));
  PAGODA_ASSIGN_OR_RETURN(Tensor inv_std, ctx.Empty(columns));
  Tensor running_mean = state.running_mean;
  Tensor running_var = state.running_var;
  if (!state.update) {  // The operator always updates: let it update a copy.
    PAGODA_ASSIGN_OR_RETURN(running_mean, ctx.Zeros(columns));
    PAGODA_ASSIGN_OR_RETURN(running_var, ctx.Zeros(columns));
  }
  PAGODA_RETURN_IF_ERROR(BatchNormTrain(ctx, x.value(), gamma.value(), beta.value(), args,
                                        running_mean, running_var, y, mean, inv_std));
  return tape.Node(y, {x, gamma, beta}, [x, gamma, beta, mean, inv_std](const Tensor& dy) {
    return BatchNormGradients(x, gamma, beta, mean, inv_std, dy);
  });
}

}  // namespace

Var BatchNorm(const Var& x, const Var& gamma, const Var& beta, const BatchNormState& state,
              const BatchNormArgs& args, bool training) {
  return RunOp("BatchNorm", {x, gamma, beta}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 2));
    if (training) return BatchNormTraining(tape, x, gamma, beta, state, args);
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_RETURN_IF_ERROR(BatchNormInfer(tape.ctx(), x.value(), gamma.value(), beta.value(), args,
                                          state.running_mean, state.running_var, y));
    return tape.Leaf(y, /*needs_grad=*/false);
  });
}

Var LayerNorm(const Var& x, const Var& gamma, const Var& beta, float epsilon) {
  return RunOp("LayerNorm", {x, gamma, beta}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 2));
    Context& ctx = tape.ctx();
    PAGODA_ASSIGN_OR_RETURN(Tensor y, ctx.Empty(x.shape()));
    PAGODA_ASSIGN_OR_RETURN(Tensor mean, ctx.Empty({x.shape()[0]}));
    PAGODA_ASSIGN_OR_RETURN(Tensor inv_std, ctx.Empty({x.shape()[0]}));
    PAGODA_RETURN_IF_ERROR(
        LayerNormForward(ctx, x.value(), gamma.value(), beta.value(), epsilon, y, mean, inv_std));
    return tape.Node(y, {x, gamma, beta},
                     [x, gamma, beta, mean, inv_std](const Tensor& dy) -> absl::Status {
                       PAGODA_ASSIGN_OR_RETURN(const Tensor dx, GradientOrAbsent(x));
                       PAGODA_ASSIGN_OR_RETURN(const Tensor dgamma, GradientOrAbsent(gamma));
                       PAGODA_ASSIGN_OR_RETURN(const Tensor dbeta, GradientOrAbsent(beta));
                       return LayerNormBackward(x.tape().ctx(), x.value(), gamma.value(), mean,
                                                inv_std, dy, dx, dgamma, dbeta);
                     });
  });
}

Var L2Normalize(const Var& x, float epsilon) {
  return RunOp("L2Normalize", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 2));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_ASSIGN_OR_RETURN(Tensor norms, tape.ctx().Empty({x.shape()[0]}));
    PAGODA_RETURN_IF_ERROR(L2NormalizeForward(tape.ctx(), x.value(), epsilon, y, norms));
    return tape.Node(y, {x}, [x, y, norms](const Tensor& dy) -> absl::Status {
      PAGODA_ASSIGN_OR_RETURN(const Tensor dx, x.tape().GradOf(x));
      return L2NormalizeBackward(x.tape().ctx(), y, norms, dy, dx);
    });
  });
}

Var Dropout(const Var& x, float rate, RandomKey key, uint64_t first_sample) {
  if (rate == 0.0f) return x;
  return RunOp("Dropout", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    const DropoutArgs args{rate, key, first_sample};
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_RETURN_IF_ERROR(pagoda::Dropout(tape.ctx(), x.value(), args, 0.0f, y));
    return tape.Node(y, {x}, [x, args](const Tensor& dy) {
      return AddGradient(x, [&](const Tensor& dx, float beta) {
        return pagoda::Dropout(x.tape().ctx(), dy, args, beta, dx);
      });
    });
  });
}

}  // namespace pagoda::nn
