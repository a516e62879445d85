#include "algorithms/nn/op_node.h"
#include "algorithms/nn/ops.h"
#include "kernels/linear.h"
#include "kernels/matmul.h"

namespace pagoda::nn {
namespace {

// kernels/linear.h fuses only derivatives that are functions of the output.
bool CanFuse(Activation f) {
  return f == Activation::kNone || f == Activation::kRelu || f == Activation::kSigmoid ||
         f == Activation::kTanh;
}

// pagoda::MatMul or BatchMatMul.
using Product = absl::Status (*)(Context&, const Tensor&, const Tensor&, const MatMulArgs&,
                                 const Tensor&);

// One factor's gradient: input's gradient += left * right.
absl::Status PassMatMul(Product product, const Var& input, const Tensor& left, const Tensor& right,
                        Transposes transposes) {
  return AddGradient(input, [&](const Tensor& dx, float beta) {
    const MatMulArgs args{transposes.a, transposes.b, beta};
    return product(input.tape().ctx(), left, right, args, dx);
  });
}

// With A = op(a), B = op(b): dA = dy B^T and dB = A^T dy, transposed back.
absl::Status MatMulBackward(Product product, const Var& a, const Var& b, Transposes t,
                            const Tensor& dy) {
  PAGODA_RETURN_IF_ERROR(t.a ? PassMatMul(product, a, b.value(), dy, {t.b, true})
                             : PassMatMul(product, a, dy, b.value(), {false, !t.b}));
  return t.b ? PassMatMul(product, b, dy, a.value(), {true, t.a})
             : PassMatMul(product, b, a.value(), dy, {!t.a, false});
}

absl::Status PassLinear(const Var& x, const Var& w, const Var& bias, const Tensor& y,
                        const Tensor& dy, Activation f) {
  LinearGradients gradients;
  bool first = false;
  if (x.needs_grad()) {
    PAGODA_ASSIGN_OR_RETURN(gradients.dx, x.tape().GradOf(x, &first));
    gradients.beta_dx = first ? 0.0f : 1.0f;
  }
  if (w.needs_grad()) {
    PAGODA_ASSIGN_OR_RETURN(gradients.dw, w.tape().GradOf(w, &first));
    gradients.beta_dw = first ? 0.0f : 1.0f;
  }
  if (bias.valid() && bias.needs_grad()) {
    PAGODA_ASSIGN_OR_RETURN(gradients.dbias, bias.tape().GradOf(bias, &first));
    gradients.beta_dbias = first ? 0.0f : 1.0f;
  }
  gradients.overwrite_dy = true;  // The tape releases it after this call.
  return LinearBackward(x.tape().ctx(), x.value(), w.value(), y, dy, f, gradients);
}

}  // namespace

Var MatMul(const Var& a, const Var& b, Transposes transposes) {
  return RunOp("MatMul", {a, b}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(a, 2));
    PAGODA_RETURN_IF_ERROR(CheckRank(b, 2));
    const Shape shape = {a.shape()[transposes.a ? 1 : 0], b.shape()[transposes.b ? 0 : 1]};
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(shape));
    const MatMulArgs args{transposes.a, transposes.b, 0.0f};
    PAGODA_RETURN_IF_ERROR(pagoda::MatMul(tape.ctx(), a.value(), b.value(), args, y));
    return tape.Node(y, {a, b}, [a, b, transposes](const Tensor& dy) {
      return MatMulBackward(pagoda::MatMul, a, b, transposes, dy);
    });
  });
}

Var BatchMatMul(const Var& a, const Var& b, Transposes transposes) {
  return RunOp("BatchMatMul", {a, b}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(a, 3));
    PAGODA_RETURN_IF_ERROR(CheckRank(b, 3));
    const Shape shape = {a.shape()[0], a.shape()[transposes.a ? 2 : 1],
                         b.shape()[transposes.b ? 1 : 2]};
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(shape));
    const MatMulArgs args{transposes.a, transposes.b, 0.0f};
    PAGODA_RETURN_IF_ERROR(pagoda::BatchMatMul(tape.ctx(), a.value(), b.value(), args, y));
    return tape.Node(y, {a, b}, [a, b, transposes](const Tensor& dy) {
      return MatMulBackward(pagoda::BatchMatMul, a, b, transposes, dy);
    });
  });
}

Var Linear(const Var& x, const Var& w, const Var& bias, Activation f) {
  if (!CanFuse(f)) return Activate(Linear(x, w, bias), f);
  return RunOp("Linear", {x, w}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 2));
    PAGODA_RETURN_IF_ERROR(CheckRank(w, 2));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty({x.shape()[0], w.shape()[0]}));
    const Tensor bias_value = bias.valid() ? bias.value() : Tensor();
    PAGODA_RETURN_IF_ERROR(LinearForward(tape.ctx(), x.value(), w.value(), bias_value, f, y));
    std::vector<Var> inputs = {x, w};
    if (bias.valid()) inputs.push_back(bias);
    return tape.Node(y, std::move(inputs), [x, w, bias, y, f](const Tensor& dy) {
      return PassLinear(x, w, bias, y, dy, f);
    });
  });
}

}  // namespace pagoda::nn
