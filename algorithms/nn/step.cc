#include "algorithms/nn/step.h"

#include <algorithm>

#include "algorithms/nn/ops.h"

namespace pagoda {
namespace {

int64_t Size(const std::vector<int32_t>& values) {
  return static_cast<int64_t>(values.size());
}

// Copies several i32 arrays to the device into one allocation.
class IndexUpload {
 public:
  static absl::StatusOr<IndexUpload> Create(Context& ctx, const LookupIndex& index) {
    IndexUpload upload(ctx);
    PAGODA_ASSIGN_OR_RETURN(
        upload.all_, ctx.Empty({Size(index.inverse) + Size(index.offsets) + Size(index.columns) +
                                Size(index.pooling) + Size(index.occurrence_offsets) +
                                Size(index.occurrence_segments)},
                               DType::kI32));
    return upload;
  }

  absl::StatusOr<Tensor> Add(const std::vector<int32_t>& values) {
    const Tensor part = all_.Flat(next_, {Size(values)});
    next_ += Size(values);
    if (!values.empty()) {
      PAGODA_RETURN_IF_ERROR(ctx_->CopyFromHost(
          values.data(), Size(values) * static_cast<int64_t>(sizeof(int32_t)), part));
    }
    return part;
  }

 private:
  explicit IndexUpload(Context& ctx) : ctx_(&ctx) {}
  Context* ctx_;
  Tensor all_;
  int64_t next_ = 0;
};

class StepImpl final : public ModelStep, public ForwardInput {
 public:
  StepImpl(Context& ctx, const Declaration& declaration, ParameterSet& parameters,
           const StepInput& input)
      : ctx_(ctx),
        declaration_(declaration),
        parameters_(parameters),
        input_(input),
        tape_(ctx),
        group_rows_(input.batch->row_groups.size()),
        lookups_(declaration.lookups.size()),
        dense_parameters_(declaration.dense.size()) {}

  absl::Status Run(const Model& model);

  Tape& tape() override { return tape_; }
  int64_t batch_size() const override { return input_.batch->batch.size; }
  bool training() const override { return input_.training; }
  Var Lookup(LookupHandle handle) override;
  Sequence LookupSequence(LookupHandle handle) override;
  Var Dense() override;
  Var Parameter(DenseHandle handle) override;
  bool Updates(DenseHandle handle) const override {
    return input_.training && !parameters_.frozen(handle);
  }
  Var Labels() override { return HostLeaf(input_.batch->batch.labels, &labels_); }
  Var Weights() override { return HostLeaf(input_.batch->batch.weights, &weights_); }
  const PreparedBatch& host() const override { return *input_.batch; }
  RandomKey random() const override { return input_.random; }

  absl::StatusOr<std::vector<LossValue>> Losses() override;
  absl::StatusOr<std::vector<float>> Predictions() override;
  absl::StatusOr<Embeddings> RetrievalEmbeddings() override;
  absl::Status Backward(const std::vector<double>& global_counts) override;
  absl::Status RowGradients(int table, float* host) override;

 private:
  absl::Status CheckInput() const;
  absl::Status CheckOutput() const;
  bool IsFrozen(int table) const {
    return !input_.frozen_tables.empty() && input_.frozen_tables[static_cast<size_t>(table)];
  }
  // The rows of a group on the device, uploaded when first asked for.
  absl::StatusOr<Var> GroupRows(int group);
  absl::StatusOr<Var> MakeLookup(const LookupIndex& index, bool sequence);
  Var CachedLookup(LookupHandle handle, bool sequence);
  Var HostLeaf(const std::vector<float>& values, Var* cache);
  absl::StatusOr<std::vector<float>> ToHost(const Var& var);

