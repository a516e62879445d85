#include "server/served_tables.h"

#include <bit>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "server/table_policies.h"

namespace pagoda {
namespace {

// What an unknown id reads as depends on these; weights do not depend on the rest.
absl::Status CompareForReading(const TableOptions& asked, const TableOptions& stored) {
  auto differs = [&](absl::string_view what, auto mine, auto theirs) {
    return absl::FailedPreconditionError(absl::StrCat("table '", asked.name, "' is stored with ",
                                                      what, " ", theirs, ", not ", mine));
  };
  if (asked.dim != stored.dim) return differs("dim", asked.dim, stored.dim);
  if (asked.precision != stored.precision) {
    return differs("precision", RowPrecisionName(asked.precision),
                   RowPrecisionName(stored.precision));
  }
  if (asked.seed != stored.seed) return differs("seed", asked.seed, stored.seed);
  if (asked.init_stddev != stored.init_stddev) {
    return differs("init_stddev", asked.init_stddev, stored.init_stddev);
  }
  if (asked.init_zero_columns != stored.init_zero_columns) {
    return differs("init_zero_columns", asked.init_zero_columns, stored.init_zero_columns);
  }
  return absl::OkStatus();
}

absl::Status CheckNames(std::span<const proto::TableSpec> specs) {
  if (specs.size() > ServedTables::kTablesMax) {
    return absl::InvalidArgumentError(absl::StrCat("a job has at most ", ServedTables::kTablesMax,
                                                   " tables, not ", specs.size()));
  }
  std::set<std::string> names;
  for (const proto::TableSpec& spec : specs) {
    if (!names.insert(spec.name()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("table '", spec.name(), "' is declared twice"));
    }
  }
  return absl::OkStatus();
}

// Shared by pulls and pushes: both have `table` and `ids`.
template <typename Request>
absl::Status CheckTables(const ServedTables& served, std::span<const Request> tables,
                         int64_t ids_max) {
  std::set<uint32_t> seen;
  int64_t ids = 0;
  for (const Request& request : tables) {
    if (served.Get(request.table) == nullptr) {
      return absl::NotFoundError(absl::StrCat("there is no table of index ", request.table));
    }
    if (!seen.insert(request.table).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(served.Describe(request.table), " appears twice in one request"));
    }
    ids += static_cast<int64_t>(request.ids.size());
  }
  if (ids > ids_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a request of ", ids, " ids; the server's limit is ", ids_max));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TableOptions> TableOptionsFromSpec(const proto::TableSpec& spec) {
  TableOptions options;
  options.name = spec.name();
  options.dim = spec.dim();
  options.seed = spec.seed();
  options.init_stddev = spec.init_stddev();
  options.init_zero_columns = spec.init_zero_columns();
  options.frozen = spec.frozen();
  auto precision = ParseRowPrecision(spec.precision().empty() ? "f32" : spec.precision());
  if (!precision.ok()) {
    return WithContext(precision.status(), absl::StrCat("table '", spec.name(), "'"));
  }
  options.precision = *precision;
  auto kind = ParseSparseOptimizer(spec.optimizer().kind());
  if (!kind.ok()) return WithContext(kind.status(), absl::StrCat("table '", spec.name(), "'"));
  options.optimizer.kind = *kind;
  options.optimizer.learning_rate = spec.optimizer().learning_rate();
  options.optimizer.initial_accumulator = spec.optimizer().initial_accumulator();
  options.optimizer.epsilon = spec.optimizer().epsilon();
  options.optimizer.beta1 = spec.optimizer().beta1();
  options.optimizer.beta2 = spec.optimizer().beta2();
  options.optimizer.l2 = spec.optimizer().l2();
  options.optimizer.ftrl_l1 = spec.optimizer().ftrl_l1();
  options.optimizer.ftrl_l2 = spec.optimizer().ftrl_l2();
  options.optimizer.ftrl_beta = spec.optimizer().ftrl_beta();
  options.optimizer.ftrl_l21 = spec.optimizer().ftrl_l21();
  options.optimizer.momentum = spec.optimizer().momentum();
  options.optimizer.weight_decay = spec.optimizer().weight_decay();
  options.optimizer.accumulator_decay = spec.optimizer().accumulator_decay();
  options.optimizer.decay_steps = spec.optimizer().decay_steps();
  options.optimizer.clip_norm = spec.optimizer().clip_norm();
  options.optimizer.clip_value = spec.optimizer().clip_value();
  options.optimizer.exact = spec.optimizer().exact();
  RateSchedule& schedule = options.optimizer.schedule;
  if (!spec.optimizer().schedule().empty()) {
    auto course = ParseRateSchedule(spec.optimizer().schedule());
    if (!course.ok())
      return WithContext(course.status(), absl::StrCat("table '", spec.name(), "'"));
    schedule.kind = *course;
  }
  schedule.warmup_steps = spec.optimizer().warmup_steps();
  schedule.total_steps = spec.optimizer().total_steps();
  schedule.min_factor = spec.optimizer().min_factor();
  PAGODA_RETURN_IF_ERROR_CONTEXT(TakePolicies(spec, &options),
                                 absl::StrCat("table '", spec.name(), "'"));
  PAGODA_RETURN_IF_ERROR(CheckTableOptions(options));
  return options;
}

proto::TableSpec SpecFromTableOptions(const TableOptions& options) {
  proto::TableSpec spec;
  spec.set_name(options.name);
  spec.set_dim(static_cast<uint32_t>(options.dim));
  spec.set_seed(options.seed);
  spec.set_init_stddev(options.init_stddev);
  spec.set_init_zero_columns(static_cast<uint32_t>(options.init_zero_columns));
  spec.set_frozen(options.frozen);
  spec.set_precision(RowPrecisionName(options.precision));
  SetPolicies(options, &spec);
  proto::TableSpec::Optimizer& optimizer = *spec.mutable_optimizer();
  optimizer.set_kind(SparseOptimizerName(options.optimizer.kind));
  optimizer.set_learning_rate(options.optimizer.learning_rate);
  optimizer.set_initial_accumulator(options.optimizer.initial_accumulator);
  optimizer.set_epsilon(options.optimizer.epsilon);
  optimizer.set_beta1(options.optimizer.beta1);
  optimizer.set_beta2(options.optimizer.beta2);
  optimizer.set_l2(options.optimizer.l2);
  optimizer.set_ftrl_l1(options.optimizer.ftrl_l1);
  optimizer.set_ftrl_l2(options.optimizer.ftrl_l2);
  optimizer.set_ftrl_beta(options.optimizer.ftrl_beta);
  optimizer.set_ftrl_l21(options.optimizer.ftrl_l21);
  optimizer.set_momentum(options.optimizer.momentum);
  optimizer.set_weight_decay(options.optimizer.weight_decay);
  optimizer.set_accumulator_decay(options.optimizer.accumulator_decay);
  optimizer.set_decay_steps(options.optimizer.decay_steps);
  optimizer.set_clip_norm(options.optimizer.clip_norm);
  optimizer.set_clip_value(options.optimizer.clip_value);
  optimizer.set_exact(options.optimizer.exact);
  const RateSchedule& schedule = options.optimizer.schedule;
  if (schedule == RateSchedule()) return spec;
  optimizer.set_schedule(RateScheduleName(schedule.kind));
  optimizer.set_warmup_steps(schedule.warmup_steps);
  optimizer.set_total_steps(schedule.total_steps);
  optimizer.set_min_factor(schedule.min_factor);
  return spec;
}

uint32_t ServedTables::Remember(const TableOptions& options, uint32_t store_index) {
  for (uint32_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].options.name == options.name) {
      entries_[i] = {options, store_index};
      return i;
    }
  }
  entries_.push_back({options, store_index});
  return static_cast<uint32_t>(entries_.size() - 1);
}

