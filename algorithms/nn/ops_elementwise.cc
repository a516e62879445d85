#include "algorithms/nn/op_node.h"
#include "algorithms/nn/ops.h"
#include "kernels/elementwise.h"
#include "kernels/softmax.h"

namespace pagoda::nn {
namespace {

// input's gradient += alpha * dy.
absl::Status PassGradient(const Var& input, float alpha, const Tensor& dy) {
  return AddGradient(input, [&](const Tensor& dx, float beta) {
    return AxpBy(input.tape().ctx(), alpha, dy, beta, dx);
  });
}

// input's gradient += other * dy.
absl::Status PassProduct(const Var& input, const Tensor& other, const Tensor& dy) {
  return AddGradient(input, [&](const Tensor& dx, float beta) {
    Context& ctx = input.tape().ctx();
    return beta == 0.0f ? pagoda::Multiply(ctx, other, dy, dx)
                        : pagoda::MultiplyAdd(ctx, other, dy, dx);
  });
}

// input's gradient [n, d] += x [n, d] * dy [n] in every column.
absl::Status PassScaledRows(const Var& input, const Tensor& x, const Tensor& dy) {
  return AddOverwritten(
      input, [&](const Tensor& out) { return pagoda::ScaleRows(input.tape().ctx(), x, dy, out); });
}

// y, a softmax of x's rows, masked or not: what is masked is 0 in y, and its gradient, too.
Var SoftmaxNode(Tape& tape, const Var& x, const Tensor& y) {
  return tape.Node(y, {x}, [x, y](const Tensor& dy) -> absl::Status {
    PAGODA_ASSIGN_OR_RETURN(const Tensor dx, x.tape().GradOf(x));
    return SoftmaxBackward(x.tape().ctx(), y, dy, dx);
  });
}

}  // namespace

Var Add(const Var& a, const Var& b) {
  return RunOp("Add", {a, b}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(a.shape()));
    PAGODA_RETURN_IF_ERROR(pagoda::Add(tape.ctx(), a.value(), b.value(), y));
    return tape.Node(y, {a, b}, [a, b](const Tensor& dy) -> absl::Status {
      PAGODA_RETURN_IF_ERROR(PassGradient(a, 1.0f, dy));
      return b.tape().TakeGrad(b, dy);
    });
  });
}

Var Subtract(const Var& a, const Var& b) {
  return RunOp("Subtract", {a, b}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(a.shape()));
    PAGODA_RETURN_IF_ERROR(AxpBy(tape.ctx(), 1.0f, a.value(), 0.0f, y));
    PAGODA_RETURN_IF_ERROR(AxpBy(tape.ctx(), -1.0f, b.value(), 1.0f, y));
    return tape.Node(y, {a, b}, [a, b](const Tensor& dy) -> absl::Status {
      PAGODA_RETURN_IF_ERROR(PassGradient(b, -1.0f, dy));
      return a.tape().TakeGrad(a, dy);
    });
  });
}

Var Multiply(const Var& a, const Var& b) {
  return RunOp("Multiply", {a, b}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(a.shape()));
    PAGODA_RETURN_IF_ERROR(pagoda::Multiply(tape.ctx(), a.value(), b.value(), y));
    return tape.Node(y, {a, b}, [a, b](const Tensor& dy) -> absl::Status {
      PAGODA_RETURN_IF_ERROR(PassProduct(a, b.value(), dy));
      return PassProduct(b, a.value(), dy);
    });
  });
}

Var Scale(const Var& x, float alpha) {
  return RunOp("Scale", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_RETURN_IF_ERROR(AxpBy(tape.ctx(), alpha, x.value(), 0.0f, y));
    return tape.Node(y, {x}, [x, alpha](const Tensor& dy) { return PassGradient(x, alpha, dy); });
  });
}

Var Square(const Var& x) {
  return Multiply(x, x);
}

Var Divide(const Var& a, const Var& b) {
  return RunOp("Divide", {a, b}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(a.shape()));
    PAGODA_RETURN_IF_ERROR(pagoda::Divide(tape.ctx(), 1.0f, a.value(), b.value(), 0.0f, y));
    return tape.Node(y, {a, b}, [a, b, y](const Tensor& dy) -> absl::Status {
      Context& ctx = a.tape().ctx();
      PAGODA_RETURN_IF_ERROR(AddGradient(a, [&](const Tensor& da, float beta) {
        return pagoda::Divide(ctx, 1.0f, dy, b.value(), beta, da);
      }));
      return AddGradient(b, [&](const Tensor& db, float beta) -> absl::Status {
        PAGODA_ASSIGN_OR_RETURN(const Tensor product, ctx.Empty(y.shape()));
        PAGODA_RETURN_IF_ERROR(pagoda::Multiply(ctx, dy, y, product));
        return pagoda::Divide(ctx, -1.0f, product, b.value(), beta, db);
      });
    });
  });
}

Var Exp(const Var& x) {
  return RunOp("Exp", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_RETURN_IF_ERROR(pagoda::Exp(tape.ctx(), x.value(), y));
    return tape.Node(y, {x}, [x, y](const Tensor& dy) { return PassProduct(x, y, dy); });
  });
}

Var Log(const Var& x) {
  return RunOp("Log", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_RETURN_IF_ERROR(pagoda::Log(tape.ctx(), x.value(), y));
    return tape.Node(y, {x}, [x](const Tensor& dy) {
      return AddGradient(x, [&](const Tensor& dx, float beta) {
        return pagoda::Divide(x.tape().ctx(), 1.0f, dy, x.value(), beta, dx);
      });
    });
  });
}

