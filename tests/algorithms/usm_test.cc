#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

using Vector = Oracle::Vector;

const Options kOptions = {{"embedding_dim", int64_t{5}},
                          {"hidden", std::vector<int64_t>{4, 2}},
                          {"activation", std::string("tanh")},
                          {"windows", std::vector<int64_t>{2, 5}},
                          {"strides", std::vector<int64_t>{2, 1}},
                          {"usm_width", int64_t{3}},
                          {"usm_dropout", 0.0},
                          {"wide_optimizer", std::string("adagrad")}};

// Group by group as the paper writes them: K2, K3, K4 and products of v_a, v_b, ...
struct Kinds {
  bool bases = true, products = true;
  std::vector<size_t> orders = {2, 3, 4};
};

// All ascending choices of `order` of `count`.
void Choose(size_t count, size_t order, std::vector<size_t> begun,
            std::vector<std::vector<size_t>>* all) {
  if (begun.size() == order) {
    all->push_back(begun);
    return;
  }
  for (size_t next = begun.empty() ? 0 : begun.back() + 1; next < count; ++next) {
    std::vector<size_t> more = begun;
    more.push_back(next);
    Choose(count, order, more, all);
  }
}

std::vector<Vector> Channels(const std::vector<Vector>& v, const Kinds& kinds) {
  std::vector<Vector> channels;
  for (const size_t order : kinds.orders) {
    std::vector<std::vector<size_t>> choices;
    Choose(v.size(), order, {}, &choices);
    for (size_t q = 0; q < order && kinds.bases; ++q) {
      for (const std::vector<size_t>& choice : choices) {
        Vector sum(v[0].size());
        for (size_t p = 0; p < order; ++p) {
          const bool minus = order == 2 ? q == 1 && p == 1 : q == p;
          sum = AddScaled(sum, v[choice[p]], minus ? -1.0 : 1.0);
        }
        channels.push_back(sum);
      }
    }
    for (const std::vector<size_t>& choice : choices) {
      if (!kinds.products) break;
      Vector product(v[0].size(), 1.0);
      for (const size_t field : choice) {
        for (size_t c = 0; c < product.size(); ++c) product[c] *= v[field][c];
      }
      channels.push_back(product);
    }
  }
  return channels;
}

Vector Tanh(Vector x) {
  for (double& value : x) value = std::tanh(value);
  return x;
}

// The scales of kOptions: windows at columns 0 and 2 of width 2, and all five.
Vector UsmVector(const Oracle& o, size_t i, const std::vector<size_t>& fields, const Kinds& kinds) {
  std::vector<Vector> v;
  for (const size_t f : fields) v.push_back(o.Pooled(i, f, ".usm"));
  Vector small, large;
  for (const Vector& c : Channels(v, kinds)) {
    small = Join(small, {(c[0] + c[1]) / 2.0, (c[2] + c[3]) / 2.0});
    large.push_back((c[0] + c[1] + c[2] + c[3] + c[4]) / 5.0);
  }
  return Tanh(o.Linear("usm.delay", Join(small, large)));
}

double JointLogit(const Oracle& o, size_t i, const Kinds* kinds) {
  double z = o.LinearTerm("wide", i);
  for (size_t f = 0; f < o.num_sparse(); ++f) z += o.Pooled(i, f, ".wide")[0];
  Vector x = o.FlatInputs(i);
  if (kinds != nullptr) x = Join(x, UsmVector(o, i, {0, 1, 2, 3}, *kinds));
  return z + o.Linear("out", o.Mlp("deep", 2, x))[0];
}

Options With(const Options& more) {
  Options options = kOptions;
  for (const auto& [key, value] : more) options[key] = value;
  return options;
}

TEST_CASE("usm: prediction, loss and every gradient follow the formula") {
  const Kinds all;
  CheckLogitModel("usm", kOptions,
                  [&](const Oracle& o, size_t i) { return JointLogit(o, i, &all); });
}

TEST_CASE("usm's ablations follow their formulas: no products, no bases, pairs alone, no USM") {
  const Kinds sums = {true, false, {2, 3, 4}}, products = {false, true, {2, 3, 4}},
              pairs = {true, true, {2}};
  CheckLogitModel("usm", With({{"products", false}}),
                  [&](const Oracle& o, size_t i) { return JointLogit(o, i, &sums); });
  CheckLogitModel("usm", With({{"bases", false}}),
                  [&](const Oracle& o, size_t i) { return JointLogit(o, i, &products); });
  CheckLogitModel("usm", With({{"orders", std::vector<int64_t>{2}}}),
                  [&](const Oracle& o, size_t i) { return JointLogit(o, i, &pairs); });
  CheckLogitModel("usm", With({{"usm", false}}),
                  [&](const Oracle& o, size_t i) { return JointLogit(o, i, nullptr); });
}

TEST_CASE("usm's pretraining is fields, USM and one logit, on tables of its own") {
  const Options options = With({{"phase", std::string("pretrain")},
                                {"fields", std::vector<std::string>{"genres", "user", "item"}},
                                {"usm_dropout", 0.5}});  // Not in this phase.
  const Kinds all;
  CheckLogitModel("usm", options, [&](const Oracle& o, size_t i) {
    return o.Linear("pretrain", UsmVector(o, i, {3, 0, 2}, all))[0];
  });
  const ModelHarness harness("usm", options, SmallSchema(false));
  for (const TableDecl& table : harness.declaration().tables) {
    REQUIRE(table.name.ends_with(".usm"));
  }
}

