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

// Columns [begin, end) of the rows of a group, as one leaf of the tape.
struct RowPart {
  int group = 0;
  int64_t begin = 0;
  int64_t end = 0;
  Var leaf;

  int64_t width() const { return end - begin; }
};

// What a lookup has uploaded and returned so far.
struct LookupState {
  bool uploaded = false;
  EmbeddingBagIndex bag;  // Pooled.
  nn::RowGather gather;   // Sequence.
  std::vector<std::pair<const RowPart*, Var>> results;
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
        lookups_(declaration.lookups.size()),
        dense_parameters_(declaration.dense.size()) {}

  absl::Status Run(const Model& model);

  Tape& tape() override { return tape_; }
  int64_t batch_size() const override { return input_.batch->batch.size; }
  bool training() const override { return input_.training; }
  Var Lookup(LookupHandle handle) override;
  Var LookupColumns(LookupHandle handle, int64_t begin, int64_t end) override;
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
  absl::Status RowGradients(const std::vector<float*>& host) override;

 private:
  absl::Status CheckInput() const;
  absl::Status CheckOutput() const;
  bool IsFrozen(int table) const {
    return !input_.frozen_tables.empty() && input_.frozen_tables[static_cast<size_t>(table)];
  }
  const RowGroup& Group(int group) const {
    return input_.batch->row_groups[static_cast<size_t>(group)];
  }
  // The part's rows on the device, uploaded when first asked for.
  absl::StatusOr<const RowPart*> GetRows(int group, int64_t begin, int64_t end);
  absl::StatusOr<Tensor> UploadRows(const RowPart& part);
  absl::Status UploadIndex(const LookupIndex& index, bool sequence, LookupState* state);
  // Adds what has to be copied to `host` for the table's gradient, or does it.
  absl::Status AddTableGradient(size_t table, float* host, std::vector<RowsToHost>* copies);
  absl::StatusOr<Var> MakeLookup(size_t lookup, int64_t begin, int64_t end);
  Var LookupOrFail(LookupHandle handle, bool sequence, int64_t begin, int64_t end);
  Var HostLeaf(const std::vector<float>& values, Var* cache);
  absl::StatusOr<std::vector<float>> ToHost(const Tensor& tensor);
  absl::StatusOr<std::vector<float>> ToHost(const Var& var) {
    return var.valid() ? ToHost(var.value()) : std::vector<float>();
  }

