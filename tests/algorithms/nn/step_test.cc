#include "algorithms/nn/step.h"

#include "algorithms/nn/layers.h"
#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"
#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

std::vector<float> Everything(const StepResult& step) {
  std::vector<float> all = step.dense_gradients;
  all.insert(all.end(), step.predictions.begin(), step.predictions.end());
  for (const std::vector<float>& rows : step.row_gradients) {
    all.insert(all.end(), rows.begin(), rows.end());
  }
  for (const LossValue& loss : step.losses) all.push_back(static_cast<float>(loss.sum));
  return all;
}

const Options kDeepFm = {{"embedding_dim", int64_t{16}},
                         {"hidden", std::vector<int64_t>{64, 32}},
                         {"dropout", 0.2},
                         {"l2", 0.01}};

TEST_CASE("a DeepFM step has the same bits on 1, 2 and 8 threads and on the fake device") {
  const ModelHarness harness("deepfm", kDeepFm, SmallSchema(true));
  // Several chunks of every kernel.
  const Batch batch = SmallBatch(harness.schema(), 1777, 1);
  RunEverywhere([&](TestDevice& device) { return Everything(harness.Run(device, batch)); });
}

// Row gradients of a batch, by table and id.
std::map<std::pair<size_t, FeatureId>, std::vector<double>> ById(const ModelHarness& harness,
                                                                 const Batch& batch,
                                                                 const StepResult& step) {
  std::map<std::pair<size_t, FeatureId>, std::vector<double>> gradients;
  const PreparedBatch prepared = harness.Prepare(batch);
  for (size_t t = 0; t < prepared.unique_ids.size(); ++t) {
    const int64_t dim = harness.declaration().tables[t].dim;
    const float* row = step.row_gradients[t].data();
    for (FeatureId id : prepared.unique_ids[t]) {
      gradients[{t, id}] = std::vector<double>(row, row + dim);
      row += dim;
    }
  }
  return gradients;
}

TEST_CASE("two halves with the global counts sum to the whole batch's gradient") {
  for (const char* model : {"deepfm", "dlrm", "dcnv2"}) {
    Options options = kDeepFm;
    const ModelHarness harness(model, options, SmallSchema(true));
    const Batch whole = SmallBatch(harness.schema(), 101, 1);
    // An empty worker takes part, too.
    const std::vector<int64_t> cuts = {0, 60, 60, 101};
    TestDevice device;
    const StepResult want = harness.Run(device, whole);
    StepSettings settings;
    for (const LossValue& loss : want.losses) settings.global_counts.push_back(loss.count);
    std::vector<double> dense(want.dense_gradients.size());
    std::map<std::pair<size_t, FeatureId>, std::vector<double>> rows;
    for (size_t w = 0; w + 1 < cuts.size(); ++w) {
      const Batch part = SubBatch(whole, harness.schema(), cuts[w], cuts[w + 1]);
      const StepResult got = harness.Run(device, part, settings);
      for (size_t i = 0; i < dense.size(); ++i) dense[i] += double{got.dense_gradients[i]};
      for (const auto& [key, row] : ById(harness, part, got)) {
        std::vector<double>& sum = rows[key];
        sum.resize(row.size());
        for (size_t c = 0; c < row.size(); ++c) sum[c] += row[c];
      }
    }
    CAPTURE(model);
    for (size_t i = 0; i < dense.size(); ++i) {
      REQUIRE(dense[i] == Approx(double{want.dense_gradients[i]}).epsilon(1e-5).margin(1e-5));
    }
    for (const auto& [key, row] : ById(harness, whole, want)) {
      for (size_t c = 0; c < row.size(); ++c) {
        REQUIRE(rows.at(key)[c] == Approx(row[c]).epsilon(1e-5).margin(1e-5));
      }
    }
  }
}

