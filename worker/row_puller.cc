#include "worker/row_puller.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"

namespace pagoda {

std::shared_ptr<PulledBatch> RowPuller::Start(std::unique_ptr<PrefetchedBatch> data,
                                              Step after_step) {
  auto batch = std::make_shared<PulledBatch>();
  batch->data = std::move(data);
  if (!spare_.empty()) {
    batch->rows = std::move(spare_.back());
    spare_.pop_back();
  }
  Pull(batch, batch->data->prepared.unique_ids, batch->rows, after_step);
  return batch;
}

void RowPuller::Refresh(const std::shared_ptr<PulledBatch>& batch, Step after_step) {
  const std::vector<std::vector<FeatureId>>& unique_ids = batch->data->prepared.unique_ids;
  const std::vector<std::vector<int32_t>>& repeats = batch->data->repeats;
  batch->refreshed_ids.resize(unique_ids.size());
  for (size_t table = 0; table < unique_ids.size(); ++table) {
    for (const int32_t i : repeats[table]) {
      batch->refreshed_ids[table].push_back(unique_ids[table][static_cast<size_t>(i)]);
    }
  }
  Pull(batch, batch->refreshed_ids, batch->refreshed_rows, after_step);
}

void RowPuller::Pull(const std::shared_ptr<PulledBatch>& batch,
                     const std::vector<std::vector<FeatureId>>& ids,
                     std::vector<std::vector<float>>& rows, Step after_step) {
  rows.resize(ids.size());
  std::vector<TablePull> pulls;
  for (size_t table = 0; table < ids.size(); ++table) {
    if (ids[table].empty()) continue;
    const size_t size = ids[table].size() * static_cast<size_t>(dims_[table]);
    if (rows[table].size() < size) rows[table].resize(size);  // Grows only: no refilling.
    pulls.push_back({static_cast<int>(table), ids[table], rows[table].data()});
  }
  if (pulls.empty()) return;
  batch->calls.Started();
  client_->Pull(std::move(pulls), after_step,
                [batch](const absl::Status& status) { batch->calls.Finished(status); });
}

absl::Status RowPuller::Wait(PulledBatch& batch) {
  PAGODA_RETURN_IF_ERROR(batch.calls.Wait(0, *client_, wait_max_, "a pull of rows"));
  for (size_t table = 0; table < batch.refreshed_ids.size(); ++table) {
    const size_t dim = static_cast<size_t>(dims_[table]);
    for (size_t i = 0; i < batch.refreshed_ids[table].size(); ++i) {
      const auto row = static_cast<size_t>(batch.data->repeats[table][i]);
      std::copy_n(batch.refreshed_rows[table].data() + i * dim, dim,
                  batch.rows[table].data() + row * dim);
    }
  }
  batch.refreshed_ids.clear();
  return absl::OkStatus();
}

void RowPuller::Recycle(PulledBatch& batch) {
  spare_.push_back(std::move(batch.rows));
  batch.rows.clear();
}

}  // namespace pagoda
