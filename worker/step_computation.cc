#include "worker/step_computation.h"

#include <cmath>
#include <utility>

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
  return computation;
}

absl::Status StepComputation::Forward(const PulledBatch& batch, Step step) {
  ScopedTimer timer(&times_->forward);
  PAGODA_RETURN_IF_ERROR(sync_.SaveState());
  PAGODA_RETURN_IF_ERROR(model_->parameters().ZeroGradients(model_->ctx()));
  input_ = StepInput();
  input_.batch = &batch.data->prepared;
  for (size_t table = 0; table < model_->tables().size(); ++table) {
    input_.rows.push_back(batch.rows[table].data());
    input_.frozen_tables.push_back(model_->frozen(table));
  }
  input_.training = true;
  input_.random = model_->StepKey(step);
  PAGODA_ASSIGN_OR_RETURN(step_,
                          ModelStep::Forward(model_->ctx(), model_->model(), model_->declaration(),
                                             model_->parameters(), input_));
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
  if (!own_finite) global.culprit = DescribeNonFiniteLoss(*model_, input_, *step_, losses);
  return global;
}

absl::Status StepComputation::Backward(RowGradients* rows) {
  ScopedTimer timer(&times_->backward);
  PAGODA_RETURN_IF_ERROR(step_->Backward(counts_));
  const size_t num_tables = model_->tables().size();
  rows->ids.resize(num_tables);
  rows->gradients.resize(num_tables);
  std::vector<float*> host(num_tables, nullptr);
  for (size_t table = 0; table < num_tables; ++table) {
    rows->ids[table].clear();
    if (model_->frozen(table)) continue;
    rows->ids[table] = input_.batch->unique_ids[table];
    const size_t size = rows->ids[table].size() * static_cast<size_t>(model_->dim(table));
    if (rows->gradients[table].size() < size) rows->gradients[table].resize(size);
    host[table] = rows->gradients[table].data();
  }
  return step_->RowGradients(host);
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
