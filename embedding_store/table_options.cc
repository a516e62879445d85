#include "embedding_store/table_options.h"

#include <cmath>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "embedding_store/row_catch_up.h"

namespace pagoda {
namespace {

constexpr const char* kOptimizerNames[] = {"sgd",          "adagrad",   "rowwise_adagrad", "adam",
                                           "ftrl",         "momentum",  "adagrad_decay",   "adamw",
                                           "rowwise_adam", "group_ftrl"};

constexpr const char* kPrecisionNames[] = {"f32", "f16", "bf16", "int8"};

std::string Show(float value) {
  return absl::StrCat(value);
}
std::string Show(double value) {
  return absl::StrCat(value);
}
std::string Show(const std::string& value) {
  return value;
}
template <typename Integer>
std::string Show(Integer value) {
  return std::to_string(value);
}

absl::Status BadOption(const TableOptions& options, const char* member, const std::string& value,
                       const char* range) {
  return absl::InvalidArgumentError(absl::StrCat("table \"", options.name, "\": ", member, " is ",
                                                 value, ", but must be ", range));
}

bool FiniteNotNegative(float value) {
  return std::isfinite(value) && value >= 0.0f;
}

bool IsAdagrad(SparseOptimizerKind kind) {
  return kind == SparseOptimizerKind::kAdagrad || kind == SparseOptimizerKind::kRowwiseAdagrad ||
         kind == SparseOptimizerKind::kAdagradDecay;
}

absl::Status CheckOptimizer(const TableOptions& options) {
  const SparseOptimizerOptions& o = options.optimizer;
  const auto kind = static_cast<size_t>(o.kind);
  if (kind >= std::size(kOptimizerNames)) {
    return BadOption(options, "optimizer.kind", Show(kind), "a known optimizer");
  }
  struct Ranged {
    const char* member;
    float value;
  };
  const Ranged not_negative[] = {{"optimizer.learning_rate", o.learning_rate},
                                 {"optimizer.initial_accumulator", o.initial_accumulator},
                                 {"optimizer.epsilon", o.epsilon},
                                 {"optimizer.l2", o.l2},
                                 {"optimizer.ftrl_l1", o.ftrl_l1},
                                 {"optimizer.ftrl_l2", o.ftrl_l2},
                                 {"optimizer.ftrl_beta", o.ftrl_beta},
                                 {"optimizer.ftrl_l21", o.ftrl_l21},
                                 {"optimizer.weight_decay", o.weight_decay},
                                 {"optimizer.clip_norm", o.clip_norm},
                                 {"optimizer.clip_value", o.clip_value}};
  for (const Ranged& r : not_negative) {
    if (!FiniteNotNegative(r.value)) {
      return BadOption(options, r.member, Show(r.value), "finite and >= 0");
    }
  }
  const Ranged betas[] = {{"optimizer.beta1", o.beta1},
                          {"optimizer.beta2", o.beta2},
                          {"optimizer.momentum", o.momentum}};
  for (const Ranged& r : betas) {
    if (!(r.value >= 0.0f && r.value < 1.0f)) {
      return BadOption(options, r.member, Show(r.value), "in [0, 1)");
    }
  }
  const absl::Status schedule = CheckRateSchedule(o.schedule);
  if (!schedule.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("table \"", options.name, "\": optimizer.schedule: ", schedule.message()));
  }
  if (o.kind == SparseOptimizerKind::kAdagradDecay) {
    if (!(o.accumulator_decay > 0.0f && o.accumulator_decay <= 1.0f)) {
      return BadOption(options, "optimizer.accumulator_decay", Show(o.accumulator_decay),
                       "in (0, 1]");
    }
    if (o.decay_steps < 1) {
      return BadOption(options, "optimizer.decay_steps", Show(o.decay_steps), ">= 1");
    }
  }
  // Their weights are made anew from the slots at each step.
  if (IsFtrl(o.kind) && o.weight_decay > 0.0f) {
    return BadOption(options, "optimizer.weight_decay", Show(o.weight_decay),
                     "0 with ftrl kinds (they have ftrl_l2)");
  }
  // A zero gradient on a zero accumulator would divide 0 by 0.
  const bool divides = IsAdam(o.kind) || (IsAdagrad(o.kind) && o.initial_accumulator == 0.0f);
  if (divides && o.epsilon == 0.0f) {
    return BadOption(options, "optimizer.epsilon", "0", "> 0 with this optimizer");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RowPrecision> ParseRowPrecision(const std::string& name) {
  for (size_t i = 0; i < std::size(kPrecisionNames); ++i) {
    if (name == kPrecisionNames[i]) return static_cast<RowPrecision>(i);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown precision of rows \"", name, "\"; known: f32, f16, bf16"));
}

const char* RowPrecisionName(RowPrecision precision) {
  const auto i = static_cast<size_t>(precision);
  return i < std::size(kPrecisionNames) ? kPrecisionNames[i] : "unknown";
}

absl::StatusOr<SparseOptimizerKind> ParseSparseOptimizer(const std::string& name) {
  for (size_t i = 0; i < std::size(kOptimizerNames); ++i) {
    if (name == kOptimizerNames[i]) return static_cast<SparseOptimizerKind>(i);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "unknown sparse optimizer \"", name, "\"; known: ", absl::StrJoin(kOptimizerNames, ", ")));
}

bool IsAdam(SparseOptimizerKind kind) {
  return kind == SparseOptimizerKind::kAdam || kind == SparseOptimizerKind::kAdamW ||
         kind == SparseOptimizerKind::kRowwiseAdam;
}

bool IsFtrl(SparseOptimizerKind kind) {
  return kind == SparseOptimizerKind::kFtrl || kind == SparseOptimizerKind::kGroupFtrl;
}

const char* SparseOptimizerName(SparseOptimizerKind kind) {
  const auto i = static_cast<size_t>(kind);
  return i < std::size(kOptimizerNames) ? kOptimizerNames[i] : "unknown";
}

int64_t SlotDim(SparseOptimizerKind kind, int64_t dim) {
  switch (kind) {
    case SparseOptimizerKind::kSgd: return 0;
    case SparseOptimizerKind::kAdagrad: return dim;
    case SparseOptimizerKind::kRowwiseAdagrad: return 1;
    case SparseOptimizerKind::kAdam: return 2 * dim + 1;
    case SparseOptimizerKind::kFtrl: return 2 * dim;
    case SparseOptimizerKind::kMomentum: return dim;
    case SparseOptimizerKind::kAdagradDecay: return dim + 1;
    case SparseOptimizerKind::kAdamW: return 2 * dim + 1;
    case SparseOptimizerKind::kRowwiseAdam: return dim + 2;
    case SparseOptimizerKind::kGroupFtrl: return 2 * dim;
  }
  return 0;
}

absl::Status CheckTableOptions(const TableOptions& options) {
  if (options.name.empty() || options.name.size() > kTableNameBytesMax) {
    return BadOption(options, "name", absl::StrCat(options.name.size(), " bytes long"),
                     "1 to 256 bytes long");
  }
  if (options.dim < 1 || options.dim > kTableDimMax) {
    return BadOption(options, "dim", Show(options.dim), "in [1, 4096]");
  }
  if (!FiniteNotNegative(options.init_stddev)) {
    return BadOption(options, "init_stddev", Show(options.init_stddev), "finite and >= 0");
  }
  if (options.init_zero_columns < 0 || options.init_zero_columns > options.dim) {
    return BadOption(options, "init_zero_columns", Show(options.init_zero_columns), "in [0, dim]");
  }
  const auto precision = static_cast<size_t>(options.precision);
  if (precision >= std::size(kPrecisionNames)) {
    return BadOption(options, "precision", Show(precision), "a known precision");
  }
  PAGODA_RETURN_IF_ERROR(CheckOptimizer(options));
  if (options.optimizer.exact && options.precision != RowPrecision::kF32) {
    return BadOption(options, "precision", RowPrecisionName(options.precision),
                     "f32 with optimizer.exact");
  }
  const std::string name = absl::StrCat("table \"", options.name, "\"");
  PAGODA_RETURN_IF_ERROR_CONTEXT(CheckAdmissionOptions(options.admission), name);
  PAGODA_RETURN_IF_ERROR_CONTEXT(CheckEvictionPolicy(options.eviction), name);
  if (!options.optimizer.exact) return absl::OkStatus();
  if (options.admission.kind != AdmissionKind::kNone) {
    return BadOption(options, "admission.kind", AdmissionKindName(options.admission.kind),
                     "none with optimizer.exact: a dropped gradient is one that the dense "
                     "optimizer would have applied");
  }
  if (options.eviction.triggers()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " is exact: an evicted row would not read as the dense optimizer's"));
  }
  return CheckExactOptions(options);
}