TEST_CASE("usm of five fields has 95 channels, and constant bases are no parameters") {
  FeatureSchema schema;
  schema.label = "click";
  for (int f = 0; f < 5; ++f) {
    FeatureSpec spec;
    spec.name = absl::StrCat("f", f);
    schema.features.push_back(spec);
  }
  Options options = With({{"embedding_dim", int64_t{100}}, {"usm_width", int64_t{100}}});
  const auto delay_inputs = [&](const Options& with) {
    const ModelHarness harness("usm", with, schema);
    int64_t width = -1;
    for (const DenseDecl& decl : harness.declaration().dense) {
      const bool known = decl.name == "usm.delay.weight" || decl.name == "usm.delay.bias" ||
                         decl.name.starts_with("deep.") || decl.name.starts_with("out.") ||
                         decl.name.starts_with("wide.");
      INFO(decl.name);
      REQUIRE(known);
      if (decl.name == "usm.delay.weight") width = decl.shape[1];
    }
    return width;
  };
  options["windows"] = options["strides"] = std::vector<int64_t>{};
  REQUIRE(delay_inputs(options) == 95 * (3 + 1));  // (50, 25) and (100, 50).
  options["windows"] = std::vector<int64_t>{25, 7};
  options["strides"] = std::vector<int64_t>{13, 3};
  REQUIRE(delay_inputs(options) == 95 * (6 + 32));  // floor((D - w) / s) + 1
  options["products"] = false;
  REQUIRE(delay_inputs(options) == (95 - 25) * (6 + 32));
  options["orders"] = std::vector<int64_t>{2};
  REQUIRE(delay_inputs(options) == 20 * (6 + 32));
}

TEST_CASE("a frozen USM table gets no gradient, and the deep part's own table does") {
  const ModelHarness harness("usm", kOptions, SmallSchema(false));
  const Batch batch = SmallBatch(harness.schema(), 6, 3);
  std::vector<bool> frozen;
  for (const TableDecl& table : harness.declaration().tables) {
    frozen.push_back(table.name.ends_with(".usm"));
  }
  TestDevice device;
  const StepResult step = harness.Run(device, batch, {.frozen_tables = frozen});
  for (size_t t = 0; t < frozen.size(); ++t) {
    const std::vector<float> zeros(step.row_gradients[t].size(), 0.0f);
    INFO(harness.declaration().tables[t].name);
    REQUIRE((step.row_gradients[t] == zeros) == frozen[t]);
  }
}

TEST_CASE("usm drops inputs of the dense layer and its outputs in joint training alone") {
  const ModelHarness harness("usm", With({{"usm_dropout", 0.5}}), SmallSchema(false));
  const ModelHarness without("usm", kOptions, SmallSchema(false));
  const Batch batch = SmallBatch(harness.schema(), 8, 3);
  TestDevice device;
  const auto predictions = [&](const ModelHarness& of, bool training) {
    return of.Run(device, batch, {.training = training}).predictions;
  };
  REQUIRE(predictions(harness, false) == predictions(without, false));
  REQUIRE(predictions(harness, true) != predictions(without, true));
}

TEST_CASE("usm refuses options that do not fit, by name") {
  const auto refused = [](const std::string& key, const OptionValue& value,
                          const std::string& word) {
    const ModelInfo& info = **FindModel("usm");
    ModelOptions options(info.options);
    for (const auto& [k, v] : kOptions) REQUIRE(options.Set(k, v).ok());
    REQUIRE(options.Set(key, value).ok());
    Declaration declaration;
    RequireInvalid(info.create(options)->Declare(SmallSchema(true), declaration), word);
  };
  refused("fields", std::vector<std::string>{"usr"}, "'usr'");
  refused("fields", std::vector<std::string>{"age"}, "'age'");
  refused("fields", std::vector<std::string>{"user"}, "no channel");
  refused("wide_features", std::vector<std::string>{"usr"}, "'wide_features'");
  refused("phase", std::string("jont"), "'jont'");
  refused("orders", std::vector<int64_t>{5}, "'orders' holds 5");
  refused("orders", std::vector<int64_t>{}, "no channel");
  refused("windows", std::vector<int64_t>{2}, "'strides' has 2 values");
  refused("windows", std::vector<int64_t>{2, 6}, "'windows' holds 6");
  refused("strides", std::vector<int64_t>{0, 1}, "'strides' holds 0");
  refused("usm_width", int64_t{0}, "'usm_width' is 0");
  refused("usm_dropout", 1.0, "'usm_dropout' is 1");
  ModelOptions options((*FindModel("usm"))->options);
  REQUIRE(options.Set("phase", std::string("pretrain")).ok());
  REQUIRE(options.Set("usm", false).ok());
  Declaration declaration;
  RequireInvalid((*FindModel("usm"))->create(options)->Declare(SmallSchema(true), declaration),
                 "'usm' is false");
}

}  // namespace
}  // namespace pagoda