absl::StatusOr<std::vector<uint32_t>> ServedTables::Declare(std::span<const proto::TableSpec> specs,
                                                            EmbeddingStore& store) {
  PAGODA_RETURN_IF_ERROR(CheckNames(specs));
  std::vector<TableOptions> tables;  // All checked before the first is created.
  for (const proto::TableSpec& spec : specs) {
    PAGODA_ASSIGN_OR_RETURN(TableOptions options, TableOptionsFromSpec(spec));
    tables.push_back(std::move(options));
  }
  std::vector<uint32_t> indices;
  for (const TableOptions& options : tables) {
    PAGODA_ASSIGN_OR_RETURN(const uint32_t store_index, store.OpenTable(options));
    indices.push_back(Remember(options, store_index));
  }
  return indices;
}

absl::StatusOr<std::vector<uint32_t>> ServedTables::Find(std::span<const proto::TableSpec> specs,
                                                         const EmbeddingStore& store) {
  PAGODA_RETURN_IF_ERROR(CheckNames(specs));
  const std::vector<TableOptions> stored = store.tables();
  std::vector<uint32_t> indices;
  for (const proto::TableSpec& spec : specs) {
    PAGODA_ASSIGN_OR_RETURN(const TableOptions asked, TableOptionsFromSpec(spec));
    uint32_t found = 0;
    while (found < stored.size() && stored[found].name != asked.name) ++found;
    if (found == stored.size()) {
      return absl::NotFoundError(absl::StrCat("table '", asked.name, "' is not stored here"));
    }
    PAGODA_RETURN_IF_ERROR(CompareForReading(asked, stored[found]));
    indices.push_back(Remember(stored[found], found));
  }
  return indices;
}