TEST_CASE("frozen tables and groups get no gradient, and the others the same as before") {
  const ModelHarness harness("dnn", {{"hidden", std::vector<int64_t>{4}}}, SmallSchema(true));
  const Batch batch = SmallBatch(harness.schema(), 7, 1);
  TestDevice device;
  const StepResult all = harness.Run(device, batch);
  const StepResult some = harness.Run(device, batch, {.frozen_tables = {false, true, false}});
  REQUIRE(SameBits(some.row_gradients[0], all.row_gradients[0]));
  REQUIRE(some.row_gradients[1] == std::vector<float>(all.row_gradients[1].size(), 0.0f));
  REQUIRE(all.row_gradients[1] != some.row_gradients[1]);
  REQUIRE(SameBits(some.dense_gradients, all.dense_gradients));
  const StepResult rows_only = harness.Run(device, batch, {.frozen_groups = {"default"}});
  REQUIRE(rows_only.dense_gradients == std::vector<float>(all.dense_gradients.size(), 0.0f));
  REQUIRE(SameBits(rows_only.row_gradients[0], all.row_gradients[0]));
  const StepResult none = harness.Run(device, batch, {.frozen_tables = {true, true, true}});
  REQUIRE(none.row_gradients[2] == std::vector<float>(all.row_gradients[2].size(), 0.0f));
}

// Two losses, one of the first rows only; a sequence; a parameter of its own group.
class SeamsModel : public Model {
 public:
  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    rows_ = nn::DeclareEmbeddings(declaration, schema, {0}, {.dim = 2});
    const int genres = schema.SparseIndex("genres");
    TableHandle table = declaration.AddTable({.name = "genres", .dim = 2});
    sequence_ =
        declaration.AddLookup({.features = {genres}, .tables = {table.index}, .sequence = true});
    scale_ = declaration.AddDense({.name = "scale", .shape = {2}, .group = "scales"});
    unused_ = nn::DeclareEmbeddings(declaration, schema, {2}, {.dim = 2});
    return absl::OkStatus();
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    const Var user = nn::Flatten(input.Lookup(rows_));
    const ForwardInput::Sequence sequence = input.LookupSequence(sequence_);
    const Var pooled = nn::SegmentPool(sequence.values, *sequence.offsets, SegmentPooling::kMean);
    const Var score = nn::DotRows(user, nn::AddRowVector(pooled, input.Parameter(scale_)));
    const int64_t half = input.batch_size() / 2;
    ForwardOutput output;
    output.prediction = score;
    LossTerm all;
    all.name = "all";
    all.sum = nn::Sum(nn::Square(score));
    all.count = static_cast<double>(input.batch_size());
    LossTerm first;
    first.name = "first";
    first.sum = nn::Sum(nn::SliceRows(score, 0, half));
    first.count = static_cast<double>(half);
    first.weight = 3.0f;
    output.losses = {all, first};
    return output;
  }

 private:
  LookupHandle rows_, sequence_, unused_;
  DenseHandle scale_;
};

ModelInfo SeamsInfo() {
  ModelInfo info;
  info.name = "seams";
  info.create = [](const ModelOptions&) { return std::make_unique<SeamsModel>(); };
  return info;
}

TEST_CASE("sequences, several losses, sub-batches and groups follow their formulas") {
  const ModelHarness harness(SeamsInfo(), {}, SmallSchema(false));
  const Batch batch = SmallBatch(harness.schema(), 6, 1);
  CheckAgainstOracle(harness, batch, [](const Oracle& o) {
    double all = 0.0, first = 0.0;
    for (size_t i = 0; i < 6; ++i) {
      // SmallSchema pools genres by their mean, as the model does.
      Oracle::Vector item = o.Pooled(i, 3);
      for (size_t c = 0; c < 2; ++c) item[c] += o.Get("scale")[c];
      const double score = Dot(o.Pooled(i, 0), item);
      all += score * score;
      if (i < 3) first += score;
    }
    return all / 6.0 + 3.0 * first / 3.0;
  });
}

TEST_CASE("a loss without a global count gives no gradient, and unused tables read zero") {
  const ModelHarness harness(SeamsInfo(), {}, SmallSchema(false));
  const Batch batch = SmallBatch(harness.schema(), 6, 1);
  TestDevice device;
  const StepResult none = harness.Run(device, batch, {.global_counts = {0.0, -1.0}});
  for (const std::vector<float>& rows : none.row_gradients) {
    REQUIRE(rows == std::vector<float>(rows.size(), 0.0f));
  }
  const StepResult both = harness.Run(device, batch);
  REQUIRE(harness.declaration().tables[2].name == "item");
  REQUIRE(both.row_gradients[2] == std::vector<float>(both.row_gradients[2].size(), 0.0f));
  REQUIRE(both.row_gradients[0] != std::vector<float>(both.row_gradients[0].size(), 0.0f));
  const StepResult frozen = harness.Run(device, batch, {.frozen_groups = {"scales"}});
  REQUIRE(frozen.dense_gradients == std::vector<float>{0.0f, 0.0f});
}