Var Affine(const Var& x, float scale, float shift) {
  return RunOp("Affine", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_RETURN_IF_ERROR(pagoda::Affine(tape.ctx(), scale, x.value(), shift, y));
    return tape.Node(y, {x}, [x, scale](const Tensor& dy) { return PassGradient(x, scale, dy); });
  });
}

Var Clip(const Var& x, float low, float high) {
  return RunOp("Clip", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_RETURN_IF_ERROR(pagoda::Clip(tape.ctx(), x.value(), low, high, y));
    return tape.Node(y, {x}, [x, low, high](const Tensor& dy) {
      return AddGradient(x, [&](const Tensor& dx, float beta) {
        return ClipBackward(x.tape().ctx(), x.value(), low, high, dy, beta, dx);
      });
    });
  });
}

Var AddRowVector(const Var& x, const Var& v) {
  return RunOp("AddRowVector", {x, v}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_RETURN_IF_ERROR(pagoda::AddRowVector(tape.ctx(), x.value(), v.value(), y));
    return tape.Node(y, {x, v}, [x, v](const Tensor& dy) -> absl::Status {
      PAGODA_RETURN_IF_ERROR(AddGradient(
          v, [&](const Tensor& dv, float beta) { return SumRows(v.tape().ctx(), dy, beta, dv); }));
      return x.tape().TakeGrad(x, dy);
    });
  });
}

Var ScaleRows(const Var& x, const Var& s) {
  return RunOp("ScaleRows", {x, s}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_RETURN_IF_ERROR(pagoda::ScaleRows(tape.ctx(), x.value(), s.value(), y));
    return tape.Node(y, {x, s}, [x, s](const Tensor& dy) -> absl::Status {
      PAGODA_RETURN_IF_ERROR(PassScaledRows(x, dy, s.value()));
      return AddGradient(s, [&](const Tensor& ds, float beta) {
        return pagoda::DotRows(s.tape().ctx(), dy, x.value(), beta, ds);
      });
    });
  });
}

Var Sum(const Var& x) {
  return RunOp("Sum", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(Shape{}));
    PAGODA_RETURN_IF_ERROR(SumAll(tape.ctx(), x.value(), y));
    return tape.Node(y, {x}, [x](const Tensor& dy) {
      return AddGradient(x, [&](const Tensor& dx, float beta) {
        return BroadcastScalar(x.tape().ctx(), 1.0f, dy, beta, dx);
      });
    });
  });
}

Var SumColumns(const Var& x) {
  return RunOp("SumColumns", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 2));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty({x.shape()[0]}));
    PAGODA_RETURN_IF_ERROR(pagoda::SumColumns(tape.ctx(), x.value(), 0.0f, y));
    return tape.Node(y, {x}, [x](const Tensor& dy) {
      return AddOverwritten(x, [&](const Tensor& out) -> absl::Status {
        PAGODA_RETURN_IF_ERROR(Fill(x.tape().ctx(), 1.0f, out));
        return pagoda::ScaleRows(x.tape().ctx(), out, dy, out);
      });
    });
  });
}

Var DotRows(const Var& a, const Var& b) {
  return RunOp("DotRows", {a, b}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(a, 2));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty({a.shape()[0]}));
    PAGODA_RETURN_IF_ERROR(pagoda::DotRows(tape.ctx(), a.value(), b.value(), 0.0f, y));
    return tape.Node(y, {a, b}, [a, b](const Tensor& dy) -> absl::Status {
      PAGODA_RETURN_IF_ERROR(PassScaledRows(a, b.value(), dy));
      return PassScaledRows(b, a.value(), dy);
    });
  });
}

Var Activate(const Var& x, Activation f) {
  if (f == Activation::kNone) return x;
  return RunOp("Activate", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_RETURN_IF_ERROR(ActivationForward(tape.ctx(), f, x.value(), y));
    return tape.Node(y, {x}, [x, y, f](const Tensor& dy) {
      return AddGradient(x, [&](const Tensor& dx, float beta) {
        return ActivationBackward(x.tape().ctx(), f, x.value(), y, dy, beta, dx);
      });
    });
  });
}

Var Sigmoid(const Var& x) {
  return Activate(x, Activation::kSigmoid);
}

Var Softmax(const Var& x) {
  return RunOp("Softmax", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_RETURN_IF_ERROR(SoftmaxForward(tape.ctx(), x.value(), y));
    return SoftmaxNode(tape, x, y);
  });
}

Var MaskedSoftmax(const Var& x, const std::vector<int32_t>& counts) {
  return RunOp("MaskedSoftmax", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(const Tensor ends, tape.ctx().Upload<int32_t>(
                                                   counts, {static_cast<int64_t>(counts.size())}));
    return MaskedSoftmax(x, ends);
  });
}

Var MaskedSoftmax(const Var& x, const Tensor& counts) {
  return RunOp("MaskedSoftmax", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
    PAGODA_RETURN_IF_ERROR(MaskedSoftmaxForward(tape.ctx(), x.value(), counts, y));
    return SoftmaxNode(tape, x, y);
  });
}

Var StopGradient(const Var& x) {
  return x.valid() ? x.tape().StopGradient(x) : Var();
}

}  // namespace pagoda::nn
