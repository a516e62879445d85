#include "algorithms/nn/op_node.h"

#include "kernels/elementwise.h"

namespace pagoda::nn {

Tape* OperandTape(const char* op, std::initializer_list<Var> operands) {
  Tape* tape = nullptr;
  bool all_valid = true;
  for (const Var& operand : operands) {
    if (!operand.valid()) {
      all_valid = false;
      continue;
    }
    if (tape == nullptr) tape = &operand.tape();
    PAGODA_CHECK(tape == &operand.tape());
  }
  if (tape == nullptr || !tape->status().ok()) return nullptr;
  if (all_valid) return tape;
  tape->Fail(absl::InvalidArgumentError(absl::StrCat(op, ": an operand is an invalid Var")));
  return nullptr;
}

absl::Status CheckRank(const Var& x, int rank) {
  if (x.value().rank() == rank) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("needs an operand of rank ", rank, ", got shape ", ShapeString(x.shape())));
}

absl::Status AddInto(Context& ctx, const Tensor& x, const Tensor& to) {
  return AxpBy(ctx, 1.0f, x, 1.0f, to);
}

absl::StatusOr<Tensor> GradientOrAbsent(const Var& input) {
  if (!input.valid() || !input.needs_grad()) return Tensor();
  return input.tape().GradOf(input);
}

}  // namespace pagoda::nn
