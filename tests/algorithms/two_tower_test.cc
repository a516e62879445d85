#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

using Vector = Oracle::Vector;

const Options kOptions = {{"embedding_dim", int64_t{2}},
                          {"hidden", std::vector<int64_t>{3}},
                          {"activation", std::string("tanh")},
                          {"user_features", std::vector<std::string>{"user", "age"}},
                          {"item_features", std::vector<std::string>{"item", "genres"}},
                          {"output_dim", int64_t{3}},
                          {"temperature", 0.5}};

Vector Normalized(Vector x) {
  const double norm = std::sqrt(Dot(x, x) + 1e-12);
  for (double& value : x) value /= norm;
  return x;
}

// Sparse features: 0 user, 1 friends, 2 item, 3 genres; numeric: 0 age, 1 hours.
Vector UserVector(const Oracle& o, size_t i) {
  const Vector x = Join({o.Dense(i)[0]}, o.Pooled(i, 0));
  return Normalized(o.Linear("user.out", o.Mlp("user", 1, x)));
}

Vector ItemVector(const Oracle& o, size_t i) {
  const Vector x = Join(o.Pooled(i, 2), o.Pooled(i, 3));
  return Normalized(o.Linear("item.out", o.Mlp("item", 1, x)));
}

bool SameItem(const Batch& batch, size_t i, size_t j) {
  for (size_t f : {size_t{2}, size_t{3}}) {
    const RaggedIds& cells = batch.sparse[f];
    const auto ids = [&](size_t row) {
      return std::vector<FeatureId>(cells.ids.begin() + cells.offsets[row],
                                    cells.ids.begin() + cells.offsets[row + 1]);
    };
    if (ids(i) != ids(j)) return false;
  }
  return true;
}

// Yi et al. 2019, eq. 3 to 5, sample by sample.
double InBatchLoss(const Oracle& o, const std::string& log_q) {
  const Batch& batch = o.batch();
  const size_t n = static_cast<size_t>(batch.size);
  double sum = 0.0, count = 0.0;
  for (size_t i = 0; i < n; ++i) {
    const double weight = double{batch.weights[i]} * double{batch.labels[i]};
    count += weight;
    double total = 0.0, positive = 0.0;
    for (size_t j = 0; j < n; ++j) {
      double share = 0.0;
      for (size_t k = 0; k < n; ++k)
        share += SameItem(batch, j, k) ? 1.0 / static_cast<double>(n) : 0.0;
      const double score = Dot(UserVector(o, i), ItemVector(o, j)) / 0.5;
      const double logit = log_q == "batch" ? score - std::log(share) : score;
      if (i == j) positive = logit;
      if (i == j || !SameItem(batch, i, j)) total += std::exp(logit);
    }
    sum += weight * (std::log(total) - positive);
  }
  return count > 0.0 ? sum / count : 0.0;
}

// A batch in which items repeat: genres emptied, two item ids.
Batch RepeatingItems(const FeatureSchema& schema, int64_t size) {
  Batch batch = SmallBatch(schema, size, 4);
  for (FeatureId& id : batch.sparse[2].ids) id %= 2;
  batch.sparse[3].ids.clear();
  for (int32_t& offset : batch.sparse[3].offsets) offset = 0;
  return batch;
}

TEST_CASE("two_tower: loss and every gradient follow the formula") {
  const FeatureSchema schema = SmallSchema(true);
  // In a first step every item has been in every batch so far: no correction.
  for (const std::string log_q : {"batch", "none", "streaming"}) {
    Options options = kOptions;
    options["log_q"] = log_q;
    const ModelHarness harness("two_tower", options, schema);
    REQUIRE(harness.model().retrieval());
    for (int64_t size : {6, 1, 0}) {
      CAPTURE(log_q, size);
      CheckAgainstOracle(harness, SmallBatch(schema, size, 4),
                         [&](const Oracle& o) { return InBatchLoss(o, log_q); });
    }
    CheckAgainstOracle(harness, RepeatingItems(schema, 6),
                       [&](const Oracle& o) { return InBatchLoss(o, log_q); });
  }
}

TEST_CASE("two_tower hands out both sides' vectors, and no loss outside training") {
  const FeatureSchema schema = SmallSchema(true);
  const ModelHarness harness("two_tower", kOptions, schema);
  const Batch batch = SmallBatch(schema, 4, 4);
  TestDevice device;
  const StepResult step = harness.Run(device, batch, {.training = false});
  REQUIRE(step.losses.empty());
  REQUIRE(step.predictions.empty());
  REQUIRE(step.embeddings.dim == 3);
  const Oracle oracle(harness, device, batch);
  for (size_t i = 0; i < 4; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      REQUIRE(step.embeddings.user[3 * i + c] == Approx(UserVector(oracle, i)[c]).margin(1e-6));
      REQUIRE(step.embeddings.item[3 * i + c] == Approx(ItemVector(oracle, i)[c]).margin(1e-6));
    }
  }
}