// Returns what a step must refuse.
class BadModel : public Model {
 public:
  explicit BadModel(std::string fault) : fault_(std::move(fault)) {}
  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    rows_ = nn::DeclareEmbeddings(declaration, schema, {0}, {.dim = 2});
    return absl::OkStatus();
  }
  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    const Var rows = nn::Flatten(input.Lookup(rows_));
    ForwardOutput output;
    LossTerm loss;
    loss.name = "bad";
    loss.sum = fault_ == "loss shape" ? rows : nn::Sum(rows);
    if (fault_ == "invalid loss") loss.sum = Var();
    if (fault_ == "prediction") output.prediction = rows;
    if (fault_ == "operation") loss.sum = nn::Sum(nn::Add(rows, input.Labels()));
    if (fault_ == "status") return absl::FailedPreconditionError("planted");
    loss.count = 1.0;
    output.losses = {loss};
    return output;
  }

 private:
  std::string fault_;
  LookupHandle rows_;
};

TEST_CASE("what a model does wrong ends its step with an error that names it") {
  const auto status_of = [](const std::string& fault) {
    ModelInfo info;
    info.create = [=](const ModelOptions&) { return std::make_unique<BadModel>(fault); };
    const ModelHarness harness(info, {}, SmallSchema(false));
    TestDevice device;
    return harness.TryRun(device, SmallBatch(harness.schema(), 3, 1), {}).status();
  };
  REQUIRE(status_of("nothing").ok());
  RequireInvalid(status_of("loss shape"), "'bad'");
  RequireInvalid(status_of("invalid loss"), "'bad'");
  RequireInvalid(status_of("prediction"), "prediction");
  RequireInvalid(status_of("operation"), "Add");
  REQUIRE(status_of("status").message() == "planted");
}

TEST_CASE("a step refuses rows that are missing, and backward where it does not belong") {
  const ModelHarness harness("lr", {}, SmallSchema(false));
  const PreparedBatch prepared = harness.Prepare(SmallBatch(harness.schema(), 3, 1));
  TestDevice device;
  const auto parameters = harness.Parameters(device);
  StepInput input;
  input.batch = &prepared;
  const auto forward = [&] {
    return ModelStep::Forward(*device.ctx, harness.model(), harness.declaration(), *parameters,
                              input);
  };
  RequireInvalid(forward().status(), "rows of 0 tables");
  std::vector<float> rows(1000);
  input.rows = {rows.data(), nullptr, rows.data()};
  RequireInvalid(forward().status(), "table 'item'");
  input.rows[1] = rows.data();
  auto evaluation = forward();
  REQUIRE(evaluation.ok());
  REQUIRE((*evaluation)->Backward({1.0}).code() == absl::StatusCode::kFailedPrecondition);
  input.training = true;
  auto training = forward();
  REQUIRE(training.ok());
  RequireInvalid((*training)->Backward({1.0, 2.0}), "2 counts");
  REQUIRE((*training)->Backward({1.0}).ok());
  REQUIRE((*training)->Backward({1.0}).code() == absl::StatusCode::kFailedPrecondition);
  PreparedBatch other = prepared;
  other.lookups.clear();
  input.batch = &other;
  RequireInvalid(forward().status(), "another declaration");
}

TEST_CASE("dense gradients are added to what is there") {
  const ModelHarness harness("lr", {}, SmallSchema(true));
  const PreparedBatch prepared = harness.Prepare(SmallBatch(harness.schema(), 4, 1));
  TestDevice device;
  const auto parameters = harness.Parameters(device);
  std::vector<float> rows(1000, 0.1f);
  StepInput input;
  input.batch = &prepared;
  input.rows.assign(3, rows.data());
  input.training = true;
  std::vector<float> once;
  for (int pass = 1; pass <= 2; ++pass) {
    auto step =
        ModelStep::Forward(*device.ctx, harness.model(), harness.declaration(), *parameters, input);
    REQUIRE(step.ok());
    REQUIRE((*step)->Backward({4.0}).ok());
    const std::vector<float> gradients = device.Download(parameters->gradients());
    if (pass == 1) once = gradients;
    for (size_t i = 0; i < once.size(); ++i) {
      REQUIRE(gradients[i] == Approx(static_cast<float>(pass) * once[i]));
    }
  }
}

}  // namespace
}  // namespace pagoda
