#include "algorithms/lrea/absorbed.h"

#include "algorithms/nn/ops.h"
#include "tests/algorithms/model_harness.h"
#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

using lrea::Absorb;
using lrea::LowRankOptions;
using lrea::LowRankWeights;
using lrea::Projection;

constexpr uint64_t kVersion = 7;

// LowRankAttention alone: three candidates of the first two samples' sequences.
class AttentionModel : public Model {
 public:
  explicit AttentionModel(const LowRankOptions& options) : options_(options) {}
  absl::Status Declare(const FeatureSchema& schema, Declaration& declaration) override {
    const int item = schema.SparseIndex("item"), past = schema.SparseIndex("past");
    const TableHandle table = declaration.AddTable({.name = "item", .dim = 6});
    candidates_ = declaration.AddLookup({.features = {item}, .tables = {table.index}});
    events_ =
        declaration.AddLookup({.features = {past}, .tables = {table.index}, .sequence = true});
    attention_ = lrea::LowRankAttention::Declare(declaration, "lrea", options_);
    return absl::OkStatus();
  }
  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    const ForwardInput::Sequence events = input.LookupSequence(events_);
    const lrea::LowRankAttention::Result result =
        attention_.Apply(input, nn::Flatten(input.Lookup(candidates_)),
                         {events.values, *events.offsets, {0, 1, 0, 3}});
    ForwardOutput output;
    output.user = result.linear;
    output.item = result.linear;
    return output;
  }
  bool retrieval() const override { return true; }

 private:
  LowRankOptions options_;
  LookupHandle candidates_, events_;
  lrea::LowRankAttention attention_;
};

FeatureSchema ShopSchema(int64_t last) {
  FeatureSchema schema;
  schema.label = "click";
  FeatureSpec item;
  item.name = "item";
  item.kind = FeatureKind::kId;
  schema.features.push_back(item);
  schema.features.push_back(HistoryFeature("past", "item", last));
  return schema;
}

ModelInfo InfoOf(const LowRankOptions& options) {
  ModelInfo info;
  info.name = "attention";
  info.create = [options](const ModelOptions&) {
    return std::make_unique<AttentionModel>(options);
  };
  return info;
}

LowRankWeights WeightsOf(const ModelHarness& harness, const LowRankOptions& options,
                         TestDevice& device) {
  const std::unique_ptr<ParameterSet> parameters = harness.Parameters(device);
  auto weights = lrea::FindLowRankWeights(options, "lrea", [&](const std::string& name) {
    for (size_t i = 0; i < harness.declaration().dense.size(); ++i) {
      if (harness.declaration().dense[i].name != name) continue;
      return device.Download(parameters->value({static_cast<int>(i)}));
    }
    return std::vector<float>();
  });
  INFO(weights.status());
  REQUIRE(weights.ok());
  return *weights;
}

std::vector<float> RowsOf(const ModelHarness& harness, const std::vector<FeatureId>& ids) {
  std::vector<float> rows;
  for (const FeatureId id : ids) Append(&rows, harness.Row(0, id));
  return rows;
}

LowRankOptions OptionsOf(Projection projection, int64_t length) {
  return {.candidate_dim = 6,
          .event_dim = 6,
          .width = 5,
          .value_width = 4,
          .rank = 3,
          .length = length,
          .projection = projection};
}

TEST_CASE("The absorbed path gives the training path's attention, long and cut histories alike") {
  for (const Projection projection : {Projection::kFixed, Projection::kAdaptive}) {
    for (const int64_t length : {20, 5}) {
      const LowRankOptions options = OptionsOf(projection, length);
      const ModelHarness harness(InfoOf(options), {}, ShopSchema(17));
      Batch batch = SmallBatch(harness.schema(), 4, 11);
      TestDevice device;
      const StepResult step = harness.Run(device, batch, {.training = false});
      const LowRankWeights weights = WeightsOf(harness, options, device);
      const std::vector<size_t> sequence_of = {0, 1, 0, 3};
      for (size_t i = 0; i < 4; ++i) {
        const RaggedIds& past = batch.sparse[1];
        const size_t u = sequence_of[i];
        const std::vector<float> events = RowsOf(
            harness, {past.ids.begin() + past.offsets[u], past.ids.begin() + past.offsets[u + 1]});
        const auto record = Absorb(weights, events, kVersion);
        REQUIRE(record.ok());
        const std::vector<float> candidate =
            lrea::NormedCandidate(weights, harness.Row(0, batch.sparse[0].ids[i]));
        const auto attended = lrea::Attend(*record, kVersion, candidate);
        REQUIRE(attended.ok());
        double size = 0.0;
        for (const float value : attended->output) size = std::max(size, std::fabs(double{value}));
        CAPTURE(length, i, events.size(), size);
        REQUIRE((size > 0.0) == !events.empty());
        for (size_t c = 0; c < 4; ++c) {
          REQUIRE(std::fabs(double{attended->output[c]} -
                            double{step.embeddings.user[4 * i + c]}) <= 1e-5 * size);
        }
      }
    }
  }
}

TEST_CASE("A candidate costs rank (d_t + d_v) multiply-adds, however long the history") {
  const LowRankOptions options = OptionsOf(Projection::kFixed, 1000);
  const ModelHarness harness(InfoOf(options), {}, ShopSchema(17));
  TestDevice device;
  const LowRankWeights weights = WeightsOf(harness, options, device);
  for (const int64_t length : {0, 1, 10, 1000, 2000}) {
    const auto record = Absorb(weights, RandomFloats(3, length * 6), kVersion);
    REQUIRE(record.ok());
    REQUIRE(record->a.size() == 6 * 3);
    REQUIRE(record->m.size() == 3 * 4);
    const auto attended = lrea::Attend(*record, kVersion, RandomFloats(4, 6));
    REQUIRE(attended.ok());
    REQUIRE(attended->multiply_adds == 3 * (6 + 4));
  }
}

TEST_CASE("A stale record is refused, and so is what does not fit") {
  const LowRankOptions options = OptionsOf(Projection::kAdaptive, 10);
  const ModelHarness harness(InfoOf(options), {}, ShopSchema(17));
  TestDevice device;
  const LowRankWeights weights = WeightsOf(harness, options, device);
  const auto record = Absorb(weights, RandomFloats(3, 12), kVersion);
  REQUIRE(record.ok());
  const absl::Status stale = lrea::Attend(*record, kVersion + 1, RandomFloats(4, 6)).status();
  REQUIRE(stale.code() == absl::StatusCode::kFailedPrecondition);
  REQUIRE(stale.message() ==
          "the user's record is of model version 7, and the candidate is scored with version 8");
  RequireInvalid(lrea::Attend(*record, kVersion, RandomFloats(4, 5)).status(), "5 values");
  RequireInvalid(Absorb(weights, RandomFloats(3, 13), kVersion).status(), "13 values");
  const auto nothing = [](const std::string&) { return std::vector<float>(); };
  const absl::Status missing = lrea::FindLowRankWeights(options, "lrea", nothing).status();
  REQUIRE(missing.code() == absl::StatusCode::kNotFound);
  REQUIRE(missing.message() == "there is no parameter 'lrea.query.weight'");
  const auto short_ones = [](const std::string&) { return std::vector<float>(2); };
  RequireInvalid(lrea::FindLowRankWeights(options, "lrea", short_ones).status(),
                 "'lrea.query.weight' has 2 values, expected 30");
}

}  // namespace
}  // namespace pagoda
