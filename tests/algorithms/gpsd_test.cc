#include "tests/algorithms/sequence_formula.h"

namespace pagoda {
namespace {

using Vector = Oracle::Vector;

struct Sizes {
  int64_t dim = 4;
  int64_t width = 6;  // Of the Transformer.
  size_t heads = 3;
  int64_t categories = 3;
};

Options GpsdOptions(const Sizes& sizes, const std::string& task) {
  return {{"task", task},
          {"embedding_dim", sizes.dim},
          {"width", sizes.width},
          {"layers", int64_t{2}},
          {"heads", static_cast<int64_t>(sizes.heads)},
          {"feed_forward_hidden", int64_t{5}},
          {"num_categories", sizes.categories},
          {"negatives", int64_t{6}},
          {"temperature", 0.5}};
}

Vector TableRow(const Oracle& o, const std::string& name, size_t row, size_t dim) {
  const Vector& table = o.Get(name + ".weight");
  const auto begin = table.begin() + static_cast<std::ptrdiff_t>(row * dim);
  return Vector(begin, begin + static_cast<std::ptrdiff_t>(dim));
}

// z of the history's events and, behind them, the candidate.
OracleRows States(const Oracle& o, const Sizes& sizes, size_t sample, bool with_candidate) {
  OracleRows x = o.Events(sample, "history");
  std::vector<FeatureId> categories = o.EventIds(sample, "categories");
  if (with_candidate) {
    x.push_back(o.Row(sample, "item"));
    categories.push_back(o.EventIds(sample, "category")[0]);
  }
  const auto dim = static_cast<size_t>(sizes.dim);
  for (size_t t = 0; t < x.size(); ++t) {
    const bool candidate = with_candidate && t + 1 == x.size();
    x[t] = AddScaled(x[t], TableRow(o, "segment", candidate ? 1 : 0, dim));
    if (sizes.categories > 0) x[t] = AddScaled(x[t], TableRow(o, "category", categories[t], dim));
  }
  if (sizes.dim != sizes.width) x = LinearRows(o, "in", RmsNormRows(o, "in.norm", x));
  return GpsdStates(o, "blocks", 2, sizes.heads, x);
}

// g of the history's events.
OracleRows Generated(const Oracle& o, const Sizes& sizes, size_t sample, bool with_candidate) {
  const OracleRows z = States(o, sizes, sample, with_candidate);
  return sizes.dim == sizes.width ? z : RmsNormRows(o, "out.norm", LinearRows(o, "out", z));
}

double CategoryLoss(const Oracle& o, const Sizes& sizes) {
  double sum = 0.0, count = 0.0;
  for (size_t i = 0; i < static_cast<size_t>(o.batch().size); ++i) {
    const OracleRows g = Generated(o, sizes, i, false);
    std::vector<FeatureId> following = o.EventIds(i, "categories");
    if (o.batch().labels[i] > 0.0f) following.push_back(o.EventIds(i, "category")[0]);
    for (size_t t = 0; t < g.size() && t + 1 < following.size(); ++t) {
      double total = 0.0, positive = 0.0;
      for (size_t c = 0; c < static_cast<size_t>(sizes.categories); ++c) {
        const Vector row = TableRow(o, "category", c, static_cast<size_t>(sizes.dim));
        const double score = Dot(UnitLength(g[t]), UnitLength(row)) / 0.5;
        total += std::exp(score);
        if (c == following[t + 1]) positive = score;
      }
      sum += double{o.batch().weights[i]} * (std::log(total) - positive);
      count += double{o.batch().weights[i]};
    }
  }
  return count > 0.0 ? sum / count : 0.0;
}

NextItemFormula Formula(const ModelHarness& harness, const Batch& batch, const std::string& scope) {
  NextItemFormula formula;
  formula.cosine = true;
  formula.scope = scope;
  formula.count = 6;
  formula.temperature = 0.5;
  formula.drawn = harness.Prepare(batch).negatives[0].ids;
  return formula;
}

double Logit(const Oracle& o, const Sizes& sizes, size_t sample, bool mlp) {
  Vector z = States(o, sizes, sample, true).back();
  if (mlp) {
    z = o.Linear("head.hidden", z);
    for (double& v : z) v = std::max(v, 0.0);
  }
  return o.Linear("head.logit", z)[0];
}

const Sizes kNarrow;                           // Projections in and out.
const Sizes kSame = {.width = 4, .heads = 2};  // None.
const Sizes kPlain = {.categories = 0};

TEST_CASE("gpsd generates: loss and every gradient follow the formula") {
  const FeatureSchema schema = SequenceSchema();
  for (const Sizes& sizes : {kNarrow, kSame, kPlain}) {
    for (const std::string scope : {"batch", "sample", "position"}) {
      Options options = GpsdOptions(sizes, "generate");
      options["negatives_scope"] = scope;
      const ModelHarness harness("gpsd", options, schema);
      REQUIRE(harness.model().retrieval());
      for (const int64_t size : {5, 1, 0}) {
        CAPTURE(sizes.width, sizes.categories, scope, size);
        const Batch batch = SmallBatch(schema, size, 3);
        const NextItemFormula formula = Formula(harness, batch, scope);
        CheckAgainstOracle(harness, batch, [&](const Oracle& o) {
          const StatesOf states = [&](const Oracle& oracle, size_t i) {
            return Generated(oracle, sizes, i, false);
          };
          return MeanNextItemLoss(o, formula, states) +
                 (sizes.categories > 0 ? CategoryLoss(o, sizes) : 0.0);
        });
      }
    }
  }
}

TEST_CASE("gpsd ranks: loss, predictions and every gradient follow the formula") {
  const FeatureSchema schema = SequenceSchema();
  for (const Sizes& sizes : {kNarrow, kSame, kPlain}) {
    for (const bool mlp : {true, false}) {
      Options options = GpsdOptions(sizes, "rank");
      options["head"] = std::string(mlp ? "mlp" : "linear");
      const ModelHarness harness("gpsd", options, schema);
      REQUIRE_FALSE(harness.model().retrieval());
      for (const int64_t size : {5, 1, 0}) {
        CAPTURE(sizes.width, sizes.categories, mlp, size);
        const Batch batch = SmallBatch(schema, size, 3);
        CheckAgainstOracle(harness, batch, [&](const Oracle& o) {
          return MeanLogLoss(o, [&](size_t i) { return Logit(o, sizes, i, mlp); });
        });
        TestDevice device;
        const Oracle oracle(harness, device, batch);
        const StepResult step = harness.Run(device, batch, {.training = false});
        for (size_t i = 0; i < static_cast<size_t>(size); ++i) {
          const double want = 1.0 / (1.0 + std::exp(-Logit(oracle, sizes, i, mlp)));
          REQUIRE(double{step.predictions[i]} == Approx(want).epsilon(1e-5).margin(1e-6));
        }
      }
    }
  }
}

TEST_CASE("gpsd: rows with label 2 carry no rank loss, and no gradient") {
  const FeatureSchema schema = SequenceSchema();
  const ModelHarness harness("gpsd", GpsdOptions(kNarrow, "rank"), schema);
  Batch batch = SmallBatch(schema, 6, 3);
  const Batch others = SubBatch(batch, schema, 0, 5);
  batch.labels[5] = 2.0f;
  TestDevice device;
  const StepResult with = harness.Run(device, batch);
  const StepResult without = harness.Run(device, others);
  REQUIRE(with.predictions.size() == 6);
  REQUIRE(with.losses[0].count == Approx(without.losses[0].count));
  REQUIRE(with.losses[0].sum == Approx(without.losses[0].sum).epsilon(1e-6));
  for (size_t i = 0; i < with.dense_gradients.size(); ++i) {
    REQUIRE(with.dense_gradients[i] == Approx(without.dense_gradients[i]).margin(1e-6));
  }
}

TEST_CASE("gpsd's logit does not depend on what else is in the batch, padding included") {
  const FeatureSchema schema = SequenceSchema();
  const ModelHarness harness("gpsd", GpsdOptions(kNarrow, "rank"), schema);
  Batch batch = SmallBatch(schema, 4, 3);
  TestDevice device;
  const StepResult all = harness.Run(device, batch, {.training = false});
  for (size_t i = 0; i < 4; ++i) {
    CAPTURE(i);
    // Alone there is no padding; with the others there is, unless it is the longest.
    const auto at = static_cast<int64_t>(i);
    const Batch alone = SubBatch(batch, schema, at, at + 1);
    const StepResult step = harness.Run(device, alone, {.training = false});
    REQUIRE(step.predictions[0] == Approx(all.predictions[i]).epsilon(1e-6));
    // The same shapes with other ids beside it: the same bits.
    Batch changed = batch;
    for (RaggedIds& cells : changed.sparse) {
      for (size_t p = 0; p < cells.ids.size(); ++p) {
        const bool own = p >= static_cast<size_t>(cells.offsets[i]) &&
                         p < static_cast<size_t>(cells.offsets[i + 1]);
        if (!own) cells.ids[p] = (cells.ids[p] + 1) % 3;
      }
    }
    const StepResult beside = harness.Run(device, changed, {.training = false});
    REQUIRE(beside.predictions[i] == all.predictions[i]);
  }
}

TEST_CASE("gpsd's states of a history are the same before any candidate") {
  const FeatureSchema schema = SequenceSchema();
  const ModelHarness harness("gpsd", GpsdOptions(kNarrow, "generate"), schema);
  Batch batch = SmallBatch(schema, 6, 3);
  TestDevice device;
  const StepResult step = harness.Run(device, batch, {.training = false});
  for (FeatureId& id : batch.sparse[1].ids) id = (id + 5) % 12;
  for (FeatureId& id : batch.sparse[3].ids) id = (id + 1) % 3;
  const StepResult other = harness.Run(device, batch, {.training = false});
  REQUIRE(step.embeddings.user == other.embeddings.user);
  REQUIRE(step.embeddings.item != other.embeddings.item);
  // By the formula they are those of the sequence with the candidate written behind it.
  const Oracle oracle(harness, device, batch);
  for (size_t i = 0; i < 6; ++i) {
    const OracleRows g = Generated(oracle, kNarrow, i, true);
    const Vector user = g.size() < 2 ? Vector(4) : UnitLength(g[g.size() - 2]);
    for (size_t c = 0; c < 4; ++c) {
      REQUIRE(step.embeddings.user[4 * i + c] == Approx(user[c]).epsilon(1e-4).margin(1e-5));
    }
  }
}

TEST_CASE("gpsd leaves a drawn item out that is the positive itself") {
  FeatureSchema schema = SequenceSchema();
  schema.label.clear();
  Options options = GpsdOptions(kPlain, "generate");
  options["num_items"] = int64_t{1};  // Every draw is item 1.
  const ModelHarness harness("gpsd", options, schema);
  Batch batch = SmallBatch(schema, 5, 3);
  for (size_t f : {size_t{1}, size_t{2}}) {
    for (FeatureId& id : batch.sparse[f].ids) id = 1;
  }
  TestDevice device;
  StepResult step = harness.Run(device, batch);
  REQUIRE(step.losses[0].sum == 0.0);
  for (float g : step.dense_gradients) REQUIRE(g == 0.0f);
  for (FeatureId& id : batch.sparse[1].ids) id = 2;  // Now six of them are no hits.
  step = harness.Run(device, batch);
  REQUIRE(step.losses[0].sum > 0.1);
}

TEST_CASE("gpsd: two workers' steps add up to one's, with dropout and drawn items") {
  const FeatureSchema schema = SequenceSchema();
  for (const std::string task : {"generate", "rank"}) {
    for (const std::string scope : {"batch", "sample"}) {
      CAPTURE(task, scope);
      Options options = GpsdOptions(kNarrow, task);
      options["dropout"] = 0.3;
      options["negatives_scope"] = scope;
      CheckPartsAddUp(ModelHarness("gpsd", options, schema), SmallBatch(schema, 7, 3), 3);
    }
  }
}

TEST_CASE("gpsd's parameters are in groups, and the tasks share all but their heads") {
  const FeatureSchema schema = SequenceSchema();
  std::map<std::string, std::map<std::string, std::string>> groups;  // Task, name -> group.
  for (const std::string task : {"generate", "rank"}) {
    const ModelHarness harness("gpsd", GpsdOptions(kNarrow, task), schema);
    REQUIRE(harness.declaration().tables.size() == 1);
    REQUIRE(harness.declaration().tables[0].name == "item");
    for (const DenseDecl& decl : harness.declaration().dense) groups[task][decl.name] = decl.group;
  }
  int shared = 0;
  for (const auto& [name, group] : groups["generate"]) {
    CAPTURE(name);
    REQUIRE_FALSE(group.empty());
    if (group == "generate") {
      REQUIRE_FALSE(groups["rank"].contains(name));
      continue;
    }
    REQUIRE(groups["rank"].at(name) == group);
    ++shared;
  }
  REQUIRE(shared > 10);
  REQUIRE(groups["rank"].at("head.logit.weight") == "head");
  REQUIRE(groups["rank"].at("category.weight") == "inputs");
  REQUIRE(groups["rank"].at("blocks.0.attention.query.weight") == "transformer");
}

TEST_CASE("gpsd gives the same step on every device") {
  const FeatureSchema schema = SequenceSchema();
  Options options = GpsdOptions(kNarrow, "generate");
  options["dropout"] = 0.3;
  for (const std::string scope : {"batch", "sample", "position"}) {
    options["negatives_scope"] = scope;
    CheckEveryDevice(ModelHarness("gpsd", options, schema), SmallBatch(schema, 19, 3));
  }
}

TEST_CASE("gpsd refuses what does not fit, by name") {
  const auto declared = [](const std::string& key, const OptionValue& value) {
    const ModelInfo& info = **FindModel("gpsd");
    ModelOptions options(info.options);
    REQUIRE(options.Set("num_categories", int64_t{3}).ok());
    REQUIRE(options.Set(key, value).ok());
    Declaration declaration;
    return info.create(options)->Declare(SequenceSchema(), declaration);
  };
  RequireInvalid(declared("task", std::string("both")), "'both'");
  RequireInvalid(declared("head", std::string("tree")), "'tree'");
  RequireInvalid(declared("width", int64_t{-1}), "'width' is -1");
  RequireInvalid(declared("width", int64_t{5}), "even");
  RequireInvalid(declared("num_categories", int64_t{-1}), "'num_categories' is -1");
  RequireInvalid(declared("history_categories", std::string("user")), "not a sequence");
  RequireInvalid(declared("category", std::string("categorie")), "'categorie'");
  const FeatureSchema schema = SequenceSchema();
  const ModelHarness harness("gpsd", GpsdOptions(kNarrow, "rank"), schema);
  TestDevice device;
  Batch batch = SmallBatch(schema, 3, 3);
  batch.sparse[3].ids[0] = 3;
  RequireInvalid(harness.TryRun(device, batch, {}).status(), "category 3 is not below");
  batch = SmallBatch(schema, 3, 3);
  batch.sparse[4].ids.push_back(0);
  ++batch.sparse[4].offsets.back();
  RequireInvalid(harness.TryRun(device, batch, {}).status(), "categories");
}

}  // namespace
}  // namespace pagoda
