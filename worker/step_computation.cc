#include "worker/step_computation.h"

#include <cmath>
#include <limits>
#include <utility>

#include "base/log.h"
#include "base/status_macros.h"
#include "worker/nonfinite.h"
#include "worker/stopwatch.h"

namespace pagoda {

absl::StatusOr<std::unique_ptr<StepComputation>> StepComputation::Create(ModelInstance* model,
                                                                         AllReduce* allreduce,
                                                                         StageTimes* times) {
  std::unique_ptr<StepComputation> computation(new StepComputation(model, allreduce, times));
  PAGODA_ASSIGN_OR_RETURN(
      computation->optimizer_,
      DenseOptimizer::Create(model->ctx(), model->parameters(), model->options().dense));
  if (model->ctx().on_gpu()) {
    PAGODA_ASSIGN_OR_RETURN(computation->in_, CopyQueue::Create(model->ctx()));
    PAGODA_ASSIGN_OR_RETURN(computation->out_, CopyQueue::Create(model->ctx()));
    PAGODA_RETURN_IF_ERROR(computation->MakeCache());
  }
  return computation;
}

absl::Status StepComputation::MakeCache() {
  const TrainerOptions& options = model_->options();
  if (options.device_cache_bytes == 0) return absl::OkStatus();
  std::vector<bool> can_cache;
  bool any = false;
  // Rows that come back with a push bring no statistics.
  const std::vector<bool> statistics = model_->declaration().TablesWithStatistics();
  for (size_t table = 0; table < model_->tables().size(); ++table) {
    can_cache.push_back(!statistics[table] &&
                        CanCache(model_->tables()[table], options.mode, allreduce_->num_workers()));
    any = any || can_cache.back();
  }
  if (!any) {
    PAGODA_LOG_WARNING("device_cache_mb has no use here: no table's rows can stay on the GPU");
    return absl::OkStatus();
  }
  PAGODA_ASSIGN_OR_RETURN(
      cache_, RowCache::Create(model_->ctx(), model_->declaration(), can_cache,
                               {options.device_cache_bytes, options.mode == "sync"
                                                                ? std::numeric_limits<Step>::max()
                                                                : options.device_cache_age_steps}));
  return absl::OkStatus();
}

void StepComputation::AskBack(RowGradients* rows) const {
  if (cache_ == nullptr) return;
  rows->returned.resize(rows->ids.size());
  rows->rows.resize(rows->ids.size());
  for (size_t table = 0; table < rows->ids.size(); ++table) {
    rows->returned[table] = cache_->Find(table, rows->ids[table]);
    const size_t size = rows->returned[table].size() * static_cast<size_t>(model_->dim(table));
    if (rows->rows[table].size() < size) rows->rows[table].resize(size);
  }
}

absl::Status StepComputation::TakeBack(const RowGradients& rows) {
  for (size_t table = 0; table < rows.returned.size(); ++table) {
    PAGODA_RETURN_IF_ERROR(cache_->Update(*in_, table, rows.ids[table], rows.returned[table],
                                          rows.rows[table].data(), rows.step));
  }
  return absl::OkStatus();
}

absl::Status StepComputation::ReadBackCached() {
  if (cache_ == nullptr) return absl::OkStatus();
  std::vector<float*> rows;
  for (std::vector<float>& table : batch_->rows) rows.push_back(table.data());
  return cache_->ReadBack(batch_->cached, rows);
}

std::vector<const float*> StepComputation::RowsOf(const PulledBatch& batch) const {
  std::vector<const float*> rows;
  for (size_t table = 0; table < model_->tables().size(); ++table) {
    rows.push_back(batch.rows[table].data());
  }
  return rows;
}

absl::Status StepComputation::CopyAhead(PulledBatch* next) {
  if (next == nullptr || in_ == nullptr || next->upload != nullptr || columns_.empty()) {
    return absl::OkStatus();
  }
  in_->BeginAhead(!sync_.under_way());
  auto upload = StepUpload::Start(*in_, next->data->prepared, RowsOf(*next), columns_,
                                  next->pulled.empty() ? nullptr : &next->pulled);
  in_->EndAhead();
  if (absl::IsResourceExhausted(upload.status())) return absl::OkStatus();
  PAGODA_RETURN_IF_ERROR(upload.status());
  next->upload = *std::move(upload);
  return absl::OkStatus();
}

absl::Status StepComputation::Forward(PulledBatch& batch, Step step) {
  ScopedTimer timer(&times_->forward);
  PAGODA_RETURN_IF_ERROR(sync_.SaveState());
  PAGODA_RETURN_IF_ERROR(model_->parameters().ZeroGradients(model_->ctx()));
  input_ = StepInput();
  input_.batch = &batch.data->prepared;
  input_.rows = RowsOf(batch);
  input_.statistics = batch.StatisticsOfTables();
  input_.applied = batch.version;
  for (size_t table = 0; table < model_->tables().size(); ++table) {
    input_.frozen_tables.push_back(model_->frozen(table));
  }
  batch_ = &batch;
  if (batch.upload != nullptr) ++copied_ahead_;
  if (cache_ != nullptr) PAGODA_RETURN_IF_ERROR(CopyAhead(&batch));  // If it was not yet.
  if (batch.upload != nullptr) {
    PAGODA_RETURN_IF_ERROR(batch.upload->Publish(model_->ctx(), *in_));
    if (!batch.refreshed.empty()) {
      PAGODA_RETURN_IF_ERROR(batch.upload->Refresh(model_->ctx(), *in_, batch.data->prepared,
                                                   input_.rows, batch.refreshed));
    }
    input_.upload = batch.upload.get();
  }
  if (cache_ != nullptr) {
    input_.complete_rows = [this, &batch](const RowColumns& columns, const Tensor& rows) {
      return cache_->Fill(*in_, batch.data->prepared, batch.cached, columns, rows);
    };
  }
  input_.training = true;
  input_.random = model_->StepKey(step);
  PAGODA_ASSIGN_OR_RETURN(step_,
                          ModelStep::Forward(model_->ctx(), model_->model(), model_->declaration(),
                                             model_->parameters(), input_));
  columns_ = step_->row_columns();
  return absl::OkStatus();
}

absl::StatusOr<GlobalLoss> StepComputation::SumLosses() {
  std::vector<LossValue> losses;
  {
    ScopedTimer timer(&times_->forward);  // A device's forward ends here.
    PAGODA_ASSIGN_OR_RETURN(losses, step_->Losses());
  }
  ScopedTimer timer(&times_->allreduce);
  std::vector<double> sums = {0.0, static_cast<double>(input_.batch->batch.size)};
  for (const LossValue& loss : losses) {
    if (!std::isfinite(loss.sum) || !std::isfinite(loss.count)) sums[0] = 1.0;
    sums.push_back(loss.sum);
    sums.push_back(loss.count);
  }
  const bool own_finite = sums[0] == 0.0;
  PAGODA_RETURN_IF_ERROR(allreduce_->Sum(std::span<double>(sums)));
  GlobalLoss global;
  global.finite = sums[0] == 0.0;
  global.samples = static_cast<int64_t>(sums[1]);
  counts_.clear();
  for (size_t k = 0; k < losses.size(); ++k) {
    const double sum = sums[2 + 2 * k], count = sums[3 + 2 * k];
    counts_.push_back(count);
    if (count > 0.0) global.value += losses[k].weight * sum / count;
  }
  if (!own_finite) PAGODA_RETURN_IF_ERROR(ReadBackCached());
  if (!own_finite) global.culprit = DescribeNonFiniteLoss(*model_, input_, *step_, losses);
  return global;
}

absl::Status StepComputation::Backward(RowGradients* rows) {
  ScopedTimer timer(&times_->backward);
  if (cache_ != nullptr) {
    PAGODA_RETURN_IF_ERROR(
        cache_->Admit(*in_, batch_->data->prepared, batch_->cached, input_.rows, batch_->version));
  }
  ModelStep::OnFinalFn on_final;
  if (sync_.overlaps()) {
    on_final = [this](DenseHandle handle) { return sync_.GradientFinal(handle); };
  }
  const size_t num_tables = model_->tables().size();
  rows->ids.resize(num_tables);
  rows->gradients.resize(num_tables);
  std::vector<float*> host(num_tables, nullptr);
  int64_t bytes = 0;
  for (size_t table = 0; table < num_tables; ++table) {
    rows->ids[table].clear();
    if (model_->frozen(table)) continue;
    rows->ids[table] = input_.batch->unique_ids[table];
    const size_t size = rows->ids[table].size() * static_cast<size_t>(model_->dim(table));
    if (rows->gradients[table].size() < size) rows->gradients[table].resize(size);
    host[table] = rows->gradients[table].data();
    bytes += static_cast<int64_t>(size * sizeof(float));
  }
  // Before a sum is under way: see DenseSync::under_way.
  if (out_ != nullptr) PAGODA_RETURN_IF_ERROR(out_->ReserveToHost(bytes));
  PAGODA_RETURN_IF_ERROR(step_->Backward(counts_, on_final));
  return step_->RowGradients(host, out_.get());
}

std::string StepComputation::FindRowCulprit(const RowGradients& rows) const {
  for (size_t table = 0; table < rows.ids.size(); ++table) {
    const auto dim = static_cast<size_t>(model_->dim(table));
    const std::span<const float> gradients(rows.gradients[table].data(),
                                           rows.ids[table].size() * dim);
    if (AllFinite(gradients)) continue;
    const int64_t bad = FirstNonFinite(gradients);
    return DescribeNonFiniteRow(*model_, *input_.batch, table, bad / static_cast<int64_t>(dim),
                                gradients[static_cast<size_t>(bad)]);
  }
  return "";
}

absl::StatusOr<bool> StepComputation::SumGradients(const RowGradients& rows, std::string* culprit) {
  if (out_ != nullptr) {
    ScopedTimer timer(&times_->backward);  // A device's backward ends here.
    PAGODA_RETURN_IF_ERROR(out_->Wait());
  }
  ScopedTimer timer(&times_->allreduce);
  *culprit = FindRowCulprit(rows);
  PAGODA_ASSIGN_OR_RETURN(const DenseSync::Outcome outcome,
                          sync_.Sum(input_.batch->batch.size, culprit->empty()));
  if (culprit->empty() && !outcome.culprit.empty()) {
    *culprit =
        absl::StrCat(outcome.culprit, ", in the samples of ", input_.batch->batch.OriginRange());
  }
  return outcome.finite;
}

absl::StatusOr<double> StepComputation::ApplyDense(double learning_rate_factor) {
  ScopedTimer timer(&times_->dense);
  step_.reset();
  return optimizer_->Step(model_->ctx(), model_->parameters(), learning_rate_factor);
}

absl::StatusOr<std::vector<std::vector<float>>> StepComputation::SlotValues() {
  std::vector<std::vector<float>> slots;
  for (const Tensor& slot : optimizer_->slots()) {
    std::vector<float>& values = slots.emplace_back(static_cast<size_t>(slot.size()));
    if (values.empty()) continue;
    PAGODA_RETURN_IF_ERROR(model_->ctx().CopyToHost(
        slot, values.data(), static_cast<int64_t>(values.size() * sizeof(float))));
  }
  return slots;
}

absl::Status StepComputation::SetSlotValues(const std::vector<std::vector<float>>& slots) {
  const std::vector<Tensor> tensors = optimizer_->slots();
  if (slots.size() != tensors.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the cut holds ", slots.size(),
                     " slots per dense parameter; this job's optimizer has ", tensors.size()));
  }
  for (size_t i = 0; i < slots.size(); ++i) {
    if (static_cast<int64_t>(slots[i].size()) != tensors[i].size()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the cut's dense slots hold ", slots[i].size(), " values, not ", tensors[i].size()));
    }
    if (slots[i].empty()) continue;
    PAGODA_RETURN_IF_ERROR(model_->ctx().CopyFromHost(
        slots[i].data(), static_cast<int64_t>(slots[i].size() * sizeof(float)), tensors[i]));
  }
  return absl::OkStatus();
}

absl::Status StepComputation::Undo() {
  step_.reset();
  return sync_.RestoreState();
}

}  // namespace pagoda
