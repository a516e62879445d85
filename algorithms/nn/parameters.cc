#include "algorithms/nn/parameters.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/hash.h"
#include "base/random.h"
#include "kernels/elementwise.h"

namespace pagoda {
namespace {

// Rows of a weight are outputs: [out, in], as kernels/linear.h. A vector counts
// as one output.
struct Fans {
  double in = 1.0;
  double out = 1.0;
};

Fans FansOf(const Shape& shape) {
  Fans fans;
  if (shape.empty()) return fans;
  if (shape.size() == 1) {
    fans.in = static_cast<double>(shape[0]);
    return fans;
  }
  fans.out = static_cast<double>(shape[0]);
  fans.in = static_cast<double>(NumElements(shape)) / fans.out;
  return fans;
}

void WriteBlocks(const DenseDecl& decl, std::vector<float>* values) {
  if (decl.shape.size() != 2) return;
  const int64_t rows = decl.shape[0], columns = decl.shape[1];
  std::vector<int64_t> sizes(static_cast<size_t>(columns), 0);
  const auto run_of = [&](int64_t row) { return row * columns / rows; };
  for (int64_t row = 0; row < rows; ++row) ++sizes[static_cast<size_t>(run_of(row))];
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t run = run_of(row);
    const double size = static_cast<double>(sizes[static_cast<size_t>(run)]);
    (*values)[static_cast<size_t>(row * columns + run)] =
        decl.init_scale * static_cast<float>(1.0 / std::sqrt(size));
  }
}

std::vector<float> InitialValues(const DenseDecl& decl, uint64_t seed) {
  std::vector<float> values(static_cast<size_t>(NumElements(decl.shape)), 0.0f);
  const RandomKey key = RandomKey{seed}.Derive(HashBytes(decl.name));
  const Fans fans = FansOf(decl.shape);
  const float scale = decl.init_scale;
  const float uniform_bound = scale * static_cast<float>(std::sqrt(6.0 / (fans.in + fans.out)));
  const float he_stddev = scale * static_cast<float>(std::sqrt(2.0 / fans.in));
  for (size_t i = 0; i < values.size(); ++i) {
    switch (decl.init) {
      case InitKind::kZeros: break;
      case InitKind::kOnes: values[i] = scale; break;
      case InitKind::kXavierUniform:
        values[i] = uniform_bound * (2.0f * RandomUniform(key, i) - 1.0f);
        break;
      case InitKind::kHeNormal: values[i] = he_stddev * RandomNormal(key, i); break;
      case InitKind::kNormal: values[i] = scale * RandomNormal(key, i); break;
      case InitKind::kBlocks: break;  // WriteBlocks
    }
  }
  if (decl.init == InitKind::kBlocks) WriteBlocks(decl, &values);
  return values;
}

absl::Status CheckDecls(const std::vector<DenseDecl>& decls) {
  std::set<std::string> names;
  for (const DenseDecl& decl : decls) {
    if (!names.insert(decl.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("two dense parameters are named '", decl.name, "'"));
    }
    for (int64_t size : decl.shape) {
      if (size > 0) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "dense parameter '", decl.name, "' has an empty shape ", ShapeString(decl.shape)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ParameterSet>> ParameterSet::Create(
    Context& ctx, const std::vector<DenseDecl>& decls, uint64_t seed) {
  PAGODA_RETURN_IF_ERROR(CheckDecls(decls));
  std::unique_ptr<ParameterSet> set(new ParameterSet());
  set->decls_ = decls;
  set->frozen_.assign(decls.size(), false);
  set->offsets_.resize(decls.size());
  int64_t next = 0;
  for (bool trainable : {true, false}) {
    for (size_t i = 0; i < decls.size(); ++i) {
      if (decls[i].trainable != trainable) continue;
      set->offsets_[i] = next;
      next += NumElements(decls[i].shape);
    }
    if (trainable) set->num_trainable_ = next;
  }
  std::vector<float> values(static_cast<size_t>(next));
  for (size_t i = 0; i < decls.size(); ++i) {
    const std::vector<float> initial = InitialValues(decls[i], seed);
    std::copy(initial.begin(), initial.end(), values.begin() + set->offsets_[i]);
  }
  PAGODA_ASSIGN_OR_RETURN(set->values_, ctx.Upload<float>(values, {next}));
  PAGODA_ASSIGN_OR_RETURN(set->gradients_, ctx.Zeros({set->num_trainable_}));
  return set;
}

Tensor ParameterSet::value(DenseHandle handle) const {
  return values_.Flat(offset(handle), decls_[static_cast<size_t>(handle.index)].shape);
}

Tensor ParameterSet::gradient(DenseHandle handle) const {
  const DenseDecl& decl = decls_[static_cast<size_t>(handle.index)];
  if (!decl.trainable) return Tensor();
  return gradients_.Flat(offset(handle), decl.shape);
}

int64_t ParameterSet::offset(DenseHandle handle) const {
  PAGODA_CHECK(handle.index >= 0 && handle.index < static_cast<int>(decls_.size()));
  return offsets_[static_cast<size_t>(handle.index)];
}

absl::Status ParameterSet::Freeze(const std::vector<std::string>& groups,
                                  const std::vector<bool>& also) {
  for (const std::string& group : groups) {
    const bool known = std::any_of(decls_.begin(), decls_.end(),
                                   [&](const DenseDecl& d) { return GroupOf(d) == group; });
    if (!known) {
      return absl::NotFoundError(
          absl::StrCat("no dense parameter belongs to a group named '", group, "'"));
    }
  }
  for (size_t i = 0; i < decls_.size(); ++i) {
    frozen_[i] = std::find(groups.begin(), groups.end(), GroupOf(decls_[i])) != groups.end() ||
                 (i < also.size() && also[i]);
  }
  return absl::OkStatus();
}

bool ParameterSet::learns(DenseHandle handle) const {
  const size_t i = static_cast<size_t>(handle.index);
  return decls_[i].trainable && !frozen_[i];
}

const std::string& ParameterSet::GroupOf(const DenseDecl& decl) {
  static const std::string* const kDefault = new std::string("default");
  return decl.group.empty() ? *kDefault : decl.group;
}

absl::Status ParameterSet::ZeroGradients(Context& ctx) {
  if (gradients_.size() == 0) return absl::OkStatus();
  return Fill(ctx, 0.0f, gradients_);
}

}  // namespace pagoda
