// Exact tables (row_catch_up.h): the steps they take, and how those reach disk.
//
// Stored with each flush (exact_steps.h), as of its sequence. Replay takes the steps since
// then, as the log's records do.
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "embedding_store/exact_steps.h"
#include "embedding_store/shard_store.h"
#include "embedding_store/sparse_optimizer.h"

namespace pagoda {

absl::Status ShardStore::CheckExactPush(std::span<const StorePush> pushes, Step step,
                                        float learning_rate_factor) const {
  for (size_t i = 0; i < pushes.size(); ++i) {
    const Table& table = *tables_[pushes[i].table];
    if (table.catch_up == nullptr) continue;
    const std::string name = absl::StrCat("table \"", table.options.name, "\"");
    for (size_t j = 0; j < i; ++j) {
      if (pushes[j].table != pushes[i].table) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(name, " is exact and comes twice in one push"));
    }
    PAGODA_RETURN_IF_ERROR_CONTEXT(
        table.catch_up->CheckRate(LearningRateAt(table.options.optimizer, step) *
                                  learning_rate_factor),
        name);
  }
  return absl::OkStatus();
}

void ShardStore::AdvanceSteps(const PushRecord& record) {
  for (const PushRecord::Table& t : record.tables) {
    RowCatchUp* const catch_up = tables_[t.table]->catch_up.get();
    if (catch_up == nullptr) continue;
    std::unique_lock<std::shared_mutex> steps(steps_mutex_);
    catch_up->Advance(t.learning_rate * record.learning_rate_factor, record.sequence);
  }
}

std::vector<const RowCatchUp*> ShardStore::CatchUps(std::span<const RowSource> sources) const {
  bool any = false;
  for (const RowSource& source : sources) any |= tables_[source.table]->catch_up != nullptr;
  std::vector<const RowCatchUp*> catch_ups;
  for (size_t t = 0; any && t < tables_.size(); ++t) {
    catch_ups.push_back(tables_[t]->catch_up.get());
  }
  return catch_ups;
}

void ShardStore::ReadCaughtUp(uint32_t table, const char* row, float* weights) const {
  std::shared_lock<std::shared_mutex> steps(steps_mutex_);
  tables_[table]->catch_up->ReadWeights(FloatsOf(row), HeaderOf(row)->last_step, weights);
}

std::shared_ptr<const std::string> ShardStore::EncodeSteps(uint64_t sequence) const {
  std::string bytes;
  for (uint32_t t = 0; t < tables_.size(); ++t) {
    if (tables_[t]->catch_up == nullptr) continue;
    std::string rates;
    tables_[t]->catch_up->AppendRates(sequence, &rates);
    AppendTableSteps({t, rates}, &bytes);
  }
  return bytes.empty() ? nullptr : std::make_shared<const std::string>(std::move(bytes));
}

absl::Status ShardStore::LoadSteps(const RocksMeta& meta) {
  std::unique_lock<std::shared_mutex> lock(steps_mutex_);
  const auto damaged = [&](absl::string_view what) {
    return absl::DataLossError(absl::StrCat(directory_->rocksdb_path(), ": ", what));
  };
  const absl::StatusOr<std::vector<TableSteps>> all =
      SplitTableSteps(meta.steps == nullptr ? absl::string_view() : *meta.steps);
  if (!all.ok()) return damaged(all.status().message());
  std::vector<bool> listed(tables_.size());
  for (const TableSteps& steps : *all) {
    const uint32_t t = steps.table;
    if (t >= tables_.size() || tables_[t]->catch_up == nullptr) {
      return damaged(absl::StrCat("there are steps of table ", t, ", which is not exact"));
    }
    listed[t] = true;
    absl::string_view rates = steps.rates;
    const absl::Status loaded = tables_[t]->catch_up->Load(&rates);
    if (!loaded.ok()) return damaged(absl::StrCat("table ", t, ": ", loaded.message()));
  }
  for (size_t t = 0; t < tables_.size(); ++t) {
    if (tables_[t]->catch_up == nullptr || tables_[t]->rows.load() == 0 || listed[t]) continue;
    return damaged(absl::StrCat("table \"", tables_[t]->options.name,
                                "\" is exact and has rows, but not the steps they have taken"));
  }
  return absl::OkStatus();
}

}  // namespace pagoda
