#include "algorithms/nn/step.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "algorithms/nn/ops.h"

namespace pagoda {
namespace {

// Columns of the rows of a group, as one leaf of the tape.
struct RowPart {
  RowColumns columns;
  Var leaf;

  int64_t width() const { return columns.end - columns.begin; }
};

// What a lookup has uploaded and returned so far.
struct LookupState {
  bool uploaded = false;
  EmbeddingBagIndex bag;  // Pooled.
  nn::RowGather gather;   // Sequence.
  Var count, age;         // RowCount, RowAge.
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
  NegativeRows Negatives(NegativesHandle handle) override;
  Var RowCount(LookupHandle handle) override {
    return StatisticOrFail(handle, &LookupState::count);
  }
  Var RowAge(LookupHandle handle) override { return StatisticOrFail(handle, &LookupState::age); }
  Var Dense() override;
  Var Parameter(DenseHandle handle) override;
  bool Updates(DenseHandle handle) const override {
    return input_.training && !parameters_.frozen(handle);
  }
  Var Labels() override {
    return HostLeaf(input_.batch->batch.labels, &StepUpload::labels, &labels_);
  }
  Var Weights() override {
    return HostLeaf(input_.batch->batch.weights, &StepUpload::weights, &weights_);
  }
  Var Target(int index) override;
  const PreparedBatch& host() const override { return *input_.batch; }
  RandomKey random() const override { return input_.random; }

  absl::StatusOr<std::vector<LossValue>> Losses() override;
  absl::StatusOr<std::vector<float>> Predictions() override;
  absl::StatusOr<std::vector<Output>> Outputs() override;
  absl::StatusOr<Embeddings> RetrievalEmbeddings() override;
  absl::Status Backward(const std::vector<double>& global_counts, OnFinalFn on_final) override;
  absl::Status RowGradients(const std::vector<float*>& host, CopyQueue* queue) override;
  std::vector<RowColumns> row_columns() const override;