bool GrowsSlots(const TableOptions& stored, const TableOptions& asked) {
  if (stored.optimizer.kind != SparseOptimizerKind::kSgd ||
      asked.optimizer.kind == SparseOptimizerKind::kSgd || IsFtrl(asked.optimizer.kind) ||
      stored.optimizer.exact || asked.optimizer.exact) {
    return false;
  }
  TableOptions rest = asked;
  rest.optimizer = stored.optimizer;
  return CheckSameTable(stored, rest).ok();
}

absl::Status CheckSameTable(const TableOptions& stored, const TableOptions& asked) {
  absl::Status status;
  auto compare = [&](const char* member, const auto& a, const auto& b) {
    if (a == b || !status.ok()) return;
    status = absl::FailedPreconditionError(
        absl::StrCat("table \"", stored.name, "\" is stored with ", member, " = ", Show(a),
                     ", but was opened with ", Show(b)));
  };
  const SparseOptimizerOptions& s = stored.optimizer;
  const SparseOptimizerOptions& o = asked.optimizer;
  compare("dim", stored.dim, asked.dim);
  compare("seed", stored.seed, asked.seed);
  compare("init_stddev", stored.init_stddev, asked.init_stddev);
  compare("init_zero_columns", stored.init_zero_columns, asked.init_zero_columns);
  compare("precision", std::string(RowPrecisionName(stored.precision)),
          std::string(RowPrecisionName(asked.precision)));
  compare("optimizer", std::string(SparseOptimizerName(s.kind)),
          std::string(SparseOptimizerName(o.kind)));
  compare("optimizer.initial_accumulator", s.initial_accumulator, o.initial_accumulator);
  compare("optimizer.epsilon", s.epsilon, o.epsilon);
  compare("optimizer.beta1", s.beta1, o.beta1);
  compare("optimizer.beta2", s.beta2, o.beta2);
  compare("optimizer.l2", s.l2, o.l2);
  compare("optimizer.ftrl_l1", s.ftrl_l1, o.ftrl_l1);
  compare("optimizer.ftrl_l2", s.ftrl_l2, o.ftrl_l2);
  compare("optimizer.ftrl_beta", s.ftrl_beta, o.ftrl_beta);
  compare("optimizer.ftrl_l21", s.ftrl_l21, o.ftrl_l21);
  compare("optimizer.momentum", s.momentum, o.momentum);
  compare("optimizer.weight_decay", s.weight_decay, o.weight_decay);
  compare("optimizer.accumulator_decay", s.accumulator_decay, o.accumulator_decay);
  compare("optimizer.decay_steps", s.decay_steps, o.decay_steps);
  compare("optimizer.clip_norm", s.clip_norm, o.clip_norm);
  compare("optimizer.clip_value", s.clip_value, o.clip_value);
  compare("optimizer.exact", static_cast<int>(s.exact), static_cast<int>(o.exact));
  const AdmissionOptions& a = stored.admission;
  const AdmissionOptions& b = asked.admission;
  compare("admission.kind", std::string(AdmissionKindName(a.kind)),
          std::string(AdmissionKindName(b.kind)));
  if (a.kind == AdmissionKind::kFrequency) {
    compare("admission.count", a.count, b.count);
    compare("admission.window_steps", a.window_steps, b.window_steps);
    compare("admission.sketch_mib", a.sketch_mib, b.sketch_mib);
  }
  if (a.kind == AdmissionKind::kProbability) {
    compare("admission.probability", a.probability, b.probability);
  }
  return status;
}

}  // namespace pagoda
