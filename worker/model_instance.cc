#include "worker/model_instance.h"

#include <algorithm>
#include <span>
#include <utility>

#include "algorithms/nn/name_pattern.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "worker/negative_items.h"

namespace pagoda {
namespace {

// Labels of the streams derived from the job's seed. Fixed: they are part of
// "same job, same numbers".
constexpr uint64_t kTableStream = 1;
constexpr uint64_t kDenseStream = 2;
constexpr uint64_t kStepStream = 3;

absl::Status NoSuchTable(const std::string& name, const Declaration& declaration,
                         absl::string_view where) {
  std::vector<std::string> names;
  for (const TableDecl& table : declaration.tables) names.push_back(table.name);
  const std::string nearest = NearestName(name, names);
  return absl::NotFoundError(
      absl::StrCat(where, " names table '", name, "', which the model does not have",
                   nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?")));
}

// For the tables that a stage freezes by pattern: nothing moves their rows, so they need
// no slots.
void DropOptimizer(proto::TableSpec* table) {
  table->set_frozen(true);
  table->clear_admission();
  table->clear_eviction();
  proto::TableSpec::Optimizer* optimizer = table->mutable_optimizer();
  optimizer->set_kind("sgd");
  optimizer->set_exact(false);
  optimizer->set_l2(0.0f);
  optimizer->set_weight_decay(0.0f);
}

bool FreezesTable(const StageOptions& stage, const std::string& name) {
  return std::find(stage.frozen_tables.begin(), stage.frozen_tables.end(), name) !=
         stage.frozen_tables.end();
}

void CopyPolicies(const proto::TableSpec& from, proto::TableSpec* to) {
  to->clear_admission();
  to->clear_eviction();
  if (from.has_admission()) *to->mutable_admission() = from.admission();
  if (from.has_eviction()) *to->mutable_eviction() = from.eviction();
}

proto::TableSpec SpecOf(const TableDecl& decl, const TrainerOptions& options) {
  proto::TableSpec spec;
  spec.set_name(decl.name);
  spec.set_dim(static_cast<uint32_t>(decl.dim));
  spec.set_seed(RandomKey{options.seed}
                    .Derive(HashBytes(options.job))
                    .Derive(kTableStream)
                    .Derive(HashBytes(decl.name))
                    .value);
  spec.set_init_stddev(decl.init_stddev < 0.0f ? options.sparse.init_stddev : decl.init_stddev);
  spec.set_init_zero_columns(static_cast<uint32_t>(decl.init_zero_columns));
  spec.set_precision(options.sparse.precision);
  CopyPolicies(options.sparse.policies, &spec);
  *spec.mutable_optimizer() = options.sparse.optimizer;
  if (!decl.optimizer.empty()) spec.mutable_optimizer()->set_kind(decl.optimizer);
  return spec;
}

}  // namespace

ModelInstance::ModelInstance(TrainerOptions options)
    : options_(std::move(options)), pool_(std::max(1, options_.num_threads)) {}

absl::StatusOr<std::unique_ptr<ModelInstance>> ModelInstance::Create(
    const TrainerOptions& options) {
  std::unique_ptr<ModelInstance> instance(new ModelInstance(options));
  PAGODA_ASSIGN_OR_RETURN(instance->ctx_, Context::Create(options.device, &instance->pool_,
                                                          options.device_memory_bytes));
  instance->ctx_->set_compute_dtype(options.compute_dtype);
  PAGODA_RETURN_IF_ERROR(instance->Declare());
  PAGODA_RETURN_IF_ERROR(instance->MakeTables());
  const RandomKey key = RandomKey{options.seed}.Derive(HashBytes(options.job)).Derive(kDenseStream);
  PAGODA_ASSIGN_OR_RETURN(
      instance->parameters_,
      ParameterSet::Create(*instance->ctx_, instance->declaration_.dense, key.value));
  PAGODA_RETURN_IF_ERROR(
      instance->Freeze(options.stages.empty() ? StageOptions() : options.stages[0]));
  return instance;
}

absl::Status ModelInstance::Declare() {
  if (options_.create_model) {
    model_ = options_.create_model();
  } else {
    PAGODA_ASSIGN_OR_RETURN(const ModelInfo* info, FindModel(options_.model));
    model_ = info->create(options_.model_options);
  }
  PAGODA_RETURN_IF_ERROR_CONTEXT(model_->Declare(options_.schema, declaration_),
                                 absl::StrCat("model '", options_.model, "'"));
  return CheckDeclaration(options_.schema, declaration_);
}

absl::Status ModelInstance::MakeTables() {
  for (const TableDecl& decl : declaration_.tables) tables_.push_back(SpecOf(decl, options_));
  PAGODA_RETURN_IF_ERROR(ApplyOverrides());
  PAGODA_RETURN_IF_ERROR(ApplyGroups());
  return ApplyFreezing();
}

absl::Status ModelInstance::ApplyOverrides() {
  for (const SparseOptions::Override& change : options_.sparse.overrides) {
    const auto table =
        std::find_if(tables_.begin(), tables_.end(),
                     [&](const proto::TableSpec& spec) { return spec.name() == change.table; });
    if (table == tables_.end()) {
      return NoSuchTable(change.table, declaration_, "an override");
    }
    *table->mutable_optimizer() = change.optimizer;
    table->set_frozen(change.frozen);
    table->set_precision(change.precision);
    CopyPolicies(change.policies, &*table);
  }
  return absl::OkStatus();
}

absl::Status ModelInstance::ApplyGroups() {
  const std::vector<proto::TableSpec> ungrouped = tables_;
  for (const ParameterGroup& group : options_.dense.groups) {
    const absl::StatusOr<NameSelection> selection =
        SelectNames(group.match, declaration_, absl::StrCat("[group.", group.name, "]"));
    PAGODA_RETURN_IF_ERROR(selection.status());
    for (size_t i = 0; i < tables_.size(); ++i) {
      if (!selection->tables[i]) continue;
      proto::TableSpec::Optimizer* optimizer = tables_[i].mutable_optimizer();
      *optimizer = ungrouped[i].optimizer();
      optimizer->set_learning_rate(static_cast<float>(
          static_cast<double>(optimizer->learning_rate()) * group.learning_rate));
      if (!group.optimizer.empty()) optimizer->set_kind(group.optimizer);
      if (group.weight_decay) continue;
      optimizer->set_weight_decay(0.0f);
      optimizer->set_l2(0.0f);
    }
  }
  return absl::OkStatus();
}

absl::Status ModelInstance::ApplyFreezing() {
  std::vector<NameSelection> by_pattern;
  for (const StageOptions& stage : options_.stages) {
    PAGODA_ASSIGN_OR_RETURN(by_pattern.emplace_back(),
                            SelectNames(stage.freeze, declaration_, "freeze"));
  }
  for (size_t i = 0; i < tables_.size(); ++i) {
    proto::TableSpec& table = tables_[i];
    size_t times = 0, times_by_pattern = 0;
    for (size_t s = 0; s < by_pattern.size(); ++s) {
      times += FreezesTable(options_.stages[s], table.name()) || by_pattern[s].tables[i] ? 1 : 0;
      times_by_pattern += by_pattern[s].tables[i] ? 1 : 0;
    }
    const bool always = !by_pattern.empty() && times == by_pattern.size();
    if (always) table.set_frozen(true);
    if (!by_pattern.empty() && times_by_pattern == by_pattern.size()) DropOptimizer(&table);
    if (times > 0 && !always && table.optimizer().exact()) {
      return absl::InvalidArgumentError(
          absl::StrCat("table '", table.name(),
                       "' is exact: it can be frozen in all stages or in none, because its rows "
                       "move with every step"));
    }
  }
  return absl::OkStatus();
}

absl::Status ModelInstance::Freeze(const StageOptions& stage) {
  for (const std::string& name : stage.frozen_tables) {
    const auto table =
        std::find_if(tables_.begin(), tables_.end(),
                     [&](const proto::TableSpec& spec) { return spec.name() == name; });
    if (table == tables_.end()) {
      return NoSuchTable(name, declaration_, absl::StrCat("stage '", stage.name, "'"));
    }
  }
  PAGODA_ASSIGN_OR_RETURN(const NameSelection selection,
                          SelectNames(stage.freeze, declaration_, "freeze"));
  frozen_.clear();
  for (size_t i = 0; i < tables_.size(); ++i) {
    frozen_.push_back(tables_[i].frozen() || FreezesTable(stage, tables_[i].name()) ||
                      selection.tables[i]);
  }
  return parameters_->Freeze(stage.frozen_groups, selection.dense);
}

void ModelInstance::TakeInitialValues(size_t table, const proto::TableSpec& source) {
  tables_[table].set_seed(source.seed());
  tables_[table].set_init_stddev(source.init_stddev());
  tables_[table].set_init_zero_columns(source.init_zero_columns());
}

void ModelInstance::TakeInitialValues(const proto::JobCut& manifest) {
  for (const proto::JobCut::Loaded& loaded : manifest.hand_over().tables()) {
    for (const proto::TableSpec& saved : manifest.tables()) {
      if (saved.name() != loaded.name()) continue;
      for (size_t i = 0; i < tables_.size(); ++i) {
        if (tables_[i].name() == saved.name()) TakeInitialValues(i, saved);
      }
    }
  }
}

absl::Status ModelInstance::LoadNegatives() {
  return pagoda::LoadNegatives(options_, &declaration_);
}

RandomKey ModelInstance::StepKey(Step step) const {
  return RandomKey{options_.seed}
      .Derive(HashBytes(options_.job))
      .Derive(kStepStream)
      .Derive(static_cast<uint64_t>(step));
}

absl::StatusOr<std::vector<float>> ModelInstance::DenseValues() {
  std::vector<float> values(static_cast<size_t>(parameters_->num_elements()));
  if (values.empty()) return values;
  PAGODA_RETURN_IF_ERROR(ctx_->CopyToHost(parameters_->values(), values.data(),
                                          static_cast<int64_t>(values.size() * sizeof(float))));
  return values;
}

absl::Status ModelInstance::SetDenseValues(const std::vector<float>& values) {
  if (static_cast<int64_t>(values.size()) != parameters_->num_elements()) {
    return absl::InvalidArgumentError(absl::StrCat("the model has ", parameters_->num_elements(),
                                                   " dense values, not ", values.size()));
  }
  if (values.empty()) return absl::OkStatus();
  return ctx_->CopyFromHost(values.data(), static_cast<int64_t>(values.size() * sizeof(float)),
                            parameters_->values());
}

}  // namespace pagoda
