#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

TEST_CASE("lr: prediction, loss and every gradient follow the formula") {
  CheckLogitModel(
      "lr", {{"l2", 0.3}},
      [](const Oracle& o, size_t i) {
        double z = o.LinearTerm("linear", i);
        for (size_t f = 0; f < o.num_sparse(); ++f) z += o.Pooled(i, f)[0];
        return z;
      },
      0.3);
}

TEST_CASE("lr works on numeric features alone, and starts from zero") {
  FeatureSchema schema;
  schema.label = "y";
  schema.features.resize(1);
  schema.features[0].name = "x";
  schema.features[0].kind = FeatureKind::kNumeric;
  const ModelHarness harness("lr", {}, schema);
  REQUIRE(harness.declaration().tables.empty());
  Batch batch;
  batch.size = 2;
  batch.dense = {1.0f, -2.0f};
  batch.labels = {1.0f, 0.0f};
  batch.weights = {1.0f, 1.0f};
  CheckAgainstOracle(harness, batch, [](const Oracle& o) {
    return MeanLogLoss(o, [&](size_t i) { return o.LinearTerm("linear", i); });
  });
  const ModelHarness sparse("lr", {}, SmallSchema(false));
  for (const TableDecl& table : sparse.declaration().tables) {
    REQUIRE(table.dim == 1);
    REQUIRE(table.init_stddev == 0.0f);
  }
}

}  // namespace
}  // namespace pagoda
