#include "embedding_store/table_options.h"

#include <cmath>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr const char* kOptimizerNames[] = {"sgd", "adagrad", "rowwise_adagrad", "adam", "ftrl"};

constexpr const char* kPrecisionNames[] = {"f32", "f16", "bf16"};

std::string Show(float value) {
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
                                 {"optimizer.ftrl_beta", o.ftrl_beta}};
  for (const Ranged& r : not_negative) {
    if (!FiniteNotNegative(r.value)) {
      return BadOption(options, r.member, Show(r.value), "finite and >= 0");
    }
  }
  const Ranged betas[] = {{"optimizer.beta1", o.beta1}, {"optimizer.beta2", o.beta2}};
  for (const Ranged& r : betas) {
    if (!(r.value >= 0.0f && r.value < 1.0f)) {
      return BadOption(options, r.member, Show(r.value), "in [0, 1)");
    }
  }
  // A zero gradient on a zero accumulator would divide 0 by 0.
  const bool adagrad =
      o.kind == SparseOptimizerKind::kAdagrad || o.kind == SparseOptimizerKind::kRowwiseAdagrad;
  const bool divides =
      o.kind == SparseOptimizerKind::kAdam || (adagrad && o.initial_accumulator == 0.0f);
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
      "unknown sparse optimizer \"", name, "\"; known: sgd, adagrad, rowwise_adagrad, adam, ftrl"));
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
  return CheckOptimizer(options);
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
  return status;
}

}  // namespace pagoda
