#include <algorithm>

#include "algorithms/nn/op_node.h"
#include "algorithms/nn/ops.h"
#include "kernels/dropout.h"
#include "kernels/elementwise.h"
#include "kernels/l2_normalize.h"
#include "kernels/layer_norm.h"
#include "kernels/rms_norm.h"
#include "kernels/rotary_embedding.h"

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

Var DropoutRows(const Var& x, const RowDropout& dropout) {
  if (dropout.rate == 0.0f) return x;
  return RunOp("DropoutRows", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    const DropoutArgs args{dropout.rate, dropout.key, 0};
    const Tensor counters = dropout.counters;
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_RETURN_IF_ERROR(pagoda::DropoutRows(tape.ctx(), x.value(), counters, args, 0.0f, y));
    return tape.Node(y, {x}, [x, counters, args](const Tensor& dy) {
      return AddGradient(x, [&](const Tensor& dx, float beta) {
        return pagoda::DropoutRows(x.tape().ctx(), dy, counters, args, beta, dx);
      });
    });
  });
}

Var RmsNorm(const Var& x, const Var& gamma, float epsilon) {
  return RunOp("RmsNorm", {x, gamma}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 2));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_ASSIGN_OR_RETURN(Tensor inv_rms, tape.ctx().Empty({x.shape()[0]}));
    PAGODA_RETURN_IF_ERROR(
        RmsNormForward(tape.ctx(), x.value(), gamma.value(), epsilon, y, inv_rms));
    return tape.Node(y, {x, gamma}, [x, gamma, inv_rms](const Tensor& dy) -> absl::Status {
      PAGODA_ASSIGN_OR_RETURN(const Tensor dx, GradientOrAbsent(x));
      PAGODA_ASSIGN_OR_RETURN(const Tensor dgamma, GradientOrAbsent(gamma));
      return RmsNormBackward(x.tape().ctx(), x.value(), gamma.value(), inv_rms, dy, dx, dgamma);
    });
  });
}

Var RotaryEmbedding(const Var& x, const RotaryTable& table) {
  return RunOp("RotaryEmbedding", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 2));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_RETURN_IF_ERROR(pagoda::RotaryEmbedding(tape.ctx(), x.value(), table.positions,
                                                   table.turns, /*inverse=*/false, 0.0f, y));
    return tape.Node(y, {x}, [x, table](const Tensor& dy) {
      return AddGradient(x, [&](const Tensor& dx, float beta) {
        return pagoda::RotaryEmbedding(x.tape().ctx(), dy, table.positions, table.turns,
                                       /*inverse=*/true, beta, dx);
      });
    });
  });
}

Var RotaryEmbedding(const Var& x, const std::vector<int32_t>& positions, int64_t heads,
                    float base) {
  return RunOp("RotaryEmbedding", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 2));
    const int64_t d = x.shape()[1];
    if (heads < 1 || d % heads != 0 || d / heads % 2 != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(heads, " heads do not divide a width of ", d, " into even parts"));
    }
    int32_t most = -1;
    for (const int32_t position : positions) {
      if (position < 0) {
        return absl::InvalidArgumentError(absl::StrCat("a position is ", position));
      }
      most = std::max(most, position);
    }
    const int64_t width = d / heads;
    const std::vector<float> turns = RotaryTurns(int64_t{most} + 1, width, double{base});
    RotaryTable table;
    PAGODA_ASSIGN_OR_RETURN(
        table.positions,
        tape.ctx().Upload<int32_t>(positions, {static_cast<int64_t>(positions.size())}));
    PAGODA_ASSIGN_OR_RETURN(table.turns,
                            tape.ctx().Upload<float>(turns, {int64_t{most} + 1, width}));
    return RotaryEmbedding(x, table);
  });
}

}  // namespace pagoda::nn