 private:
  absl::Status CheckInput() const;
  absl::Status CheckOutput() const;
  absl::Status CheckNamedOutputs() const;
  bool IsFrozen(int table) const {
    return !input_.frozen_tables.empty() && input_.frozen_tables[static_cast<size_t>(table)];
  }
  const RowGroup& Group(int group) const {
    return input_.batch->row_groups[static_cast<size_t>(group)];
  }
  // The part's rows on the device, uploaded when first asked for.
  absl::StatusOr<const RowPart*> GetRows(const RowColumns& columns);
  absl::StatusOr<Tensor> UploadRows(const RowColumns& columns);
  absl::Status UploadIndex(size_t lookup, LookupState* state);
  // Adds what has to be copied to `host` for the table's gradient, or does it.
  absl::Status AddTableGradient(size_t table, float* host, std::vector<RowsCopy>* copies);
  absl::StatusOr<Var> MakeLookup(size_t lookup, int64_t begin, int64_t end);
  Var LookupOrFail(LookupHandle handle, bool sequence, int64_t begin, int64_t end);
  // One number for each of a lookup's rows, [num_rows, 1].
  std::vector<float> StatisticOfRows(size_t lookup, Var LookupState::*which) const;
  absl::StatusOr<Var> MakeStatistic(size_t lookup, Var LookupState::*which);
  Var StatisticOrFail(LookupHandle handle, Var LookupState::*which);
  // `ahead`: where it is when it was copied before the step.
  Var HostLeaf(const std::vector<float>& values, const Tensor& (StepUpload::*ahead)() const,
               Var* cache);
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
  Var dense_, labels_, weights_, targets_;
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
  const std::vector<bool> wanted = declaration_.TablesWithStatistics();
  for (size_t t = 0; t < num_tables; ++t) {
    if (batch.unique_ids[t].empty()) continue;
    const bool counted = t < input_.statistics.size() && input_.statistics[t] != nullptr;
    if (input_.rows[t] != nullptr && (counted || !wanted[t])) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("no ", input_.rows[t] == nullptr ? "rows" : "statistics",
                     " were given for table '", declaration_.tables[t].name, "'"));
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
  return CheckNamedOutputs();
}

absl::Status StepImpl::CheckNamedOutputs() const {
  std::set<std::string> names = {"score", "label", "weight", "group"};
  const Shape wanted = {batch_size()};
  for (const NamedOutput& output : output_.outputs) {
    const bool plain = std::all_of(output.name.begin(), output.name.end(), [](unsigned char c) {
      return absl::ascii_isalnum(c) || c == '_' || c == '.';
    });
    if (!plain || output.name.empty() || !names.insert(output.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("the model's output '", output.name,
                       "' is named twice, like a column of its own, or not by letters, digits, "
                       "'_' and '.' alone"));
    }
    if (output.value.valid() && output.value.shape() == wanted) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the model's output '", output.name, "' has shape ",
                     output.value.valid() ? ShapeString(output.value.shape()) : "(none)",
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

absl::StatusOr<Tensor> StepImpl::UploadRows(const RowColumns& columns) {
  Tensor tensor;
  if (input_.upload != nullptr) tensor = input_.upload->Rows(columns);
  if (tensor.absent()) {
    PAGODA_ASSIGN_OR_RETURN(
        tensor, ctx_.Empty({Group(columns.group).num_rows, columns.end - columns.begin}));
    PAGODA_ASSIGN_OR_RETURN(const std::vector<RowsCopy> copies,
                            CopiesOfRows(*input_.batch, input_.rows, columns, tensor));
    PAGODA_RETURN_IF_ERROR(ctx_.Copy(copies));
  }
  if (input_.complete_rows) PAGODA_RETURN_IF_ERROR(input_.complete_rows(columns, tensor));
  return tensor;
}

absl::StatusOr<const RowPart*> StepImpl::GetRows(const RowColumns& columns) {
  for (const auto& part : row_parts_) {
    if (part->columns == columns) return part.get();
  }
  PAGODA_ASSIGN_OR_RETURN(Tensor rows, UploadRows(columns));
  bool learns = false;
  for (int table : Group(columns.group).tables) learns = learns || !IsFrozen(table);
  auto part = std::make_unique<RowPart>();
  part->columns = columns;
  part->leaf = tape_.Leaf(std::move(rows), input_.training && learns);
  row_parts_.push_back(std::move(part));
  return row_parts_.back().get();
}

absl::Status StepImpl::UploadIndex(size_t lookup, LookupState* state) {
  if (state->uploaded) return absl::OkStatus();
  const LookupIndex& index = input_.batch->lookups[lookup];
  Tensor all;
  if (input_.upload != nullptr) {
    all = input_.upload->index(lookup);
  } else {
    PAGODA_ASSIGN_OR_RETURN(all, ctx_.Empty({IndexSize(index)}, DType::kI32));
    PAGODA_RETURN_IF_ERROR(ctx_.Copy(CopiesOfIndex(index, all)));
  }
  const DeviceIndex slices = SliceIndex(index, all);
  if (declaration_.lookups[lookup].sequence) {
    state->gather = {slices.inverse, slices.occurrence_offsets, slices.occurrence_segments};
  } else {
    EmbeddingBagIndex& bag = state->bag;
    bag.batch = batch_size();
    bag.num_features = index.num_features;
    bag.inverse = slices.inverse;
    bag.offsets = slices.offsets;
    bag.columns = slices.columns;
    bag.pooling = slices.pooling;
    bag.occurrence_offsets = slices.occurrence_offsets;
    bag.occurrence_segments = slices.occurrence_segments;
  }
  state->uploaded = true;
  return absl::OkStatus();
}

absl::StatusOr<Var> StepImpl::MakeLookup(size_t lookup, int64_t begin, int64_t end) {
  const LookupIndex& index = input_.batch->lookups[lookup];
  const bool sequence = declaration_.lookups[lookup].sequence;
  LookupState& state = lookups_[lookup];
  PAGODA_ASSIGN_OR_RETURN(const RowPart* part, GetRows({index.group, begin, end}));
  for (const auto& [made_of, result] : state.results) {
    if (made_of == part) return result;
  }
  PAGODA_RETURN_IF_ERROR(UploadIndex(lookup, &state));
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
  const LookupDecl& decl = declaration_.lookups[static_cast<size_t>(handle.index)];
  PAGODA_CHECK(decl.negatives < 0);
  const Batch& batch = input_.batch->batch;
  const int join = batch.sparse[static_cast<size_t>(decl.features[0])].join;
  return {LookupOrFail(handle, true, 0, Group(index.group).dim), &index.offsets,
          join < 0 ? nullptr : &batch.joins[static_cast<size_t>(join)].sample_row};
}

ForwardInput::NegativeRows StepImpl::Negatives(NegativesHandle handle) {
  const auto i = static_cast<size_t>(handle.index);
  PAGODA_CHECK(handle.index >= 0 && i < declaration_.negatives.size());
  const LookupHandle lookup = declaration_.LookupOf(handle);
  const DrawnNegatives& drawn = input_.batch->negatives[i];
  const LookupIndex& index = input_.batch->lookups[static_cast<size_t>(lookup.index)];
  return {LookupOrFail(lookup, true, 0, Group(index.group).dim), &drawn.ids, &drawn.log_q,
          declaration_.negatives[i].catalogue.get(), declaration_.negatives[i].key};
}

std::vector<float> StepImpl::StatisticOfRows(size_t lookup, Var LookupState::*which) const {
  const LookupIndex& index = input_.batch->lookups[lookup];
  std::vector<float> values(static_cast<size_t>(index.num_rows), 0.0f);
  for (const int table : declaration_.lookups[lookup].tables) {
    const auto t = static_cast<size_t>(table);
    const int64_t first = input_.batch->table_rows[t].first_row - index.first_row;
    for (size_t r = 0; r < input_.batch->unique_ids[t].size(); ++r) {
      const uint32_t updates = input_.statistics[t][2 * r];
      const Step last = input_.statistics[t][2 * r + 1];
      float& value = values[static_cast<size_t>(first) + r];
      if (which == &LookupState::count) {
        value = static_cast<float>(updates);
      } else {  // Another async worker's step may be later than this one's.
        value = updates == 0 ? -1.0f : static_cast<float>(std::max<Step>(0, input_.applied - last));
      }
    }
  }
  return values;
}

absl::StatusOr<Var> StepImpl::MakeStatistic(size_t lookup, Var LookupState::*which) {
  if (!declaration_.lookups[lookup].statistics) {
    return absl::FailedPreconditionError("it was declared without `statistics`");
  }
  LookupState& state = lookups_[lookup];
  Var& made = state.*which;
  if (made.valid()) return made;
  PAGODA_RETURN_IF_ERROR(UploadIndex(lookup, &state));
  const int64_t num_rows = input_.batch->lookups[lookup].num_rows;
  PAGODA_ASSIGN_OR_RETURN(Tensor values,
                          ctx_.Upload<float>(StatisticOfRows(lookup, which), {num_rows, 1}));
  const Var rows = tape_.Leaf(std::move(values), false);
  const nn::RowSpan span{0, num_rows};
  if (declaration_.lookups[lookup].sequence) {
    const Var gathered = nn::GatherRows(rows, span, state.gather);
    made = nn::Reshape(gathered, {state.gather.inverse.size()});
  } else {
    const Var pooled = nn::EmbeddingBag(rows, span, state.bag);
    made = nn::Reshape(pooled, {batch_size(), state.bag.num_features});
  }
  return made;
}

Var StepImpl::StatisticOrFail(LookupHandle handle, Var LookupState::*which) {
  const size_t i = static_cast<size_t>(handle.index);
  PAGODA_CHECK(handle.index >= 0 && i < lookups_.size());
  if (!tape_.status().ok()) return Var();
  absl::StatusOr<Var> result = MakeStatistic(i, which);
  if (result.ok()) return *result;
  tape_.Fail(WithContext(result.status(), absl::StrCat("lookup ", i)));
  return Var();
}

Var StepImpl::HostLeaf(const std::vector<float>& values, const Tensor& (StepUpload::*ahead)() const,
                       Var* cache) {
  if (cache->valid() || (values.empty() && batch_size() > 0)) return *cache;
  const bool is_there = input_.upload != nullptr && !(input_.upload->*ahead)().absent();
  absl::StatusOr<Tensor> tensor =
      is_there ? (input_.upload->*ahead)()
               : ctx_.Upload<float>(values, {static_cast<int64_t>(values.size())});
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
  Var flat = HostLeaf(input_.batch->batch.dense, &StepUpload::dense, &dense_);
  return flat.valid() ? nn::Reshape(flat, {batch_size(), num_dense}) : flat;
}

Var StepImpl::Target(int index) {
  const int64_t num_targets = input_.batch->num_targets;
  PAGODA_CHECK(index >= 0 && index < num_targets);
  Var flat = HostLeaf(input_.batch->batch.targets, &StepUpload::targets, &targets_);
  if (!flat.valid() || num_targets == 1) return flat;
  const Var all = nn::Reshape(flat, {batch_size(), num_targets});
  return nn::Reshape(nn::SliceColumns(all, index, index + 1), {batch_size()});
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

absl::StatusOr<std::vector<ModelStep::Output>> StepImpl::Outputs() {
  std::vector<Output> outputs;
  for (const NamedOutput& output : output_.outputs) {
    PAGODA_ASSIGN_OR_RETURN(std::vector<float> values, ToHost(output.value));
    outputs.push_back({output.name, std::move(values)});
  }
  return outputs;
}

absl::StatusOr<ModelStep::Embeddings> StepImpl::RetrievalEmbeddings() {
  Embeddings embeddings;
  PAGODA_ASSIGN_OR_RETURN(embeddings.user, ToHost(output_.user));
  PAGODA_ASSIGN_OR_RETURN(embeddings.item, ToHost(output_.item));
  if (output_.user.valid()) embeddings.dim = output_.user.shape()[1];
  return embeddings;
}

absl::Status StepImpl::Backward(const std::vector<double>& global_counts, OnFinalFn on_final) {
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
  if (on_final == nullptr) return tape_.Backward(seeds);
  return tape_.Backward(seeds, [&](const Var& leaf) -> absl::Status {
    for (size_t i = 0; i < dense_parameters_.size(); ++i) {
      if (dense_parameters_[i] == leaf) return on_final(DenseHandle{static_cast<int>(i)});
    }
    return absl::OkStatus();
  });
}

absl::Status StepImpl::AddTableGradient(size_t table, float* host, std::vector<RowsCopy>* copies) {
  const PreparedBatch& batch = *input_.batch;
  const int64_t dim = declaration_.tables[table].dim;
  const int64_t num_rows = static_cast<int64_t>(batch.unique_ids[table].size());
  const RowRange& range = batch.table_rows[table];
  std::vector<const RowPart*> parts;
  int64_t covered = 0;
  bool overlap = false;
  for (const auto& part : row_parts_) {
    if (part->columns.group != range.group || part->leaf.grad().absent()) continue;
    if (IsFrozen(static_cast<int>(table))) continue;
    for (const RowPart* other : parts) {
      overlap = overlap || (part->columns.begin < other->columns.end &&
                            other->columns.begin < part->columns.end);
    }
    parts.push_back(part.get());
    covered += part->width();
  }
  if (overlap || covered < dim) std::fill(host, host + num_rows * dim, 0.0f);
  if (num_rows == 0) return absl::OkStatus();
  for (const RowPart* part : parts) {
    const Tensor gradient = part->leaf.grad().Rows(range.first_row, range.first_row + num_rows);
    if (!overlap) {
      copies->push_back(RowsToHost(gradient, host + part->columns.begin, dim));
      continue;
    }
    PAGODA_ASSIGN_OR_RETURN(const std::vector<float> columns, ToHost(gradient));
    const float* from = columns.data();
    for (int64_t r = 0; r < num_rows; ++r) {
      for (int64_t c = part->columns.begin; c < part->columns.end; ++c)
        host[r * dim + c] += *from++;
    }
  }
  return absl::OkStatus();
}

absl::Status StepImpl::RowGradients(const std::vector<float*>& host, CopyQueue* queue) {
  PAGODA_CHECK(host.size() == declaration_.tables.size());
  std::vector<RowsCopy> copies;
  for (size_t t = 0; t < host.size(); ++t) {
    if (host[t] != nullptr) PAGODA_RETURN_IF_ERROR(AddTableGradient(t, host[t], &copies));
  }
  return queue == nullptr ? ctx_.Copy(copies) : queue->ToHost(copies);
}

std::vector<RowColumns> StepImpl::row_columns() const {
  std::vector<RowColumns> columns;
  for (const auto& part : row_parts_) columns.push_back(part->columns);
  return columns;
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
