#include "algorithms/nn/tape.h"

#include <map>

#include "kernels/elementwise.h"

namespace pagoda {

const Tensor& Var::value() const {
  PAGODA_CHECK(valid());
  return tape_->entries_[static_cast<size_t>(index_)].value;
}

bool Var::needs_grad() const {
  PAGODA_CHECK(valid());
  return tape_->entries_[static_cast<size_t>(index_)].needs_grad;
}

const Tensor& Var::grad() const {
  PAGODA_CHECK(valid());
  return tape_->entries_[static_cast<size_t>(index_)].grad;
}

void Tape::Fail(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
}

Var Tape::Leaf(Tensor value, bool needs_grad, Tensor grad_into) {
  if (!status_.ok()) return Var();
  Entry entry;
  entry.value = std::move(value);
  entry.needs_grad = needs_grad;
  if (needs_grad && !grad_into.absent()) {
    PAGODA_CHECK(grad_into.shape() == entry.value.shape());
    entry.grad = std::move(grad_into);
    entry.grad_written = true;
    entry.into = true;
  }
  entries_.push_back(std::move(entry));
  return Var(this, static_cast<int>(entries_.size()) - 1);
}

Var Tape::Node(Tensor value, std::vector<Var> inputs, BackwardFn backward) {
  if (!status_.ok()) return Var();
  Entry entry;
  entry.value = std::move(value);
  for (const Var& input : inputs) {
    PAGODA_CHECK(input.valid() && input.tape_ == this);
    entry.needs_grad = entry.needs_grad || input.needs_grad();
    Entry& read = entries_[static_cast<size_t>(input.index_)];
    if (read.first_reader < 0) read.first_reader = static_cast<int>(entries_.size());
  }
  if (entry.needs_grad) entry.backward = std::move(backward);
  entries_.push_back(std::move(entry));
  return Var(this, static_cast<int>(entries_.size()) - 1);
}

absl::StatusOr<Tensor> Tape::GradOf(const Var& input, bool* first) {
  PAGODA_CHECK(input.tape_ == this && input.needs_grad());
  Entry& entry = entries_[static_cast<size_t>(input.index_)];
  if (first != nullptr) *first = !entry.grad_written;
  if (entry.grad_written) return entry.grad;
  if (first != nullptr) {
    PAGODA_ASSIGN_OR_RETURN(entry.grad, ctx_.Empty(entry.value.shape()));
  } else {
    PAGODA_ASSIGN_OR_RETURN(entry.grad, ctx_.Zeros(entry.value.shape()));
  }
  entry.grad_written = true;
  return entry.grad;
}

absl::Status Tape::TakeGrad(const Var& input, const Tensor& grad) {
  PAGODA_CHECK(input.tape_ == this && grad.shape() == input.shape());
  Entry& entry = entries_[static_cast<size_t>(input.index_)];
  if (!entry.needs_grad) return absl::OkStatus();
  if (entry.grad_written) return AxpBy(ctx_, 1.0f, grad, 1.0f, entry.grad);
  entry.grad = grad;
  entry.grad_written = true;
  return absl::OkStatus();
}

absl::Status Tape::AddSeed(const Seed& seed) {
  if (!seed.var.needs_grad()) return absl::OkStatus();
  bool first = false;
  PAGODA_ASSIGN_OR_RETURN(Tensor grad, GradOf(seed.var, &first));
  if (first) return Fill(ctx_, seed.gradient, grad);
  PAGODA_ASSIGN_OR_RETURN(Tensor constant, ctx_.Empty(grad.shape()));
  PAGODA_RETURN_IF_ERROR(Fill(ctx_, seed.gradient, constant));
  return AxpBy(ctx_, 1.0f, constant, 1.0f, grad);
}

absl::Status Tape::Backward(const std::vector<Seed>& seeds, const OnFinalFn& on_final) {
  PAGODA_RETURN_IF_ERROR(status_);
  if (backward_done_) return absl::FailedPreconditionError("Tape::Backward was called before");
  for (const Seed& seed : seeds) {
    if (!seed.var.valid() || seed.var.tape_ != this) {
      return absl::InvalidArgumentError("a seed of backward is not a value of this tape");
    }
    if (!seed.var.shape().empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a seed of backward must be a scalar, not of shape ", ShapeString(seed.var.shape())));
    }
  }
  backward_done_ = true;
  for (const Seed& seed : seeds) PAGODA_RETURN_IF_ERROR(AddSeed(seed));
  // By the operation after which they are final; -1: at once.
  std::map<int, std::vector<int>> final_after;
  if (on_final != nullptr) {
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].into) final_after[entries_[i].first_reader].push_back(static_cast<int>(i));
    }
  }
  const auto report = [&](int operation) -> absl::Status {
    const auto leaves = final_after.find(operation);
    if (leaves == final_after.end()) return absl::OkStatus();
    for (const int leaf : leaves->second) PAGODA_RETURN_IF_ERROR(on_final(Var(this, leaf)));
    return absl::OkStatus();
  };
  PAGODA_RETURN_IF_ERROR(report(-1));
  for (size_t i = entries_.size(); i-- > 0;) {
    Entry& entry = entries_[i];
    if (entry.backward) {
      if (entry.grad_written) PAGODA_RETURN_IF_ERROR(entry.backward(entry.grad));
      entry.backward = nullptr;  // Releases what it kept of the forward pass,
      entry.grad = Tensor();     // and memory that the next entries can use.
    }
    PAGODA_RETURN_IF_ERROR(report(static_cast<int>(i)));
  }
  return absl::OkStatus();
}

Var Tape::StopGradient(const Var& x) {
  if (!x.valid()) {
    Fail(absl::InvalidArgumentError("StopGradient: the operand is an invalid Var"));
    return Var();
  }
  return Leaf(x.value(), /*needs_grad=*/false);
}

}  // namespace pagoda
