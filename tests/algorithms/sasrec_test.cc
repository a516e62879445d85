#include "tests/algorithms/sequence_formula.h"

namespace pagoda {
namespace {

using Vector = Oracle::Vector;

Options SasRecOptions(const std::string& loss, const std::string& scope) {
  return {{"embedding_dim", int64_t{4}},       {"layers", int64_t{2}}, {"heads", int64_t{2}},
          {"feed_forward_hidden", int64_t{5}}, {"loss", loss},         {"negatives", int64_t{3}},
          {"negatives_scope", scope},          {"temperature", 0.8}};
}

// The rows of the history times sqrt(dim), plus positions that count from the end.
OracleRows States(const Oracle& o, size_t sample) {
  OracleRows rows = o.Events(sample, "history");
  const size_t dim = 4, last = 4;
  for (size_t t = 0; t < rows.size(); ++t) {
    const size_t position = last - rows.size() + t;
    for (size_t c = 0; c < dim; ++c) {
      rows[t][c] = 2.0 * rows[t][c] + o.Get("position.weight")[position * dim + c];
    }
  }
  return SasRecStates(o, "blocks", 2, 2, rows);
}

TEST_CASE("sasrec: loss and every gradient follow the formula") {
  for (const bool labelled : {true, false}) {
    FeatureSchema schema = SequenceSchema();
    if (!labelled) schema.label.clear();
    for (const std::string loss : {"bce", "softmax"}) {
      for (const std::string scope : {"position", "sample", "batch"}) {
        const ModelHarness harness("sasrec", SasRecOptions(loss, scope), schema);
        for (const int64_t size : {5, 1, 0}) {
          CAPTURE(labelled, loss, scope, size);
          const Batch batch = SmallBatch(schema, size, 3);
          NextItemFormula formula;
          formula.loss = loss;
          formula.scope = scope;
          formula.count = 3;
          formula.temperature = 0.8;
          formula.drawn = harness.Prepare(batch).negatives[0].ids;
          CheckAgainstOracle(harness, batch,
                             [&](const Oracle& o) { return MeanNextItemLoss(o, formula, States); });
        }
      }
    }
  }
}

TEST_CASE("sasrec takes the log of the probability to be drawn off") {
  const FeatureSchema schema = SequenceSchema();
  Options options = SasRecOptions("softmax", "sample");
  options["log_q"] = true;
  const ModelHarness harness("sasrec", options, schema);
  const Batch batch = SmallBatch(schema, 5, 3);
  NextItemFormula formula;
  formula.scope = "sample";
  formula.count = 3;
  formula.temperature = 0.8;
  formula.log_q = -std::log(12.0);
  formula.drawn = harness.Prepare(batch).negatives[0].ids;
  CheckAgainstOracle(harness, batch,
                     [&](const Oracle& o) { return MeanNextItemLoss(o, formula, States); });
}

TEST_CASE("sasrec hands out the last state and the item's row, zeros without a history") {
  FeatureSchema schema = SequenceSchema();
  const ModelHarness harness("sasrec", SasRecOptions("bce", "position"), schema);
  REQUIRE(harness.model().retrieval());
  Batch batch = SmallBatch(schema, 6, 3);
  TestDevice device;
  const StepResult step = harness.Run(device, batch, {.training = false});
  REQUIRE(step.losses.empty());
  REQUIRE(step.embeddings.dim == 4);
  const Oracle oracle(harness, device, batch);
  int without = 0;
  for (size_t i = 0; i < 6; ++i) {
    const OracleRows states = States(oracle, i);
    const Vector user = states.empty() ? Vector(4) : states.back();
    without += states.empty() ? 1 : 0;
    for (size_t c = 0; c < 4; ++c) {
      REQUIRE(step.embeddings.user[4 * i + c] == Approx(user[c]).epsilon(1e-4).margin(1e-5));
      REQUIRE(step.embeddings.item[4 * i + c] == Approx(oracle.Row(i, "item")[c]).margin(1e-6));
    }
  }
  REQUIRE(without > 0);
}

TEST_CASE("sasrec: two workers' steps add up to one's, with dropout and drawn items") {
  const FeatureSchema schema = SequenceSchema();
  for (const std::string scope : {"position", "sample", "batch"}) {
    CAPTURE(scope);
    Options options = SasRecOptions("bce", scope);
    options["dropout"] = 0.3;
    CheckPartsAddUp(ModelHarness("sasrec", options, schema), SmallBatch(schema, 7, 3), 3);
  }
}

TEST_CASE("sasrec gives the same step on every device") {
  const FeatureSchema schema = SequenceSchema();
  Options options = SasRecOptions("softmax", "batch");
  options["dropout"] = 0.3;
  for (const std::string scope : {"batch", "sample", "position"}) {
    options["negatives_scope"] = scope;
    CheckEveryDevice(ModelHarness("sasrec", options, schema), SmallBatch(schema, 19, 3));
  }
}

TEST_CASE("sasrec refuses what does not fit, by name") {
  const auto refused = [](const std::string& key, const OptionValue& value,
                          const std::string& word) {
    const ModelInfo& info = **FindModel("sasrec");
    ModelOptions options(info.options);
    REQUIRE(options.Set(key, value).ok());
    Declaration declaration;
    RequireInvalid(info.create(options)->Declare(SequenceSchema(), declaration), word);
  };
  refused("history", std::string("histori"), "'histori'");
  refused("history", std::string("user"), "not a sequence");
  refused("history", std::string("categories"), "give them one `table`");
  refused("item", std::string("history"), "'item' names 'history'");
  refused("layers", int64_t{0}, "'layers' is 0");
  refused("heads", int64_t{3}, "divisor of the width 16");
  refused("feed_forward_hidden", int64_t{-1}, "'feed_forward_hidden' is -1");
  refused("dropout", 1.0, "'dropout' is 1");
  refused("loss", std::string("hinge"), "hinge");
  refused("negatives", int64_t{0}, "'negatives' is 0");
  refused("negatives_scope", std::string("world"), "world");
  refused("sampler", std::string("best"), "best");
  refused("temperature", 0.0, "'temperature' is 0");
  refused("num_items", int64_t{-1}, "'num_items' is -1");
  refused("log_q", true, "'bce'");
}

TEST_CASE("a sample with two items is refused") {
  const FeatureSchema schema = SequenceSchema();
  const ModelHarness harness("sasrec", SasRecOptions("bce", "batch"), schema);
  Batch batch = SmallBatch(schema, 1, 3);
  batch.sparse[1].ids = {1, 2};
  batch.sparse[1].offsets = {0, 2};
  TestDevice device;
  RequireInvalid(harness.TryRun(device, batch, {}).status(), "a sample has 2 items");
}

}  // namespace
}  // namespace pagoda
