#include "tests/algorithms/sequence_formula.h"

namespace pagoda {
namespace {

using Vector = Oracle::Vector;

Options DinTestOptions(const std::string& activation, const std::string& attention) {
  return {{"targets", std::vector<std::string>{"item", "category"}},
          {"sequences", std::vector<std::string>{"history", "categories"}},
          {"embedding_dim", int64_t{3}},
          {"hidden", std::vector<int64_t>{4, 3}},
          {"attention_hidden", std::vector<int64_t>{4}},
          {"activation", activation},
          {"attention", attention}};
}

FeatureSchema DinSchema() {
  FeatureSchema schema = SequenceSchema();
  FeatureSpec age;
  age.name = "age";
  age.kind = FeatureKind::kNumeric;
  schema.features.push_back(age);
  return schema;
}

double Sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}

// Zhou et al. 2018, section 4.3: the history's events, weighed by the candidate.
Vector Interest(const Oracle& o, const std::string& attention, size_t i) {
  const Vector q = Join(o.Row(i, "item"), o.Row(i, "category"));
  const OracleRows items = o.Events(i, "history"), categories = o.Events(i, "categories");
  Vector scores;
  double total = 0.0;
  for (size_t t = 0; t < items.size(); ++t) {
    const Vector k = Join(items[t], categories[t]);
    Vector product = q;
    for (size_t c = 0; c < q.size(); ++c) product[c] *= k[c];
    Vector x = o.Linear("attention.0", Join(Join(q, k), Join(AddScaled(q, k, -1.0), product)));
    for (double& v : x) v = Sigmoid(v);
    scores.push_back(o.Linear("attention.score", x)[0]);
    total += std::exp(scores.back());
  }
  Vector sum(q.size());
  for (size_t t = 0; t < items.size(); ++t) {
    const double weight = attention == "softmax" ? std::exp(scores[t]) / total : Sigmoid(scores[t]);
    sum = AddScaled(sum, Join(items[t], categories[t]), weight);
  }
  return sum;
}

// Logits of the whole batch: Dice looks at all of it.
Vector Logits(const Oracle& o, const std::string& activation, const std::string& attention) {
  OracleRows rows;
  for (size_t i = 0; i < static_cast<size_t>(o.batch().size); ++i) {
    const Vector flat =
        Join(Join(o.Dense(i), o.Row(i, "user")), Join(o.Row(i, "item"), o.Row(i, "category")));
    rows.push_back(Join(flat, Interest(o, attention, i)));
  }
  for (const std::string layer : {"head.0", "head.1"}) {
    rows = LinearRows(o, layer, rows);
    const double n = static_cast<double>(rows.size());
    for (size_t c = 0; !rows.empty() && c < rows[0].size(); ++c) {
      double mean = 0.0, var = 0.0;
      for (const Vector& x : rows) mean += x[c] / n;
      for (const Vector& x : rows) var += (x[c] - mean) * (x[c] - mean) / n;
      for (Vector& x : rows) {
        if (activation == "tanh") {
          x[c] = std::tanh(x[c]);
          continue;
        }
        const double p = activation == "dice" ? Sigmoid((x[c] - mean) / std::sqrt(var + 1e-8))
                                              : (x[c] > 0.0 ? 1.0 : 0.0);
        x[c] = p * x[c] + (1.0 - p) * o.Get(layer + ".alpha")[c] * x[c];
      }
    }
  }
  Vector logits;
  for (const Vector& x : rows) logits.push_back(o.Linear("out", x)[0]);
  return logits;
}

TEST_CASE("din: loss, predictions and every gradient follow the formula") {
  const FeatureSchema schema = DinSchema();
  for (const std::string activation : {"dice", "prelu", "tanh"}) {
    for (const std::string attention : {"softmax", "sigmoid"}) {
      const ModelHarness harness("din", DinTestOptions(activation, attention), schema);
      for (const int64_t size : {5, 1, 0}) {
        // A batch of one has no spread: Dice's share is a half, but in rounding.
        if (activation == "dice" && size == 1) continue;
        CAPTURE(activation, attention, size);
        const Batch batch = SmallBatch(schema, size, 3);
        CheckAgainstOracle(harness, batch, [&](const Oracle& o) {
          const Vector logits = Logits(o, activation, attention);
          return MeanLogLoss(o, [&](size_t i) { return logits[i]; });
        });
        TestDevice device;
        const Oracle oracle(harness, device, batch);
        const Vector logits = Logits(oracle, activation, attention);
        const StepResult step = harness.Run(device, batch);
        REQUIRE(step.predictions.size() == logits.size());
        for (size_t i = 0; i < logits.size(); ++i) {
          REQUIRE(double{step.predictions[i]} ==
                  Approx(Sigmoid(logits[i])).epsilon(1e-5).margin(1e-6));
        }
      }
    }
  }
}

TEST_CASE("din's dice uses running statistics outside training") {
  const FeatureSchema schema = DinSchema();
  const ModelHarness harness("din", DinTestOptions("dice", "softmax"), schema);
  TestDevice device;
  const Batch batch = SmallBatch(schema, 5, 3);
  const StepResult all = harness.Run(device, batch, {.training = false});
  const StepResult one = harness.Run(device, SubBatch(batch, schema, 2, 3), {.training = false});
  REQUIRE(one.predictions[0] == Approx(all.predictions[2]).epsilon(1e-6));
}

TEST_CASE("din adds the penalty of the rows that it looked up") {
  const FeatureSchema schema = DinSchema();
  Options options = DinTestOptions("tanh", "softmax");
  options["l2"] = 0.2;
  const ModelHarness harness("din", options, schema);
  const Batch batch = SmallBatch(schema, 5, 3);
  CheckAgainstOracle(harness, batch, [&](const Oracle& o) {
    const Vector logits = Logits(o, "tanh", "softmax");
    double squares = 0.0, count = 0.0;
    for (size_t i = 0; i < 5; ++i) {
      count += double{batch.weights[i]};
      for (const std::string name : {"user", "item", "category"}) {
        squares += Dot(o.Row(i, name), o.Row(i, name));
      }
      for (const std::string name : {"history", "categories"}) {
        for (const Vector& row : o.Events(i, name)) squares += Dot(row, row);
      }
    }
    return MeanLogLoss(o, [&](size_t i) { return logits[i]; }) + 0.1 * squares / count;
  });
}

TEST_CASE("din gives the same step on every device") {
  const FeatureSchema schema = DinSchema();
  for (const std::string activation : {"dice", "prelu"}) {
    CheckEveryDevice(ModelHarness("din", DinTestOptions(activation, "softmax"), schema),
                     SmallBatch(schema, 19, 3));
  }
}

TEST_CASE("din refuses what does not fit, by name") {
  const auto declared = [](const std::string& key, const OptionValue& value) {
    const ModelInfo& info = **FindModel("din");
    ModelOptions options(info.options);
    for (const auto& [k, v] : DinTestOptions("dice", "softmax")) REQUIRE(options.Set(k, v).ok());
    REQUIRE(options.Set(key, value).ok());
    Declaration declaration;
    return info.create(options)->Declare(DinSchema(), declaration);
  };
  const auto names = [](std::vector<std::string> list) { return OptionValue(std::move(list)); };
  RequireInvalid(declared("targets", names({"item"})), "1 and 2 features");
  RequireInvalid(declared("targets", names({"category", "item"})), "give them one `table`");
  RequireInvalid(declared("targets", names({"item", "categories"})), "'categories'");
  RequireInvalid(declared("sequences", names({"history", "user"})), "not a sequence");
  RequireInvalid(declared("attention", std::string("hard")), "'hard'");
  RequireInvalid(declared("attention_hidden", std::vector<int64_t>{0}), "'attention_hidden'");
  RequireInvalid(declared("activation", std::string("dicy")), "dicy");
  RequireInvalid(declared("batch_norm", true), "'batch_norm'");
  const FeatureSchema schema = DinSchema();
  const ModelHarness harness("din", DinTestOptions("dice", "softmax"), schema);
  TestDevice device;
  Batch batch = SmallBatch(schema, 3, 3);
  batch.sparse[4].ids.push_back(0);
  ++batch.sparse[4].offsets.back();
  RequireInvalid(harness.TryRun(device, batch, {}).status(), "'history' and 'categories'");
}

}  // namespace
}  // namespace pagoda