TEST_CASE("two_tower without a label takes every sample for chosen") {
  FeatureSchema schema = SmallSchema(true);
  schema.label.clear();
  const ModelHarness harness("two_tower", kOptions, schema);
  Batch batch = SmallBatch(schema, 5, 4);
  batch.labels.assign(5, 0.0f);  // As a reader without a label column fills them.
  TestDevice device;
  const StepResult step = harness.Run(device, batch);
  double count = 0.0;
  for (float weight : batch.weights) count += double{weight};
  REQUIRE(step.losses[0].count == Approx(count));
  REQUIRE(step.losses[0].sum > 0.0);
}

// The loss of one step on `parameters`, whose state it moves when training.
double StepLoss(const ModelHarness& harness, TestDevice& device, ParameterSet& parameters,
                const Batch& batch, bool training) {
  const PreparedBatch prepared = harness.Prepare(batch);
  std::vector<std::vector<float>> rows(harness.declaration().tables.size());
  StepInput input;
  input.batch = &prepared;
  input.training = training;
  for (size_t t = 0; t < rows.size(); ++t) {
    for (FeatureId id : prepared.unique_ids[t]) {
      for (float v : harness.Row(static_cast<int>(t), id)) rows[t].push_back(v);
    }
    input.rows.push_back(rows[t].data());
  }
  auto step =
      ModelStep::Forward(*device.ctx, harness.model(), harness.declaration(), parameters, input);
  REQUIRE(step.ok());
  return training ? (*(*step)->Losses())[0].sum : 0.0;
}

TEST_CASE("two_tower's streaming estimate corrects by the steps between an item's batches") {
  const FeatureSchema schema = SmallSchema(true);
  const ModelHarness harness("two_tower", kOptions, schema);
  TestDevice device;
  const auto parameters = harness.Parameters(device);
  const Batch batch = RepeatingItems(schema, 6);
  Batch others = batch;  // Steps 2 to 9 hold one of the two items alone.
  for (FeatureId& id : others.sparse[2].ids) id = 0;
  const double first = StepLoss(harness, device, *parameters, batch, true);
  for (int i = 0; i < 8; ++i) StepLoss(harness, device, *parameters, others, true);
  // Evaluation counts nothing.
  for (int i = 0; i < 5; ++i) StepLoss(harness, device, *parameters, batch, false);
  const double last = StepLoss(harness, device, *parameters, batch, true);
  const auto with_correction = [&](double log_q_rare) {
    const Oracle o(harness, device, batch);
    double sum = 0.0;
    for (size_t i = 0; i < 6; ++i) {
      double total = 0.0, positive = 0.0;
      for (size_t j = 0; j < 6; ++j) {
        const double logit = Dot(UserVector(o, i), ItemVector(o, j)) / 0.5 -
                             (batch.sparse[2].ids[j] == 1 ? log_q_rare : 0.0);
        if (i == j) positive = logit;
        if (i == j || !SameItem(batch, i, j)) total += std::exp(logit);
      }
      sum += double{batch.weights[i]} * double{batch.labels[i]} * (std::log(total) - positive);
    }
    return sum;
  };
  REQUIRE(first == Approx(with_correction(0.0)).epsilon(1e-5));
  // The rarer item's interval is now (1 - 0.01) 1 + 0.01 * 9 = 1.08.
  REQUIRE(last == Approx(with_correction(-std::log(1.08))).epsilon(1e-5));
  REQUIRE(std::fabs(last - first) > 1e-3);
}

TEST_CASE("two_tower refuses options that do not fit the schema, by name") {
  const auto refused = [](const std::string& key, const OptionValue& value,
                          const std::string& word) {
    const ModelInfo& info = **FindModel("two_tower");
    ModelOptions options(info.options);
    for (const auto& [k, v] : kOptions) REQUIRE(options.Set(k, v).ok());
    REQUIRE(options.Set(key, value).ok());
    Declaration declaration;
    RequireInvalid(info.create(options)->Declare(SmallSchema(true), declaration), word);
  };
  refused("user_features", std::vector<std::string>{}, "'user_features'");
  refused("item_features", std::vector<std::string>{"itm"}, "'itm'");
  refused("item_features", std::vector<std::string>{"hours"}, "item_features");
  refused("temperature", 0.0, "temperature");
  refused("output_dim", int64_t{-1}, "output_dim");
  refused("log_q", std::string("stream"), "'log_q'");
  refused("log_q_buckets", int64_t{0}, "'log_q_buckets'");
  // Without a projection the towers' widths must agree: 3 and 3 do, 3 and 4 do not.
  Options wide = kOptions;
  wide["output_dim"] = int64_t{0};
  ModelHarness("two_tower", wide, SmallSchema(true));
  refused("embedding_dim", int64_t{0}, "embedding_dim");
  const ModelInfo& info = **FindModel("two_tower");
  ModelOptions options(info.options);
  for (const auto& [k, v] : wide) REQUIRE(options.Set(k, v).ok());
  REQUIRE(options.Set("hidden", std::vector<int64_t>{}).ok());
  Declaration declaration;
  RequireInvalid(info.create(options)->Declare(SmallSchema(true), declaration), "3 and 4 units");
}

}  // namespace
}  // namespace pagoda