absl::Status ServedTables::Reopen(EmbeddingStore& store) {
  for (Entry& entry : entries_) {
    PAGODA_ASSIGN_OR_RETURN(entry.store_index, store.OpenTable(entry.options));
  }
  return absl::OkStatus();
}

std::vector<uint32_t> ServedTables::ExactTables() const {
  std::vector<uint32_t> exact;
  for (uint32_t i = 0; i < entries_.size(); ++i) {
    const TableOptions& options = entries_[i].options;
    if (options.optimizer.exact && !options.frozen) exact.push_back(i);
  }
  return exact;
}

std::string ServedTables::Describe(uint32_t table) const {
  const Entry* entry = Get(table);
  if (entry == nullptr) return absl::StrCat("table of index ", table);
  return absl::StrCat("table '", entry->options.name, "' (index ", table, ")");
}

absl::Status ServedTables::CheckPull(std::span<const ServicePull> tables, int64_t ids_max) const {
  return CheckTables(*this, tables, ids_max);
}

absl::Status ServedTables::CheckPush(std::span<const ServicePush> tables, int64_t ids_max) const {
  PAGODA_RETURN_IF_ERROR(CheckTables(*this, tables, ids_max));
  for (const ServicePush& push : tables) {
    const TableOptions& options = Get(push.table)->options;
    if (options.frozen) {
      return absl::FailedPreconditionError(
          absl::StrCat(Describe(push.table), " is frozen: it takes no push"));
    }
    if (push.gradients.size() != push.ids.size() * static_cast<size_t>(options.dim)) {
      return absl::InvalidArgumentError(absl::StrCat(Describe(push.table), ": ",
                                                     push.gradients.size(), " gradient values for ",
                                                     push.ids.size(), " ids of dim ", options.dim));
    }
    for (size_t i = 0; i < push.returned.size(); ++i) {
      const bool ascends = i == 0 || push.returned[i - 1] < push.returned[i];
      if (ascends && push.returned[i] < push.ids.size()) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(Describe(push.table), ": row ", push.returned[i], " of ", push.ids.size(),
                       " is asked back; positions must ascend and name an id of the push"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckExactMode(const std::string& mode, std::span<const proto::TableSpec> specs) {
  for (const proto::TableSpec& spec : specs) {
    if (mode == "sync" || !spec.optimizer().exact()) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "table '", spec.name(), "' is exact, which needs mode sync; the job's mode is ", mode));
  }
  return absl::OkStatus();
}

absl::Status CheckPushRows(const ServicePush& push, const std::string& table, int64_t dim) {
  const size_t capacity = std::bit_ceil(2 * push.ids.size() + 1);
  std::vector<uint32_t> slots(capacity, ~uint32_t{0});
  for (uint32_t i = 0; i < push.ids.size(); ++i) {
    const FeatureId id = push.ids[i];
    size_t slot = MixBits(id) & (capacity - 1);
    while (slots[slot] != ~uint32_t{0} && push.ids[slots[slot]] != id) {
      slot = (slot + 1) & (capacity - 1);
    }
    if (slots[slot] != ~uint32_t{0}) {
      return absl::InvalidArgumentError(absl::StrCat(table, ": id ", id, " repeats in one push"));
    }
    slots[slot] = i;
  }
  for (size_t i = 0; i < push.gradients.size(); ++i) {
    if (!std::isfinite(push.gradients[i])) {
      return absl::InvalidArgumentError(absl::StrCat(table, ": the gradient of id ",
                                                     push.ids[i / static_cast<size_t>(dim)],
                                                     " is not finite"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPushShard(const ServicePush& push, const std::string& table, uint32_t shard,
                            uint32_t num_shards) {
  for (const FeatureId id : push.ids) {
    const uint32_t owner = ShardOf(id, num_shards);
    if (owner != shard) {
      return absl::InvalidArgumentError(absl::StrCat(table, ": id ", id, " belongs to shard ",
                                                     owner, " of ", num_shards, ", this is shard ",
                                                     shard));
    }
  }
  return absl::OkStatus();
}

}  // namespace pagoda