  Context& ctx_;
  const Declaration& declaration_;
  ParameterSet& parameters_;
  const StepInput input_;
  Tape tape_;
  std::vector<std::unique_ptr<RowPart>> row_parts_;
  std::vector<LookupState> lookups_;   // Per LookupDecl.
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

absl::StatusOr<Tensor> StepImpl::UploadRows(const RowPart& part) {
  const PreparedBatch& batch = *input_.batch;
  const RowGroup& group = Group(part.group);
  PAGODA_ASSIGN_OR_RETURN(Tensor tensor, ctx_.Empty({group.num_rows, part.width()}));
  std::vector<RowsFromHost> copies;
  for (int table : group.tables) {
    const size_t t = static_cast<size_t>(table);
    const int64_t num_rows = static_cast<int64_t>(batch.unique_ids[t].size());
    if (num_rows == 0) continue;
    const int64_t first = batch.table_rows[t].first_row;
    copies.push_back(
        {input_.rows[t] + part.begin, group.dim, tensor.Rows(first, first + num_rows)});
  }
  PAGODA_RETURN_IF_ERROR(ctx_.CopyRowsFromHost(copies));
  return tensor;
}

absl::StatusOr<const RowPart*> StepImpl::GetRows(int group, int64_t begin, int64_t end) {
  for (const auto& part : row_parts_) {
    if (part->group == group && part->begin == begin && part->end == end) return part.get();
  }
  if (begin < 0 || begin >= end || end > Group(group).dim) {
    return absl::InvalidArgumentError(absl::StrCat(
        "columns [", begin, ", ", end, ") do not lie within rows of dimension ", Group(group).dim));
  }
  auto part = std::make_unique<RowPart>();
  part->group = group;
  part->begin = begin;
  part->end = end;
  PAGODA_ASSIGN_OR_RETURN(Tensor rows, UploadRows(*part));
  bool learns = false;
  for (int table : Group(group).tables) learns = learns || !IsFrozen(table);
  part->leaf = tape_.Leaf(std::move(rows), input_.training && learns);
  row_parts_.push_back(std::move(part));
  return row_parts_.back().get();
}

absl::Status StepImpl::UploadIndex(const LookupIndex& index, bool sequence, LookupState* state) {
  if (state->uploaded) return absl::OkStatus();
  PAGODA_ASSIGN_OR_RETURN(IndexUpload upload, IndexUpload::Create(ctx_, index));
  if (sequence) {
    nn::RowGather& gather = state->gather;
    PAGODA_ASSIGN_OR_RETURN(gather.inverse, upload.Add(index.inverse));
    PAGODA_ASSIGN_OR_RETURN(gather.occurrence_offsets, upload.Add(index.occurrence_offsets));
    PAGODA_ASSIGN_OR_RETURN(gather.occurrences, upload.Add(index.occurrence_segments));
  } else {
    EmbeddingBagIndex& bag = state->bag;
    bag.batch = batch_size();
    bag.num_features = index.num_features;
    PAGODA_ASSIGN_OR_RETURN(bag.inverse, upload.Add(index.inverse));
    PAGODA_ASSIGN_OR_RETURN(bag.offsets, upload.Add(index.offsets));
    PAGODA_ASSIGN_OR_RETURN(bag.columns, upload.Add(index.columns));
    PAGODA_ASSIGN_OR_RETURN(bag.pooling, upload.Add(index.pooling));
    PAGODA_ASSIGN_OR_RETURN(bag.occurrence_offsets, upload.Add(index.occurrence_offsets));
    PAGODA_ASSIGN_OR_RETURN(bag.occurrence_segments, upload.Add(index.occurrence_segments));
  }
  state->uploaded = true;
  return absl::OkStatus();
}

absl::StatusOr<Var> StepImpl::MakeLookup(size_t lookup, int64_t begin, int64_t end) {
  const LookupIndex& index = input_.batch->lookups[lookup];
  const bool sequence = declaration_.lookups[lookup].sequence;
  LookupState& state = lookups_[lookup];
  PAGODA_ASSIGN_OR_RETURN(const RowPart* part, GetRows(index.group, begin, end));
  for (const auto& [made_of, result] : state.results) {
    if (made_of == part) return result;
  }
  PAGODA_RETURN_IF_ERROR(UploadIndex(index, sequence, &state));
  const nn::RowSpan span{index.first_row, index.num_rows};
  const Var result = sequence ? nn::GatherRows(part->leaf, span, state.gather)
                              : nn::EmbeddingBag(part->leaf, span, state.bag);
  state.results.emplace_back(part, result);
  return result;
}

Var StepImpl::LookupOrFail(LookupHandle handle, bool sequence, int64_t begin, int64_t end) {
  const size_t i = static_cast<size_t>(handle.index);
  PAGODA_CHECK(handle.index >= 0 && i < lookups_.size());
  PAGODA_CHECK(declaration_.lookups[i].sequence == sequence);
  if (!tape_.status().ok()) return Var();
  absl::StatusOr<Var> result = MakeLookup(i, begin, end);
  if (result.ok()) return *result;
  tape_.Fail(WithContext(result.status(), absl::StrCat("lookup ", i)));
  return Var();
}

Var StepImpl::Lookup(LookupHandle handle) {
  const LookupIndex& index = input_.batch->lookups[static_cast<size_t>(handle.index)];
  return LookupOrFail(handle, false, 0, Group(index.group).dim);
}

Var StepImpl::LookupColumns(LookupHandle handle, int64_t begin, int64_t end) {
  return LookupOrFail(handle, false, begin, end);
}

ForwardInput::Sequence StepImpl::LookupSequence(LookupHandle handle) {
  const LookupIndex& index = input_.batch->lookups[static_cast<size_t>(handle.index)];
  return {LookupOrFail(handle, true, 0, Group(index.group).dim), &index.offsets};
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

absl::StatusOr<std::vector<float>> StepImpl::ToHost(const Tensor& tensor) {
  std::vector<float> host(static_cast<size_t>(tensor.size()));
  if (host.empty()) return host;
  PAGODA_RETURN_IF_ERROR(
      ctx_.CopyToHost(tensor, host.data(), static_cast<int64_t>(host.size() * sizeof(float))));
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

absl::Status StepImpl::AddTableGradient(size_t table, float* host,
                                        std::vector<RowsToHost>* copies) {
  const PreparedBatch& batch = *input_.batch;
  const int64_t dim = declaration_.tables[table].dim;
  const int64_t num_rows = static_cast<int64_t>(batch.unique_ids[table].size());
  const RowRange& range = batch.table_rows[table];
  std::vector<const RowPart*> parts;
  int64_t covered = 0;
  bool overlap = false;
  for (const auto& part : row_parts_) {
    if (part->group != range.group || part->leaf.grad().absent()) continue;
    if (IsFrozen(static_cast<int>(table))) continue;
    for (const RowPart* other : parts) {
      overlap = overlap || (part->begin < other->end && other->begin < part->end);
    }
    parts.push_back(part.get());
    covered += part->width();
  }
  if (overlap || covered < dim) std::fill(host, host + num_rows * dim, 0.0f);
  if (num_rows == 0) return absl::OkStatus();
  for (const RowPart* part : parts) {
    const Tensor gradient = part->leaf.grad().Rows(range.first_row, range.first_row + num_rows);
    if (!overlap) {
      copies->push_back({gradient, host + part->begin, dim});
      continue;
    }
    PAGODA_ASSIGN_OR_RETURN(const std::vector<float> columns, ToHost(gradient));
    const float* from = columns.data();
    for (int64_t r = 0; r < num_rows; ++r) {
      for (int64_t c = part->begin; c < part->end; ++c) host[r * dim + c] += *from++;
    }
  }
  return absl::OkStatus();
}

absl::Status StepImpl::RowGradients(const std::vector<float*>& host) {
  PAGODA_CHECK(host.size() == declaration_.tables.size());
  std::vector<RowsToHost> copies;
  for (size_t t = 0; t < host.size(); ++t) {
    if (host[t] != nullptr) PAGODA_RETURN_IF_ERROR(AddTableGradient(t, host[t], &copies));
  }
  return ctx_.CopyRowsToHost(copies);
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