  Context& ctx_;
  const Declaration& declaration_;
  ParameterSet& parameters_;
  const StepInput input_;
  Tape tape_;
  std::vector<Var> group_rows_;        // Per row group.
  std::vector<Var> lookups_;           // Per lookup.
  std::vector<Var> dense_parameters_;  // Per DenseDecl.
  Var dense_, labels_, weights_;
  ForwardOutput output_;
};

absl::Status StepImpl::CheckInput() const {
  const PreparedBatch& batch = *input_.batch;
  const size_t num_tables = declaration_.tables.size();
  if (batch.lookups.size() != declaration_.lookups.size() ||
      batch.unique_ids.size() != num_tables) {
    return absl::InvalidArgumentError("the batch was prepared for another declaration");
  }
  if (input_.rows.size() != num_tables ||
      (!input_.frozen_tables.empty() && input_.frozen_tables.size() != num_tables)) {
    return absl::InvalidArgumentError(absl::StrCat("rows of ", input_.rows.size(),
                                                   " tables were given for a model of ", num_tables,
                                                   " tables"));
  }
  for (size_t t = 0; t < num_tables; ++t) {
    if (input_.rows[t] != nullptr || batch.unique_ids[t].empty()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("no rows were given for table '", declaration_.tables[t].name, "'"));
  }
  return absl::OkStatus();
}

absl::Status StepImpl::CheckOutput() const {
  for (const LossTerm& loss : output_.losses) {
    if (loss.sum.valid() && loss.sum.shape().empty()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the model's loss '", loss.name, "' is not a scalar"));
  }
  const Shape wanted = {batch_size()};
  if (output_.prediction.valid() && output_.prediction.shape() != wanted) {
    return absl::InvalidArgumentError(absl::StrCat("the model's prediction has shape ",
                                                   ShapeString(output_.prediction.shape()),
                                                   "; it must be ", ShapeString(wanted)));
  }
  return absl::OkStatus();
}

absl::Status StepImpl::Run(const Model& model) {
  PAGODA_RETURN_IF_ERROR(CheckInput());
  absl::StatusOr<ForwardOutput> output = model.Forward(*this);
  PAGODA_RETURN_IF_ERROR(tape_.status());
  if (!output.ok()) return output.status();
  output_ = std::move(*output);
  return CheckOutput();
}

absl::StatusOr<Var> StepImpl::GroupRows(int group) {
  Var& cached = group_rows_[static_cast<size_t>(group)];
  if (cached.valid()) return cached;
  const PreparedBatch& batch = *input_.batch;
  const RowGroup& rows = batch.row_groups[static_cast<size_t>(group)];
  PAGODA_ASSIGN_OR_RETURN(Tensor tensor, ctx_.Empty({rows.num_rows, rows.dim}));
  bool learns = false;
  for (int table : rows.tables) {
    const size_t t = static_cast<size_t>(table);
    learns = learns || !IsFrozen(table);
    const int64_t num_rows = static_cast<int64_t>(batch.unique_ids[t].size());
    if (num_rows == 0) continue;
    const int64_t first = batch.table_rows[t].first_row;
    PAGODA_RETURN_IF_ERROR(
        ctx_.CopyFromHost(input_.rows[t], num_rows * rows.dim * static_cast<int64_t>(sizeof(float)),
                          tensor.Rows(first, first + num_rows)));
  }
  cached = tape_.Leaf(std::move(tensor), input_.training && learns);
  return cached;
}

absl::StatusOr<Var> StepImpl::MakeLookup(const LookupIndex& index, bool sequence) {
  PAGODA_ASSIGN_OR_RETURN(const Var rows, GroupRows(index.group));
  PAGODA_ASSIGN_OR_RETURN(IndexUpload upload, IndexUpload::Create(ctx_, index));
  const nn::RowSpan span{index.first_row, index.num_rows};
  if (sequence) {
    nn::RowGather gather;
    PAGODA_ASSIGN_OR_RETURN(gather.inverse, upload.Add(index.inverse));
    PAGODA_ASSIGN_OR_RETURN(gather.occurrence_offsets, upload.Add(index.occurrence_offsets));
    PAGODA_ASSIGN_OR_RETURN(gather.occurrences, upload.Add(index.occurrence_segments));
    return nn::GatherRows(rows, span, gather);
  }
  EmbeddingBagIndex bag;
  bag.batch = batch_size();
  bag.num_features = index.num_features;
  PAGODA_ASSIGN_OR_RETURN(bag.inverse, upload.Add(index.inverse));
  PAGODA_ASSIGN_OR_RETURN(bag.offsets, upload.Add(index.offsets));
  PAGODA_ASSIGN_OR_RETURN(bag.columns, upload.Add(index.columns));
  PAGODA_ASSIGN_OR_RETURN(bag.pooling, upload.Add(index.pooling));
  PAGODA_ASSIGN_OR_RETURN(bag.occurrence_offsets, upload.Add(index.occurrence_offsets));
  PAGODA_ASSIGN_OR_RETURN(bag.occurrence_segments, upload.Add(index.occurrence_segments));
  return nn::EmbeddingBag(rows, span, bag);
}

Var StepImpl::CachedLookup(LookupHandle handle, bool sequence) {
  const size_t i = static_cast<size_t>(handle.index);
  PAGODA_CHECK(handle.index >= 0 && i < lookups_.size());
  PAGODA_CHECK(declaration_.lookups[i].sequence == sequence);
  if (lookups_[i].valid() || !tape_.status().ok()) return lookups_[i];
  absl::StatusOr<Var> made = MakeLookup(input_.batch->lookups[i], sequence);
  if (made.ok()) {
    lookups_[i] = *made;
  } else {
    tape_.Fail(WithContext(made.status(), absl::StrCat("lookup ", i)));
  }
  return lookups_[i];
}

Var StepImpl::Lookup(LookupHandle handle) {
  return CachedLookup(handle, false);
}

ForwardInput::Sequence StepImpl::LookupSequence(LookupHandle handle) {
  return {CachedLookup(handle, true),
          &input_.batch->lookups[static_cast<size_t>(handle.index)].offsets};
}

Var StepImpl::HostLeaf(const std::vector<float>& values, Var* cache) {
  if (cache->valid() || (values.empty() && batch_size() > 0)) return *cache;
  absl::StatusOr<Tensor> tensor = ctx_.Upload<float>(values, {static_cast<int64_t>(values.size())});
  if (!tensor.ok()) {
    tape_.Fail(tensor.status());
    return Var();
  }
  *cache = tape_.Leaf(*tensor, false);
  return *cache;
}

Var StepImpl::Dense() {
  const int64_t num_dense = input_.batch->num_dense;
  if (num_dense == 0) return Var();
  Var flat = HostLeaf(input_.batch->batch.dense, &dense_);
  return flat.valid() ? nn::Reshape(flat, {batch_size(), num_dense}) : flat;
}

Var StepImpl::Parameter(DenseHandle handle) {
  PAGODA_CHECK(handle.index >= 0 && handle.index < static_cast<int>(dense_parameters_.size()));
  Var& cached = dense_parameters_[static_cast<size_t>(handle.index)];
  if (cached.valid()) return cached;
  const bool needs_grad = input_.training && parameters_.learns(handle);
  cached = tape_.Leaf(parameters_.value(handle), needs_grad,
                      needs_grad ? parameters_.gradient(handle) : Tensor());
  return cached;
}

absl::StatusOr<std::vector<float>> StepImpl::ToHost(const Var& var) {
  if (!var.valid()) return std::vector<float>();
  std::vector<float> host(static_cast<size_t>(var.value().size()));
  if (host.empty()) return host;
  PAGODA_RETURN_IF_ERROR(
      ctx_.CopyToHost(var.value(), host.data(), static_cast<int64_t>(host.size() * sizeof(float))));
  return host;
}

absl::StatusOr<std::vector<LossValue>> StepImpl::Losses() {
  std::vector<LossValue> values;
  for (const LossTerm& loss : output_.losses) {
    PAGODA_ASSIGN_OR_RETURN(const std::vector<float> sum, ToHost(loss.sum));
    values.push_back({loss.name, sum[0], loss.count, loss.weight});
  }
  return values;
}

absl::StatusOr<std::vector<float>> StepImpl::Predictions() {
  return ToHost(output_.prediction);
}

absl::StatusOr<ModelStep::Embeddings> StepImpl::RetrievalEmbeddings() {
  Embeddings embeddings;
  PAGODA_ASSIGN_OR_RETURN(embeddings.user, ToHost(output_.user));
  PAGODA_ASSIGN_OR_RETURN(embeddings.item, ToHost(output_.item));
  if (output_.user.valid()) embeddings.dim = output_.user.shape()[1];
  return embeddings;
}

absl::Status StepImpl::Backward(const std::vector<double>& global_counts) {
  if (!input_.training) return absl::FailedPreconditionError("backward of a step without training");
  if (global_counts.size() != output_.losses.size()) {
    return absl::InvalidArgumentError(absl::StrCat(global_counts.size(), " counts were given for ",
                                                   output_.losses.size(), " losses"));
  }
  std::vector<Tape::Seed> seeds;
  for (size_t k = 0; k < global_counts.size(); ++k) {
    if (!(global_counts[k] > 0.0)) continue;
    const LossTerm& loss = output_.losses[k];
    seeds.push_back({loss.sum, static_cast<float>(loss.weight / global_counts[k])});
  }
  return tape_.Backward(seeds);
}

absl::Status StepImpl::RowGradients(int table, float* host) {
  const size_t t = static_cast<size_t>(table);
  PAGODA_CHECK(table >= 0 && t < declaration_.tables.size());
  const PreparedBatch& batch = *input_.batch;
  const int64_t num_rows = static_cast<int64_t>(batch.unique_ids[t].size());
  const int64_t size = num_rows * declaration_.tables[t].dim;
  if (size == 0) return absl::OkStatus();
  const Var& rows = group_rows_[static_cast<size_t>(batch.table_rows[t].group)];
  if (!rows.valid() || rows.grad().absent() || IsFrozen(table)) {
    std::fill(host, host + size, 0.0f);
    return absl::OkStatus();
  }
  const int64_t first = batch.table_rows[t].first_row;
  return ctx_.CopyToHost(rows.grad().Rows(first, first + num_rows), host,
                         size * static_cast<int64_t>(sizeof(float)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelStep>> ModelStep::Forward(Context& ctx, const Model& model,
                                                              const Declaration& declaration,
                                                              ParameterSet& parameters,
                                                              const StepInput& input) {
  PAGODA_CHECK(input.batch != nullptr);
  auto step = std::make_unique<StepImpl>(ctx, declaration, parameters, input);
  PAGODA_RETURN_IF_ERROR(step->Run(model));
  return std::unique_ptr<ModelStep>(std::move(step));
}

}  // namespace pagoda
