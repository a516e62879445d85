// Checks of an operator's arguments, made before its first write, and the one
// place that knows which devices this build has kernels for.
//
//   ArgumentCheck check(ctx, "LinearForward");
//   check.Rank("x", x, 2).Rank("w", w, 2);
//   if (!check.ok()) return check.status();
//   check.Has("w", w, {out, x.dim(1)}).HasOrAbsent("bias", bias, {out}).Has("y", y, {n, out});
//   if (!check.ok()) return check.status();
//
// The first failed check wins; later ones do nothing. A message names the
// operator, the operand, both shapes (or types, or devices), and the first
// operand that passed, which set the sizes expected of the others:
//   "LinearForward: w has shape [3, 5], expected [3, 4] beside x [7, 4]"
//
// Threads: one check belongs to one thread.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

class ArgumentCheck {
 public:
  // `op` must outlive the check. Fails with UNIMPLEMENTED when ctx's device has
  // no kernels in this build.
  ArgumentCheck(const Context& ctx, const char* op);

  // All of these fail with INVALID_ARGUMENT. An operand must be present, on
  // ctx's device, of type `dtype`, and:
  ArgumentCheck& Rank(const char* name, const Tensor& tensor, int rank, DType dtype = DType::kF32);
  ArgumentCheck& Has(const char* name, const Tensor& tensor, const Shape& shape,
                     DType dtype = DType::kF32);
  // Any shape.
  ArgumentCheck& Present(const char* name, const Tensor& tensor, DType dtype = DType::kF32);
  ArgumentCheck& HasOrAbsent(const char* name, const Tensor& tensor, const Shape& shape,
                             DType dtype = DType::kF32);
  // `condition` must hold; `message` is what the caller did wrong.
  ArgumentCheck& That(bool condition, const char* message);

  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }

 private:
  void Fail(const std::string& message);
  // " beside x [7, 4]", once an operand has passed.
  std::string Beside() const;

  Device device_;
  const char* op_;
  absl::Status status_;
  const char* first_name_ = nullptr;
  Shape first_shape_;
};

}  // namespace pagoda
