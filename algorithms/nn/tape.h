// A define-by-run tape: each operation computes its value at once and records how
// to run backward. Nothing here reads a tensor's memory, so the tape does not
// know on which device tensors live.
//
// Errors are sticky: after the first failing operation every further one returns
// an invalid Var and does nothing, and status() says what failed first. So a
// model is straight-line code and its caller checks once.
//
//   Tape tape(ctx);
//   Var w = tape.Leaf(weights, /*needs_grad=*/true);
//   Var loss = nn::Sum(nn::Square(nn::Linear(x, w, b, Activation::kRelu)));
//   PAGODA_RETURN_IF_ERROR(tape.Backward({{loss, 1.0f}}));
//   use(w.grad());
//
// Threads: one tape, one thread. Tapes on different contexts are independent.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

class Tape;

// A value on a tape. A cheap handle; invalid when default-constructed or after an
// error on its tape. It must not outlive the tape.
class Var {
 public:
  Var() = default;
  bool valid() const { return tape_ != nullptr; }
  friend bool operator==(const Var&, const Var&) = default;  // The same value of one tape.
  // REQUIRES for all below: valid().
  Tape& tape() const { return *tape_; }
  const Tensor& value() const;
  const Shape& shape() const { return value().shape(); }
  bool needs_grad() const;
  // Gradient of a leaf after Backward; absent when no loss depends on it. The
  // gradient of an operation's result is released as soon as it has been used.
  const Tensor& grad() const;

 private:
  friend class Tape;
  Var(Tape* tape, int index) : tape_(tape), index_(index) {}
  Tape* tape_ = nullptr;
  int index_ = -1;
};

class Tape {
 public:
  explicit Tape(Context& ctx) : ctx_(ctx) {}
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  Context& ctx() { return ctx_; }
  const absl::Status& status() const { return status_; }
  // Records the first error; later ones are dropped.
  void Fail(absl::Status status);

  // An input of the graph. With `needs_grad`, Backward leaves its gradient in
  // Var::grad(); when `grad_into` is given, Backward ADDS into that tensor.
  Var Leaf(Tensor value, bool needs_grad, Tensor grad_into = Tensor());

  // A node for operation authors: `value` has been computed from `inputs`;
  // `backward` is called once with this node's gradient when some input needs
  // one, and adds into GradOf(input) for each input that does. It runs after all
  // users of the node have added their part.
  using BackwardFn = std::function<absl::Status(const Tensor& grad)>;
  Var Node(Tensor value, std::vector<Var> inputs, BackwardFn backward);

  // For BackwardFn: the gradient tensor of `input` to add into, zero-filled when
  // first asked for. With `first`, tells whether the caller must overwrite it
  // instead (it is then NOT zero-filled).
  //   REQUIRES: input.needs_grad()
  absl::StatusOr<Tensor> GradOf(const Var& input, bool* first = nullptr);

  // For BackwardFn: adds `grad` to the gradient of `input`, if it needs one. Takes
  // over the tensor itself when there is nothing yet to add to, so the caller must
  // not use its memory again: the cheap way to hand a node's own gradient on.
  absl::Status TakeGrad(const Var& input, const Tensor& grad);

  // Runs backward from several scalars at once, each with d(total)/d(scalar) =
  // seed. Call once. `on_final` is called for each leaf with `grad_into`, when all work on
  // its gradient has been given to the context: in backward's order, leaves that nothing
  // depends on first. Its error ends backward.
  //   the sticky status    an operation failed earlier
  //   FAILED_PRECONDITION  called before
  //   INVALID_ARGUMENT     a seed is not a scalar of this tape; nothing was run
  struct Seed {
    Var var;
    float gradient;
  };
  using OnFinalFn = std::function<absl::Status(const Var& leaf)>;
  absl::Status Backward(const std::vector<Seed>& seeds, const OnFinalFn& on_final = nullptr);

  // The same value, cut off from backward.
  Var StopGradient(const Var& x);

 private:
  friend class Var;
  struct Entry {
    Tensor value;
    Tensor grad;
    bool needs_grad = false;
    bool grad_written = false;
    BackwardFn backward;  // Empty for leaves.
    // Of a leaf with grad_into: the first operation that reads it, which is the last to add
    // to its gradient; -1: none.
    bool into = false;
    int first_reader = -1;
  };
  absl::Status AddSeed(const Seed& seed);

  Context& ctx_;
  absl::Status status_;
  bool backward_done_ = false;
  // A deque, so that a reference from Var::value() outlives later operations.
  std::deque<Entry> entries_;
};

}  // namespace pagoda
