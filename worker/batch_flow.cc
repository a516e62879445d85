#include "worker/batch_flow.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "worker/stopwatch.h"

namespace pagoda {

BatchFlow::BatchFlow(const ModelInstance& model, ParameterClient* client, StageTimes* times,
                     int num_workers, RowCache* cache)
    : model_(model),
      client_(client),
      times_(times),
      sync_(model.options().mode == "sync"),
      early_(sync_ && num_workers == 1 && model.options().pull_ahead > 0),
      puller_(client, model.declaration(), model.options().wait_max, cache) {}

BatchFlow::~BatchFlow() {
  for (const std::shared_ptr<PulledBatch>& batch : window_) puller_.Release(*batch);
}

absl::StatusOr<std::unique_ptr<BatchFlow>> BatchFlow::Start(const ReaderOptions& reader,
                                                            const ReaderPosition& start,
                                                            const ModelInstance& model,
                                                            ParameterClient* client,
                                                            StageTimes* times, RowCache* cache) {
  std::unique_ptr<BatchFlow> flow(new BatchFlow(model, client, times, reader.num_workers, cache));
  PrefetchOptions prefetch;
  prefetch.reader = reader;
  prefetch.start = start;
  prefetch.open_reader = model.options().open_reader;
  prefetch.declaration = &model.declaration();
  prefetch.batches_ahead = std::max<int64_t>(2, model.options().pull_ahead + 1);
  prefetch.find_repeats = flow->early_;
  for (const proto::TableSpec& table : model.tables()) {
    prefetch.repeat_all.push_back(table.optimizer().exact() && !table.frozen());
  }
  PAGODA_ASSIGN_OR_RETURN(flow->prefetcher_, Prefetcher::Start(prefetch));
  return flow;
}

void BatchFlow::StartPull(std::unique_ptr<PrefetchedBatch> batch, Step applied) {
  ScopedTimer timer(&times_->pull);
  window_.push_back(puller_.Start(std::move(batch), sync_ ? applied : 0, applied));
}

absl::StatusOr<const PrefetchedBatch*> BatchFlow::Peek(Step applied) {
  PAGODA_RETURN_IF_ERROR(failed_);
  if (window_.empty() && !ended_) {
    std::unique_ptr<PrefetchedBatch> batch;
    {
      ScopedTimer timer(&times_->wait_data);
      PAGODA_ASSIGN_OR_RETURN(batch, NextWhileHealthy(*prefetcher_, *client_));
    }
    ended_ = batch == nullptr;
    if (!ended_) StartPull(std::move(batch), applied);
  }
  return window_.empty() ? nullptr : window_.front()->data.get();
}

absl::StatusOr<std::shared_ptr<PulledBatch>> BatchFlow::Take(Step applied) {
  PAGODA_ASSIGN_OR_RETURN(const PrefetchedBatch* next, Peek(applied));
  if (next == nullptr) {
    auto empty = std::make_shared<PulledBatch>();
    empty->data = std::make_unique<PrefetchedBatch>();
    empty->rows.resize(model_.tables().size());
    PAGODA_ASSIGN_OR_RETURN(empty->data->prepared,
                            PrepareBatch(model_.options().schema, model_.declaration(),
                                         EmptyBatch(model_.options().schema)));
    return empty;
  }
  std::shared_ptr<PulledBatch> batch = std::move(window_.front());
  window_.pop_front();
  ScopedTimer timer(&times_->pull);
  if (absl::Status came = puller_.Wait(*batch); !came.ok()) {
    puller_.Release(*batch);
    return came;
  }
  return batch;
}

bool BatchFlow::TryAdvance(Step applied) {
  if (ended_ || !failed_.ok() || !prefetcher_->Ready()) return false;
  auto batch = prefetcher_->Next(absl::ZeroDuration());
  failed_ = batch.status();  // Shown by the next Peek: the batches before it still count.
  if (!failed_.ok()) return false;
  ended_ = *batch == nullptr;
  if (ended_) return false;
  StartPull(*std::move(batch), applied);
  return true;
}

void BatchFlow::PullAhead(Step applied) {
  if (early_ && window_.empty() && TryAdvance(applied)) window_.back()->early = true;
  const auto ahead = static_cast<size_t>(model_.options().pull_ahead);
  while (!sync_ && window_.size() < ahead && TryAdvance(applied)) {
  }
}

void BatchFlow::StepPushed(Step step) {
  if (!sync_) return;
  if (window_.empty()) {
    TryAdvance(step);
    return;
  }
  ScopedTimer timer(&times_->pull);
  if (window_.front()->early) puller_.Refresh(window_.front(), step);
  window_.front()->early = false;
}

PulledBatch* BatchFlow::Arrived() {
  if (window_.empty()) return nullptr;
  PulledBatch& next = *window_.front();
  return next.refreshed.empty() && puller_.Arrived(next) ? &next : nullptr;
}

void BatchFlow::AddPrefetchTimes() {
  times_->read += prefetcher_->read_seconds();
  times_->prepare += prefetcher_->prepare_seconds();
}

}  // namespace pagoda
