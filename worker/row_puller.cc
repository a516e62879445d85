#include "worker/row_puller.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"

namespace pagoda {

std::vector<const uint32_t*> PulledBatch::StatisticsOfTables() const {
  std::vector<const uint32_t*> tables;
  for (const std::vector<uint32_t>& table : statistics) {
    tables.push_back(table.empty() ? nullptr : table.data());
  }
  return tables;
}

RowPuller::RowPuller(ParameterClient* client, const Declaration& declaration,
                     absl::Duration wait_max, RowCache* cache)
    : client_(client),
      statistics_(declaration.TablesWithStatistics()),
      wait_max_(wait_max),
      cache_(cache) {
  for (const TableDecl& table : declaration.tables) dims_.push_back(table.dim);
}

std::shared_ptr<PulledBatch> RowPuller::Start(std::unique_ptr<PrefetchedBatch> data,
                                              Step after_step, Step applied) {
  auto batch = std::make_shared<PulledBatch>();
  batch->data = std::move(data);
  if (!spare_.empty()) {
    batch->rows = std::move(spare_.back());
    spare_.pop_back();
  }
  batch->version = applied;
  const std::vector<std::vector<FeatureId>>& unique_ids = batch->data->prepared.unique_ids;
  if (cache_ == nullptr) {
    Pull(batch, unique_ids, batch->rows, batch->statistics, after_step);
    return batch;
  }
  batch->cached = cache_->Pin(batch->data->prepared, applied + 1);
  batch->rows.resize(unique_ids.size());
  batch->statistics.resize(unique_ids.size());
  batch->pulled.resize(unique_ids.size());
  for (size_t table = 0; table < unique_ids.size(); ++table) {
    const size_t size = unique_ids[table].size() * static_cast<size_t>(dims_[table]);
    if (batch->rows[table].size() < size) batch->rows[table].resize(size);
    if (statistics_[table]) batch->statistics[table].resize(2 * unique_ids[table].size());
    for (size_t i = 0; i < unique_ids[table].size(); ++i) {
      const auto position = static_cast<int32_t>(i);
      if (!batch->cached.IsHit(table, position)) batch->pulled[table].push_back(position);
    }
  }
  PullSome(batch, batch->pulled, batch->pulled_answer, after_step);
  return batch;
}

void RowPuller::Refresh(const std::shared_ptr<PulledBatch>& batch, Step after_step) {
  const std::vector<std::vector<int32_t>>& repeats = batch->data->repeats;
  batch->refreshed.assign(batch->data->prepared.unique_ids.size(), {});
  for (size_t table = 0; table < batch->refreshed.size(); ++table) {
    for (const int32_t i : repeats[table]) {
      if (!batch->cached.IsHit(table, i)) batch->refreshed[table].push_back(i);
    }
  }
  batch->version = after_step;
  PullSome(batch, batch->refreshed, batch->refreshed_answer, after_step);
}

void RowPuller::PullSome(const std::shared_ptr<PulledBatch>& batch, const RowPositions& positions,
                         PulledBatch::Answer& answer, Step after_step) {
  const std::vector<std::vector<FeatureId>>& unique_ids = batch->data->prepared.unique_ids;
  answer.ids.resize(unique_ids.size());
  for (size_t table = 0; table < unique_ids.size(); ++table) {
    for (const int32_t i : positions[table]) {
      answer.ids[table].push_back(unique_ids[table][static_cast<size_t>(i)]);
    }
  }
  Pull(batch, answer.ids, answer.rows, answer.statistics, after_step);
}

void RowPuller::Place(PulledBatch& batch, const RowPositions& positions,
                      PulledBatch::Answer& answer) const {
  for (size_t table = 0; table < answer.ids.size(); ++table) {
    const size_t dim = static_cast<size_t>(dims_[table]);
    for (size_t i = 0; i < answer.ids[table].size(); ++i) {
      const auto row = static_cast<size_t>(positions[table][i]);
      std::copy_n(answer.rows[table].data() + i * dim, dim, batch.rows[table].data() + row * dim);
      if (!statistics_[table]) continue;
      std::copy_n(answer.statistics[table].data() + 2 * i, 2,
                  batch.statistics[table].data() + 2 * row);
    }
  }
  answer.ids.clear();
}

void RowPuller::Pull(const std::shared_ptr<PulledBatch>& batch,
                     const std::vector<std::vector<FeatureId>>& ids,
                     std::vector<std::vector<float>>& rows,
                     std::vector<std::vector<uint32_t>>& statistics, Step after_step) {
  rows.resize(ids.size());
  statistics.resize(ids.size());
  std::vector<TablePull> pulls;
  for (size_t table = 0; table < ids.size(); ++table) {
    if (ids[table].empty()) continue;
    const size_t size = ids[table].size() * static_cast<size_t>(dims_[table]);
    if (rows[table].size() < size) rows[table].resize(size);  // Grows only: no refilling.
    if (statistics_[table]) statistics[table].resize(2 * ids[table].size());
    pulls.push_back({static_cast<int>(table), ids[table], rows[table].data(),
                     statistics_[table] ? statistics[table].data() : nullptr});
  }
  if (pulls.empty()) return;
  batch->calls.Started();
  client_->Pull(std::move(pulls), after_step,
                [batch](const absl::Status& status) { batch->calls.Finished(status); });
}

absl::Status RowPuller::Wait(PulledBatch& batch) {
  PAGODA_RETURN_IF_ERROR(batch.calls.Wait(0, *client_, wait_max_, "a pull of rows"));
  Place(batch, batch.pulled, batch.pulled_answer);
  Place(batch, batch.refreshed, batch.refreshed_answer);
  return absl::OkStatus();
}

bool RowPuller::Arrived(PulledBatch& batch) {
  if (!batch.calls.Idle()) return false;
  Place(batch, batch.pulled, batch.pulled_answer);
  return true;
}

void RowPuller::Release(PulledBatch& batch) {
  // Here, not where the last answer lets the batch go: that is a thread of the network,
  // and the device is this one's.
  batch.upload.reset();
  if (cache_ != nullptr) cache_->Unpin(batch.cached);
  batch.cached = CachedRows();
}

void RowPuller::Recycle(PulledBatch& batch) {
  spare_.push_back(std::move(batch.rows));
  batch.rows.clear();
}

}  // namespace pagoda
