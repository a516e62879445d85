#include "algorithms/nn/optimizer.h"

#include <algorithm>
#include <cmath>

#include "algorithms/nn/model_options.h"
#include "algorithms/nn/name_pattern.h"
#include "kernels/gradient_norm.h"

namespace pagoda {
namespace {

struct NormResult {
  double norm = 0.0;
  bool finite = true;
};

absl::StatusOr<NormResult> NormOf(Context& ctx, const Tensor& gradient, const Tensor& scratch) {
  PAGODA_RETURN_IF_ERROR(SquaredNorm(ctx, gradient, scratch));
  float host[2] = {0.0f, 0.0f};
  PAGODA_RETURN_IF_ERROR(ctx.CopyToHost(scratch, host, sizeof(host)));
  NormResult result;
  result.norm = std::sqrt(static_cast<double>(host[0]));
  result.finite = host[1] == 0.0f && std::isfinite(result.norm);
  return result;
}

absl::Status NameNonFinite(Context& ctx, const ParameterSet& parameters, const Tensor& scratch) {
  for (size_t i = 0; i < parameters.decls().size(); ++i) {
    const DenseHandle handle{static_cast<int>(i)};
    const Tensor gradient = parameters.gradient(handle);
    if (gradient.absent()) continue;
    PAGODA_ASSIGN_OR_RETURN(const NormResult result,
                            NormOf(ctx, gradient.Reshape({gradient.size()}), scratch));
    if (result.finite) continue;
    return absl::OutOfRangeError(absl::StrCat("the gradient of dense parameter '",
                                              parameters.decls()[i].name, "' is not finite"));
  }
  return absl::OutOfRangeError("the norm of the dense gradients is not finite");
}

int NumSlots(const DenseStepArgs& args) {
  switch (args.kind) {
    case DenseOptimizerKind::kSgd: return args.momentum == 0.0f ? 0 : 1;
    case DenseOptimizerKind::kAdagrad: return 1;
    case DenseOptimizerKind::kAdam:
    case DenseOptimizerKind::kAdamW: return 2;
  }
  return 0;
}

absl::Status CheckOptions(const DenseOptimizerOptions& options) {
  struct Range {
    const char* key;
    double value;
    double below;  // value in [0, below)
  };
  constexpr double kAny = 1e30;
  const DenseStepArgs& args = options.args;
  for (const Range& range :
       {Range{"learning_rate", args.learning_rate, kAny}, Range{"momentum", args.momentum, 1.0},
        Range{"beta1", args.beta1, 1.0}, Range{"beta2", args.beta2, 1.0},
        Range{"epsilon", args.epsilon, kAny}, Range{"weight_decay", args.weight_decay, kAny},
        Range{"clip_norm", options.clip_norm, kAny}}) {
    if (range.value >= 0.0 && range.value < range.below) continue;
    return absl::InvalidArgumentError(absl::StrCat("the dense optimizer's ", range.key, " is ",
                                                   range.value, "; it must be at least 0",
                                                   range.below < kAny ? " and below 1" : ""));
  }
  for (const auto& [group, rate] : options.group_rates) {
    if (rate >= 0.0 && rate < kAny) continue;
    return absl::InvalidArgumentError(absl::StrCat("the learning-rate factor of parameter group '",
                                                   group, "' is ", rate,
                                                   "; it must be at least 0"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DenseOptimizerKind> DenseOptimizer::ParseKind(const std::string& name) {
  if (name == "sgd") return DenseOptimizerKind::kSgd;
  if (name == "adagrad") return DenseOptimizerKind::kAdagrad;
  if (name == "adam") return DenseOptimizerKind::kAdam;
  if (name == "adamw") return DenseOptimizerKind::kAdamW;
  const std::string nearest = NearestName(name, {"sgd", "adagrad", "adam", "adamw"});
  return absl::InvalidArgumentError(
      absl::StrCat("unknown dense optimizer '", name, "'; ",
                   nearest.empty() ? "known: sgd, adagrad, adam, adamw"
                                   : absl::StrCat("did you mean '", nearest, "'?")));
}

absl::StatusOr<std::unique_ptr<DenseOptimizer>> DenseOptimizer::Create(
    Context& ctx, const ParameterSet& parameters, const DenseOptimizerOptions& options) {
  PAGODA_RETURN_IF_ERROR(CheckOptions(options));
  auto optimizer = std::make_unique<DenseOptimizer>();
  optimizer->options_ = options;
  PAGODA_RETURN_IF_ERROR(optimizer->ResolveSettings(parameters));
  const Shape shape = {parameters.num_trainable()};
  int num_slots = NumSlots(options.args);
  for (const Settings& settings : optimizer->settings_) {
    DenseStepArgs args = options.args;
    args.kind = settings.kind;
    num_slots = std::max(num_slots, NumSlots(args));
  }
  if (num_slots >= 1) {
    PAGODA_ASSIGN_OR_RETURN(optimizer->slot1_, ctx.Zeros(shape));
  }
  if (num_slots >= 2) {
    PAGODA_ASSIGN_OR_RETURN(optimizer->slot2_, ctx.Zeros(shape));
  }
  PAGODA_ASSIGN_OR_RETURN(optimizer->norm_, ctx.Zeros({2}));
  return optimizer;
}

absl::Status DenseOptimizer::ResolveSettings(const ParameterSet& parameters) {
  Declaration declaration;
  declaration.dense = parameters.decls();
  std::vector<Settings> ungrouped;
  for (const DenseDecl& decl : declaration.dense) {
    const auto rate = options_.group_rates.find(ParameterSet::GroupOf(decl));
    const double factor = rate == options_.group_rates.end() ? 1.0 : rate->second;
    ungrouped.push_back({options_.args.kind, options_.args.learning_rate * factor,
                         decl.weight_decay ? options_.args.weight_decay : 0.0f});
  }
  settings_ = ungrouped;
  for (const ParameterGroup& group : options_.groups) {
    PAGODA_ASSIGN_OR_RETURN(const NameSelection selection, MatchNames(group.match, declaration));
    const std::vector<bool>& named = selection.dense;
    DenseOptimizerKind kind = options_.args.kind;
    if (!group.optimizer.empty() && std::find(named.begin(), named.end(), true) != named.end()) {
      absl::StatusOr<DenseOptimizerKind> own = ParseKind(group.optimizer);
      PAGODA_RETURN_IF_ERROR_CONTEXT(own.status(), absl::StrCat("group '", group.name, "'"));
      kind = *own;
    }
    for (size_t i = 0; i < named.size(); ++i) {
      if (!named[i]) continue;
      settings_[i] = ungrouped[i];
      settings_[i].kind = kind;
      settings_[i].learning_rate *= group.learning_rate;
      if (!group.weight_decay) settings_[i].weight_decay = 0.0f;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<double> DenseOptimizer::Step(Context& ctx, ParameterSet& parameters,
                                            double lr_factor) {
  if (parameters.num_trainable() == 0) return 0.0;
  PAGODA_ASSIGN_OR_RETURN(const NormResult norm, NormOf(ctx, parameters.gradients(), norm_));
  if (!norm.finite) return NameNonFinite(ctx, parameters, norm_);
  DenseStepArgs args = options_.args;
  args.step = ++steps_;
  if (options_.clip_norm > 0.0 && norm.norm > options_.clip_norm) {
    args.gradient_scale = static_cast<float>(options_.clip_norm / norm.norm);
  }
  for (size_t i = 0; i < parameters.decls().size(); ++i) {
    const DenseHandle handle{static_cast<int>(i)};
    if (!parameters.learns(handle)) continue;
    const DenseDecl& decl = parameters.decls()[i];
    args.kind = settings_[i].kind;
    args.learning_rate = static_cast<float>(settings_[i].learning_rate * lr_factor);
    args.weight_decay = settings_[i].weight_decay;
    const int64_t begin = parameters.offset(handle);
    const Shape flat = {NumElements(decl.shape)};
    const auto part = [&](const Tensor& t) { return t.absent() ? t : t.Flat(begin, flat); };
    PAGODA_RETURN_IF_ERROR_CONTEXT(
        DenseOptimizerStep(ctx, args, part(parameters.gradients()), part(parameters.values()),
                           part(slot1_), part(slot2_)),
        absl::StrCat("dense parameter '", decl.name, "'"));
  }
  return norm.norm;
}

std::vector<Tensor> DenseOptimizer::slots() const {
  std::vector<Tensor> slots;
  if (!slot1_.absent()) slots.push_back(slot1_);
  if (!slot2_.absent()) slots.push_back(slot2_);
  return slots;
}

}  // namespace pagoda
