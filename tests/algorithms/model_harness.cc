#include "tests/algorithms/model_harness.h"

#include <algorithm>
#include <numeric>

#include "base/hash.h"

namespace pagoda {
namespace {

using Vector = Oracle::Vector;

FeatureSpec Feature(const std::string& name, FeatureKind kind, Pooling pooling) {
  FeatureSpec spec;
  spec.name = name;
  spec.kind = kind;
  spec.pooling = pooling;
  return spec;
}

std::string RowKey(const std::string& table, FeatureId id) {
  return absl::StrCat(table, "/", id);
}

// d loss / d values[name][k] by central differences in double: an error near 1e-9.
double Slope(Oracle& oracle, Vector& values, size_t k,
             const std::function<double(const Oracle&)>& loss) {
  constexpr double kH = 1e-5;
  const double at = values[k];
  values[k] = at + kH;
  const double high = loss(oracle);
  values[k] = at - kH;
  const double low = loss(oracle);
  values[k] = at;
  return (high - low) / (2.0 * kH);
}

// A gradient in these tests is a sum of fewer than a hundred terms below 2, each
// of a chain of fewer than ten roundings: 1000 * 2 * u = 1.2e-4 at the very worst,
// and far less on average.
constexpr double kMargin = 2e-5;

void CompareGradient(Oracle& oracle, const std::string& key, const float* gradient,
                     const std::function<double(const Oracle&)>& loss) {
  Vector& values = oracle.values.at(key);
  for (size_t k = 0; k < values.size(); ++k) {
    INFO(key << " element " << k);
    REQUIRE(double{gradient[k]} ==
            Approx(Slope(oracle, values, k, loss)).epsilon(1e-4).margin(kMargin));
  }
}

}  // namespace

FeatureSchema SmallSchema(bool numeric) {
  FeatureSchema schema;
  schema.label = "click";
  schema.features.push_back(Feature("user", FeatureKind::kCategorical, Pooling::kSum));
  if (numeric) schema.features.push_back(Feature("age", FeatureKind::kNumeric, Pooling::kSum));
  schema.features.push_back(Feature("friends", FeatureKind::kCategorical, Pooling::kSqrtN));
  schema.features.back().table = "user";
  schema.features.push_back(Feature("item", FeatureKind::kId, Pooling::kSum));
  if (numeric) schema.features.push_back(Feature("hours", FeatureKind::kNumeric, Pooling::kSum));
  schema.features.push_back(Feature("genres", FeatureKind::kCategorical, Pooling::kMean));
  return schema;
}

FeatureSpec HistoryFeature(const std::string& name, const std::string& table, int64_t last) {
  FeatureSpec spec = Feature(name, FeatureKind::kId, Pooling::kSum);
  spec.table = table;
  spec.separator = " ";
  spec.last = last;
  return spec;
}

Batch SmallBatch(const FeatureSchema& schema, int64_t size, uint64_t seed) {
  const RandomKey key{seed};
  uint64_t draw = 0;
  Batch batch;
  batch.size = size;
  batch.first_sample = 1000;
  for (int position : schema.SparseFeatures()) {
    const FeatureSpec& spec = schema.features[static_cast<size_t>(position)];
    const bool several = spec.name == "friends" || spec.name == "genres";
    const uint64_t num_ids = spec.num_buckets > 0 ? static_cast<uint64_t>(spec.num_buckets) : 12;
    const auto last = static_cast<uint64_t>(spec.last);
    RaggedIds values;
    for (int64_t i = 0; i < size; ++i) {
      uint64_t count = several ? RandomBelow(key, draw++, 4) : 1;
      if (spec.sequence()) {
        count = RandomBelow(key.Derive(last), static_cast<uint64_t>(i), last + 1);
      }
      for (uint64_t j = 0; j < count; ++j) values.ids.push_back(RandomBelow(key, draw++, num_ids));
      values.offsets.push_back(static_cast<int32_t>(values.ids.size()));
    }
    batch.sparse.push_back(std::move(values));
  }
  batch.dense = RandomFloats(seed + 1, size * static_cast<int64_t>(schema.DenseFeatures().size()));
  for (int64_t i = 0; i < size; ++i) {
    batch.labels.push_back(RandomUniform(key, draw++) < 0.5f ? 0.0f : 1.0f);
    batch.weights.push_back(0.1f + 1.9f * RandomUniform(key, draw++));
  }
  for (size_t i = 0; i < static_cast<size_t>(size) * schema.targets.size(); ++i) {
    batch.targets.push_back(RandomUniform(key, draw++) < 0.5f ? 0.0f : 1.0f);
  }
  return batch;
}

Batch SubBatch(const Batch& batch, const FeatureSchema& schema, int64_t begin, int64_t end) {
  const auto first = static_cast<size_t>(begin), last = static_cast<size_t>(end);
  const size_t num_dense = schema.DenseFeatures().size();
  Batch part;
  part.size = end - begin;
  part.first_sample = batch.first_sample + static_cast<uint64_t>(begin);
  for (const RaggedIds& values : batch.sparse) {
    RaggedIds some;
    for (size_t i = first; i < last; ++i) {
      for (int32_t p = values.offsets[i]; p < values.offsets[i + 1]; ++p) {
        some.ids.push_back(values.ids[static_cast<size_t>(p)]);
      }
      some.offsets.push_back(static_cast<int32_t>(some.ids.size()));
    }
    part.sparse.push_back(std::move(some));
  }
  for (size_t i = first; i < last; ++i) {
    for (size_t j = 0; j < num_dense; ++j) part.dense.push_back(batch.dense[i * num_dense + j]);
    for (size_t j = 0; j < schema.targets.size() && !batch.targets.empty(); ++j) {
      part.targets.push_back(batch.targets[i * schema.targets.size() + j]);
    }
    part.labels.push_back(batch.labels[i]);
    part.weights.push_back(batch.weights[i]);
  }
  return part;
}

double StepResult::TotalLoss() const {
  double total = 0.0;
  for (const LossValue& loss : losses) {
    if (loss.count > 0.0) total += double{loss.weight} * loss.sum / loss.count;
  }
  return total;
}

ModelHarness::ModelHarness(const ModelInfo& info, const Options& options,
                           const FeatureSchema& schema)
    : schema_(schema) {
  ModelOptions model_options(info.options);
  for (const auto& [key, value] : options) {
    const absl::Status status = model_options.Set(key, value);
    INFO(status);
    REQUIRE(status.ok());
  }
  model_ = info.create(model_options);
  const absl::Status status = model_->Declare(schema_, declaration_);
  INFO(status);
  REQUIRE(status.ok());
  REQUIRE(CheckDeclaration(schema_, declaration_).ok());
  for (NegativesDecl& negatives : declaration_.negatives) {
    // What the trainer sets: the ids that SmallBatch draws, or those that the model asks for.
    std::vector<FeatureId> ids(negatives.num_items > 0 ? static_cast<size_t>(negatives.num_items)
                                                       : 12);
    std::iota(ids.begin(), ids.end(), negatives.num_items > 0 ? 1 : 0);
    auto catalogue = ItemCatalogue::Create(std::move(ids));
    REQUIRE(catalogue.ok());
    negatives.catalogue = std::make_shared<const ItemCatalogue>(*std::move(catalogue));
    negatives.key = RandomKey{41};
  }
}

ModelHarness::ModelHarness(const std::string& model, const Options& options,
                           const FeatureSchema& schema)
    : ModelHarness(**FindModel(model), options, schema) {}

PreparedBatch ModelHarness::Prepare(const Batch& batch) const {
  auto prepared = PrepareBatch(schema_, declaration_, batch);
  INFO(prepared.status());
  REQUIRE(prepared.ok());
  return *std::move(prepared);
}

std::vector<float> ModelHarness::Row(int table, FeatureId id) const {
  const TableDecl& decl = declaration_.tables[static_cast<size_t>(table)];
  return RandomFloats(HashBytes(RowKey(decl.name, id)), decl.dim);
}

std::array<uint32_t, 2> ModelHarness::Statistics(int table, FeatureId id) {
  const uint64_t bits = RandomBits(RandomKey{7}.Derive(static_cast<uint64_t>(table)), id);
  if (bits % 4 == 0) return {0, 0};
  return {static_cast<uint32_t>(1 + bits / 4 % 50),
          static_cast<uint32_t>(bits / 256 % (kApplied + 1))};
}

std::unique_ptr<ParameterSet> ModelHarness::Parameters(TestDevice& device) const {
  auto created = ParameterSet::Create(*device.ctx, declaration_.dense, 5);
  INFO(created.status());
  REQUIRE(created.ok());
  std::unique_ptr<ParameterSet> parameters = *std::move(created);
  const auto write = [&](const std::vector<float>& values, const Tensor& tensor) {
    REQUIRE(device.ctx->CopyFromHost(values.data(), tensor.size() * 4, tensor).ok());
  };
  const int64_t trainable = parameters->num_trainable();
  if (!initial_parameters_) {
    write(RandomFloats(17, trainable), parameters->values().Flat(0, {trainable}));
  }
  for (size_t i = 0; i < declaration_.dense.size(); ++i) {
    const auto filled = filled_.find(declaration_.dense[i].name);
    if (filled == filled_.end()) continue;
    const Tensor tensor = parameters->value({static_cast<int>(i)});
    write(std::vector<float>(static_cast<size_t>(tensor.size()), filled->second), tensor);
  }
  return parameters;
}

void ModelHarness::FillParameter(const std::string& name, float value) {
  const auto named = [&](const DenseDecl& decl) { return decl.name == name; };
  INFO(name);
  REQUIRE(std::any_of(declaration_.dense.begin(), declaration_.dense.end(), named));
  filled_[name] = value;
}

absl::StatusOr<std::unique_ptr<StepUpload>> ModelHarness::CopyAhead(TestDevice& device,
                                                                    CopyQueue& queue,
                                                                    const StepInput& input) const {
  std::vector<RowColumns> columns;
  {
    const std::unique_ptr<ParameterSet> parameters = Parameters(device);
    PAGODA_ASSIGN_OR_RETURN(
        auto before, ModelStep::Forward(*device.ctx, *model_, declaration_, *parameters, input));
    columns = before->row_columns();
  }
  const PreparedBatch& batch = *input.batch;
  std::vector<std::vector<float>> old(input.rows.size());
  std::vector<const float*> old_rows;
  std::vector<std::vector<int32_t>> changed(input.rows.size());
  for (size_t t = 0; t < old.size(); ++t) {
    const auto dim = static_cast<size_t>(declaration_.tables[t].dim);
    old[t].assign(input.rows[t], input.rows[t] + batch.unique_ids[t].size() * dim);
    for (size_t i = 0; i < batch.unique_ids[t].size(); i += 3) {
      changed[t].push_back(static_cast<int32_t>(i));
      for (size_t c = 0; c < dim; ++c) old[t][i * dim + c] = 17.0f;
    }
    old_rows.push_back(old[t].data());
  }
  PAGODA_ASSIGN_OR_RETURN(auto upload,
                          StepUpload::Start(queue, batch, old_rows, std::move(columns)));
  for (std::vector<float>& values : old) values.assign(values.size(), -17.0f);
  PAGODA_RETURN_IF_ERROR(upload->Publish(*device.ctx, queue));
  PAGODA_RETURN_IF_ERROR(upload->Refresh(*device.ctx, queue, batch, input.rows, changed));
  return upload;
}

absl::StatusOr<StepResult> ModelHarness::TryRun(TestDevice& device, const Batch& batch,
                                                const StepSettings& settings) const {
  const PreparedBatch prepared = Prepare(batch);
  std::vector<std::vector<float>> rows(declaration_.tables.size());
  StepInput input;
  input.batch = &prepared;
  input.training = settings.training;
  input.frozen_tables = settings.frozen_tables;
  input.random = settings.random;
  std::vector<std::vector<uint32_t>> statistics(rows.size());
  for (size_t t = 0; t < rows.size(); ++t) {
    for (FeatureId id : prepared.unique_ids[t]) {
      const std::vector<float> row = Row(static_cast<int>(t), id);
      rows[t].insert(rows[t].end(), row.begin(), row.end());
      const std::array<uint32_t, 2> numbers = Statistics(static_cast<int>(t), id);
      statistics[t].insert(statistics[t].end(), numbers.begin(), numbers.end());
    }
    input.rows.push_back(rows[t].data());
    input.statistics.push_back(statistics[t].data());
  }
  input.applied = kApplied;
  std::unique_ptr<CopyQueue> in, out;
  std::unique_ptr<StepUpload> upload;
  if (settings.copied_ahead) {
    PAGODA_ASSIGN_OR_RETURN(in, CopyQueue::Create(*device.ctx));
    PAGODA_ASSIGN_OR_RETURN(out, CopyQueue::Create(*device.ctx));
    PAGODA_ASSIGN_OR_RETURN(upload, CopyAhead(device, *in, input));
    input.upload = upload.get();
  }
  const std::unique_ptr<ParameterSet> parameters = Parameters(device);
  PAGODA_RETURN_IF_ERROR(parameters->Freeze(settings.frozen_groups));
  PAGODA_ASSIGN_OR_RETURN(
      auto step, ModelStep::Forward(*device.ctx, *model_, declaration_, *parameters, input));
  StepResult result;
  PAGODA_ASSIGN_OR_RETURN(result.losses, step->Losses());
  PAGODA_ASSIGN_OR_RETURN(result.predictions, step->Predictions());
  PAGODA_ASSIGN_OR_RETURN(result.embeddings, step->RetrievalEmbeddings());
  PAGODA_ASSIGN_OR_RETURN(const std::vector<ModelStep::Output> outputs, step->Outputs());
  for (const ModelStep::Output& output : outputs) result.outputs[output.name] = output.values;
  if (settings.training) {
    std::vector<double> counts = settings.global_counts;
    if (counts.empty()) {
      for (const LossValue& loss : result.losses) counts.push_back(loss.count);
    }
    PAGODA_RETURN_IF_ERROR(step->Backward(counts));
    std::vector<float*> host;
    for (size_t t = 0; t < rows.size(); ++t) {
      result.row_gradients.emplace_back(rows[t].size(), -1.0f);
      host.push_back(result.row_gradients[t].data());
    }
    PAGODA_RETURN_IF_ERROR(step->RowGradients(host, out.get()));
    if (out != nullptr) PAGODA_RETURN_IF_ERROR(out->Wait());
    result.dense_gradients = device.Download(parameters->gradients());
  }
  result.dense_values = device.Download(parameters->values());
  return result;
}

StepResult ModelHarness::Run(TestDevice& device, const Batch& batch,
                             const StepSettings& settings) const {
  auto result = TryRun(device, batch, settings);
  INFO(result.status());
  REQUIRE(result.ok());
  return *std::move(result);
}

Oracle::Oracle(const ModelHarness& harness, TestDevice& device, const Batch& batch)
    : batch_(batch), schema_(harness.schema()) {
  const Declaration& declaration = harness.declaration();
  const PreparedBatch prepared = harness.Prepare(batch);
  for (size_t t = 0; t < declaration.tables.size(); ++t) {
    dims_[declaration.tables[t].name] = static_cast<size_t>(declaration.tables[t].dim);
    for (FeatureId id : prepared.unique_ids[t]) {
      values[RowKey(declaration.tables[t].name, id)] =
          ToDouble(harness.Row(static_cast<int>(t), id));
    }
  }
  const std::unique_ptr<ParameterSet> parameters = harness.Parameters(device);
  for (size_t i = 0; i < declaration.dense.size(); ++i) {
    values[declaration.dense[i].name] =
        ToDouble(device.Download(parameters->value({static_cast<int>(i)})));
  }
}

const Vector& Oracle::Get(const std::string& name) const {
  const auto it = values.find(name);
  INFO(name);
  REQUIRE(it != values.end());
  return it->second;
}

Vector Oracle::Dense(size_t sample) const {
  const size_t num_dense = schema_.DenseFeatures().size();
  const auto begin = batch_.dense.begin() + static_cast<std::ptrdiff_t>(sample * num_dense);
  return Vector(begin, begin + static_cast<std::ptrdiff_t>(num_dense));
}

Vector Oracle::Pooled(size_t sample, size_t feature, const std::string& suffix) const {
  const FeatureSpec& spec =
      schema_.features[static_cast<size_t>(schema_.SparseFeatures()[feature])];
  const RaggedIds& cells = batch_.sparse[feature];
  const std::string table = spec.table_name() + suffix;
  Vector sum(dims_.at(table));
  double count = 0.0;
  for (int32_t p = cells.offsets[sample]; p < cells.offsets[sample + 1]; ++p, count += 1.0) {
    const Vector& row = Get(RowKey(table, cells.ids[static_cast<size_t>(p)]));
    for (size_t c = 0; c < row.size(); ++c) sum[c] += row[c];
  }
  if (count == 0.0) return sum;
  double scale = 1.0;
  if (spec.pooling == Pooling::kMean) scale = 1.0 / count;
  if (spec.pooling == Pooling::kSqrtN) scale = 1.0 / std::sqrt(count);
  for (double& value : sum) value *= scale;
  return sum;
}

double Oracle::Target(size_t sample, const std::string& name) const {
  const int index = schema_.TargetIndex(name);
  REQUIRE(index >= 0);
  return double{batch_.targets.at(sample * schema_.targets.size() + static_cast<size_t>(index))};
}

std::vector<FeatureId> Oracle::EventIds(size_t sample, const std::string& feature) const {
  const RaggedIds& cells = batch_.sparse.at(static_cast<size_t>(schema_.SparseIndex(feature)));
  return {cells.ids.begin() + cells.offsets[sample], cells.ids.begin() + cells.offsets[sample + 1]};
}

std::vector<Vector> Oracle::Events(size_t sample, const std::string& feature) const {
  const auto position = static_cast<size_t>(schema_.SparseIndex(feature));
  const int spec = schema_.SparseFeatures().at(position);
  const std::string& table = schema_.features[static_cast<size_t>(spec)].table_name();
  std::vector<Vector> rows;
  for (FeatureId id : EventIds(sample, feature)) rows.push_back(Get(RowKey(table, id)));
  return rows;
}

Vector Oracle::Row(size_t sample, const std::string& feature) const {
  return Pooled(sample, static_cast<size_t>(schema_.SparseIndex(feature)));
}

Vector Oracle::FlatInputs(size_t sample, size_t first_column) const {
  Vector x = Dense(sample);
  for (size_t f = 0; f < num_sparse(); ++f) {
    const Vector pooled = Pooled(sample, f);
    x.insert(x.end(), pooled.begin() + static_cast<std::ptrdiff_t>(first_column), pooled.end());
  }
  return x;
}

Vector Oracle::Linear(const std::string& name, const Vector& x) const {
  const Vector& weight = Get(name + ".weight");
  REQUIRE(weight.size() % x.size() == 0);
  const auto bias = values.find(name + ".bias");
  Vector y(weight.size() / x.size());
  for (size_t o = 0; o < y.size(); ++o) {
    y[o] = bias == values.end() ? 0.0 : bias->second[o];
    for (size_t i = 0; i < x.size(); ++i) y[o] += weight[o * x.size() + i] * x[i];
  }
  return y;
}

Vector Oracle::Mlp(const std::string& name, size_t num_layers, Vector x) const {
  for (size_t i = 0; i < num_layers; ++i) {
    x = Linear(absl::StrCat(name, ".", i), x);
    for (double& value : x) value = std::tanh(value);
  }
  return x;
}

double Oracle::LinearTerm(const std::string& name, size_t sample) const {
  const Vector dense = Dense(sample);
  return Get(name + ".bias")[0] + (dense.empty() ? 0.0 : Dot(Get(name + ".weight"), dense));
}

Vector Join(const Vector& a, const Vector& b) {
  Vector joined = a;
  joined.insert(joined.end(), b.begin(), b.end());
  return joined;
}

double Dot(const Vector& a, const Vector& b) {
  REQUIRE(a.size() == b.size());
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

Vector AddScaled(const Vector& a, const Vector& b, double scale) {
  REQUIRE(a.size() == b.size());
  Vector sum = a;
  for (size_t i = 0; i < a.size(); ++i) sum[i] += scale * b[i];
  return sum;
}

Vector Attend(const Vector& q, const std::vector<Vector>& keys, const std::vector<Vector>& values,
              size_t heads, std::vector<Vector>* weights) {
  REQUIRE(keys.size() == values.size());
  if (weights != nullptr) weights->assign(heads, Vector(keys.size()));
  const size_t dq = q.size() / heads, dv = values.empty() ? 0 : values[0].size() / heads;
  Vector out(values.empty() ? q.size() : values[0].size());
  for (size_t h = 0; h < heads && !keys.empty(); ++h) {
    Vector share(keys.size());
    double total = 0.0;
    for (size_t j = 0; j < keys.size(); ++j) {
      double score = 0.0;
      for (size_t c = h * dq; c < (h + 1) * dq; ++c) score += q[c] * keys[j][c];
      total += share[j] = std::exp(score / std::sqrt(static_cast<double>(dq)));
    }
    for (size_t j = 0; j < keys.size(); ++j) {
      share[j] /= total;
      for (size_t c = h * dv; c < (h + 1) * dv; ++c) out[c] += share[j] * values[j][c];
    }
    if (weights != nullptr) (*weights)[h] = share;
  }
  return out;
}

Vector MultiHead(const Oracle& oracle, const std::string& name, const Vector& query,
                 const std::vector<Vector>& events, size_t heads, std::vector<Vector>* weights) {
  std::vector<Vector> keys, values;
  for (const Vector& event : events) {
    keys.push_back(oracle.Linear(name + ".key", event));
    values.push_back(oracle.Linear(name + ".value", event));
  }
  const Vector q = oracle.Linear(name + ".query", query);
  const Vector out = oracle.Linear(name + ".output", Attend(q, keys, values, heads, weights));
  return events.empty() ? Vector(out.size()) : out;
}

double LogLossOf(double logit, double label) {
  return std::max(logit, 0.0) - logit * label + std::log1p(std::exp(-std::fabs(logit)));
}

double MeanLogLoss(const Oracle& oracle, const std::function<double(size_t)>& logit) {
  double sum = 0.0;
  double count = 0.0;
  for (size_t i = 0; i < oracle.batch().labels.size(); ++i) {
    const double weight = double{oracle.batch().weights[i]};
    sum += weight * LogLossOf(logit(i), double{oracle.batch().labels[i]});
    count += weight;
  }
  return count > 0.0 ? sum / count : 0.0;
}

void CheckAgainstOracle(const ModelHarness& harness, const Batch& batch,
                        const std::function<double(const Oracle&)>& loss) {
  TestDevice device;
  const StepResult step = harness.Run(device, batch);
  Oracle oracle(harness, device, batch);
  REQUIRE(step.TotalLoss() == Approx(loss(oracle)).epsilon(1e-5).margin(1e-6));
  const Declaration& declaration = harness.declaration();
  const PreparedBatch prepared = harness.Prepare(batch);
  for (size_t t = 0; t < declaration.tables.size(); ++t) {
    const float* gradient = step.row_gradients[t].data();
    for (FeatureId id : prepared.unique_ids[t]) {
      CompareGradient(oracle, RowKey(declaration.tables[t].name, id), gradient, loss);
      gradient += declaration.tables[t].dim;
    }
  }
  const std::unique_ptr<ParameterSet> parameters = harness.Parameters(device);
  for (size_t i = 0; i < declaration.dense.size(); ++i) {
    if (!declaration.dense[i].trainable) continue;
    CompareGradient(oracle, declaration.dense[i].name,
                    step.dense_gradients.data() + parameters->offset({static_cast<int>(i)}), loss);
  }
}

void CheckLogitModel(const std::string& model, const Options& options, const LogitOracle& logit,
                     double l2) {
  for (bool numeric : {true, false}) {
    const ModelHarness harness(model, options, SmallSchema(numeric));
    for (int64_t size : {5, 1, 0}) {
      CAPTURE(model, numeric, size);
      const Batch batch = SmallBatch(harness.schema(), size, 3);
      CheckAgainstOracle(harness, batch, [&](const Oracle& oracle) {
        double loss = MeanLogLoss(oracle, [&](size_t i) { return logit(oracle, i); });
        double squares = 0.0;
        double count = 0.0;
        for (size_t i = 0; i < static_cast<size_t>(size); ++i) {
          count += double{batch.weights[i]};
          for (size_t f = 0; l2 > 0.0 && f < oracle.num_sparse(); ++f) {
            const Vector pooled = oracle.Pooled(i, f);
            squares += Dot(pooled, pooled);
          }
        }
        return size > 0 ? loss + 0.5 * l2 * squares / count : 0.0;
      });
      TestDevice device;
      const Oracle oracle(harness, device, batch);
      for (bool training : {true, false}) {
        const StepResult step = harness.Run(device, batch, {.training = training});
        REQUIRE(step.predictions.size() == static_cast<size_t>(size));
        for (size_t i = 0; i < step.predictions.size(); ++i) {
          const double want = 1.0 / (1.0 + std::exp(-logit(oracle, i)));
          REQUIRE(double{step.predictions[i]} == Approx(want).epsilon(1e-5).margin(1e-6));
        }
      }
    }
  }
}

}  // namespace pagoda
