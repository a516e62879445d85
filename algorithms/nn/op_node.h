// How a tape operation is written: check the operands, compute, record backward.
// For the files ops_*.cc only; models use ops.h.
//
//   Var Scale(const Var& x, float alpha) {
//     return RunOp("Scale", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
//       PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(x.shape()));
//       PAGODA_RETURN_IF_ERROR(AxpBy(tape.ctx(), alpha, x.value(), 0.0f, y));
//       return tape.Node(y, {x}, [x, alpha](const Tensor& dy) {
//         return AddGradient(x, [&](const Tensor& dx, float beta) {
//           return AxpBy(x.tape().ctx(), alpha, dy, beta, dx);
//         });
//       });
//     });
//   }
#pragma once

#include <initializer_list>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "algorithms/nn/tape.h"

namespace pagoda::nn {

// The tape that all of `operands` live on, when the operation can run; nullptr
// when an operand is invalid (recorded on the tape of a valid one) or the tape
// has failed.
Tape* OperandTape(const char* op, std::initializer_list<Var> operands);

// Runs `body(tape)` when the operands are valid; an error of it becomes the
// tape's, with the operation's name in front.
template <typename Body>
Var RunOp(const char* op, std::initializer_list<Var> operands, Body&& body) {
  Tape* tape = OperandTape(op, operands);
  if (tape == nullptr) return Var();
  absl::StatusOr<Var> result = std::forward<Body>(body)(*tape);
  if (result.ok()) return *result;
  tape->Fail(WithContext(result.status(), op));
  return Var();
}

//   INVALID_ARGUMENT  x has another rank (names its shape)
absl::Status CheckRank(const Var& x, int rank);

// to += x.
absl::Status AddInto(Context& ctx, const Tensor& x, const Tensor& to);

// Calls write(dx, beta) with the gradient of `input`, to be set to beta * dx +
// new; does nothing when it needs none. With beta == 0, dx must not be read.
template <typename Write>
absl::Status AddGradient(const Var& input, Write&& write) {
  if (!input.needs_grad()) return absl::OkStatus();
  bool first = false;
  PAGODA_ASSIGN_OR_RETURN(const Tensor dx, input.tape().GradOf(input, &first));
  return std::forward<Write>(write)(dx, first ? 0.0f : 1.0f);
}

// As AddGradient, for an operator that can only overwrite: write(out) fills
// `out`, which is then added to what was there.
template <typename Write>
absl::Status AddOverwritten(const Var& input, Write&& write) {
  return AddGradient(input, [&](const Tensor& dx, float beta) -> absl::Status {
    if (beta == 0.0f) return write(dx);
    PAGODA_ASSIGN_OR_RETURN(const Tensor out, input.tape().ctx().Empty(dx.shape()));
    PAGODA_RETURN_IF_ERROR(write(out));
    return AddInto(input.tape().ctx(), out, dx);
  });
}

// The gradient of `input` to add into (zero-filled when new), absent when it
// needs none: the operand of operators whose gradients are all "+=".
absl::StatusOr<Tensor> GradientOrAbsent(const Var& input);

}  // namespace pagoda::nn
