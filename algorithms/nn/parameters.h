// The dense parameters of a model: one flat array of values and one of gradients
// on the device, with a named, shaped view for each declared parameter. Flat, so
// that the allreduce and the optimizer each make one pass.
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithms/nn/declaration.h"
#include "kernels/context.h"

namespace pagoda {

class ParameterSet {
 public:
  // Allocates and initialises; a value depends only on (seed, parameter name,
  // element), never on the order or on other parameters. Trainable parameters
  // come first in the flat arrays, state (trainable == false) after them.
  //   INVALID_ARGUMENT  two parameters of one name, or a size <= 0
  static absl::StatusOr<std::unique_ptr<ParameterSet>> Create(Context& ctx,
                                                              const std::vector<DenseDecl>& decls,
                                                              uint64_t seed);

  const std::vector<DenseDecl>& decls() const { return decls_; }
  int64_t num_trainable() const { return num_trainable_; }  // elements
  int64_t num_elements() const { return values_.size(); }   // state included

  Tensor value(DenseHandle handle) const;     // View with the declared shape.
  Tensor gradient(DenseHandle handle) const;  // Absent for state.
  // All values (state included), and the gradients of the trainable prefix.
  const Tensor& values() const { return values_; }
  const Tensor& gradients() const { return gradients_; }
  // First element of a parameter in values().
  int64_t offset(DenseHandle handle) const;

  // Freezes exactly the parameters of `groups` (and unfreezes all others): they
  // get no gradient, no optimizer step and no decay, and the running statistics
  // among them are not updated. `also`: by parameter, those frozen besides; may be empty.
  //   NOT_FOUND  no parameter belongs to one of the groups (named)
  absl::Status Freeze(const std::vector<std::string>& groups, const std::vector<bool>& also = {});
  // True for a trainable parameter that is not frozen.
  bool learns(DenseHandle handle) const;
  bool frozen(DenseHandle handle) const { return frozen_[static_cast<size_t>(handle.index)]; }
  // DenseDecl::group, or "default".
  static const std::string& GroupOf(const DenseDecl& decl);

  absl::Status ZeroGradients(Context& ctx);

 private:
  ParameterSet() = default;
  std::vector<DenseDecl> decls_;
  std::vector<bool> frozen_;
  std::vector<int64_t> offsets_;
  int64_t num_trainable_ = 0;
  Tensor values_;
  Tensor gradients_;
};

}  // namespace pagoda
