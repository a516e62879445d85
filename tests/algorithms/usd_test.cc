#include <cstring>

#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

using Vector = Oracle::Vector;

FeatureSchema UsdSchema(bool numeric) {
  FeatureSchema schema = SmallSchema(numeric);
  schema.features.push_back(HistoryFeature("tokens", "token", 5));
  schema.features.back().num_buckets = 3;
  schema.features.push_back(HistoryFeature("short_items", "item", 3));
  schema.features.push_back(HistoryFeature("short_genres", "genres", 3));
  schema.features.push_back(HistoryFeature("long_items", "item", 6));
  schema.targets = {"portal", "block", "recent", "day_first"};
  return schema;
}

Options UsdOptions() {
  return {{"embedding_dim", int64_t{2}},
          {"hidden", std::vector<int64_t>{3}},
          {"activation", std::string("tanh")},
          {"activity", std::string("tokens")},
          {"intent_dim", int64_t{4}},
          {"intent_layers", int64_t{2}},
          {"intent_heads", int64_t{2}},
          {"intent_hidden", int64_t{3}},
          {"alpha", 0.7},
          {"beta", 0.3},
          {"attention_dim", int64_t{4}},
          {"attention_heads", int64_t{2}}};
}

Options WithHistories(Options options) {
  options["candidate"] = std::vector<std::string>{"item", "genres"};
  options["short_history"] = std::vector<std::string>{"short_items", "short_genres"};
  options["long_history"] = std::vector<std::string>{"long_items"};
  return options;
}

Vector LayerNorm(const Oracle& o, const std::string& name, const Vector& x) {
  double mean = 0.0, variance = 0.0;
  for (const double value : x) mean += value / static_cast<double>(x.size());
  for (const double value : x)
    variance += (value - mean) * (value - mean) / static_cast<double>(x.size());
  const Vector &gamma = o.Get(name + ".gamma"), &beta = o.Get(name + ".beta");
  Vector y;
  for (size_t c = 0; c < x.size(); ++c) {
    y.push_back((x[c] - mean) / std::sqrt(variance + 1e-5) * gamma[c] + beta[c]);
  }
  return y;
}

Vector Relu(Vector x) {
  for (double& value : x) value = std::max(value, 0.0);
  return x;
}

// One block of the decoder: queries normed, keys and values not, a token sees those before it.
std::vector<Vector> Block(const Oracle& o, const std::string& name, const std::vector<Vector>& h) {
  std::vector<Vector> out;
  for (size_t t = 0; t < h.size(); ++t) {
    const std::vector<Vector> seen(h.begin(), h.begin() + static_cast<std::ptrdiff_t>(t) + 1);
    const Vector q = LayerNorm(o, name + ".attention_norm", h[t]);
    const Vector u = AddScaled(q, MultiHead(o, name + ".attention", q, seen, 2));
    const Vector m = LayerNorm(o, name + ".feed_forward_norm", u);
    out.push_back(AddScaled(
        m, o.Linear(name + ".feed_forward.down", Relu(o.Linear(name + ".feed_forward.up", m)))));
  }
  return out;
}

// H = last(Decoder(E_s + E_pos)) + mean(E_s); the position of yesterday is the last.
Vector Intent(const Oracle& o, size_t i) {
  const std::vector<Vector> tokens = o.Events(i, "tokens");
  const Vector& table = o.Get("intent.position.weight");
  const size_t dim = 4, most = table.size() / dim;
  Vector mean(dim);
  std::vector<Vector> h;
  for (size_t t = 0; t < tokens.size(); ++t) {
    const size_t position = most - tokens.size() + t;
    const Vector at(table.begin() + static_cast<std::ptrdiff_t>(position * dim),
                    table.begin() + static_cast<std::ptrdiff_t>((position + 1) * dim));
    h.push_back(AddScaled(tokens[t], at));
    mean = AddScaled(mean, tokens[t], 1.0 / static_cast<double>(tokens.size()));
  }
  if (tokens.empty()) return mean;
  for (const char* block : {"intent.decoder.0", "intent.decoder.1"}) h = Block(o, block, h);
  return AddScaled(LayerNorm(o, "intent.decoder.norm", h.back()), mean);
}

double HeadLogit(const Oracle& o, size_t i, const std::string& head) {
  return o.Linear(head + ".1", Relu(o.Linear(head + ".0", Intent(o, i))))[0];
}

double Probability(double logit) {
  return 1.0 / (1.0 + std::exp(-logit));
}

double TowerLogit(const Oracle& o, size_t i, bool histories) {
  Vector x = o.Dense(i);
  for (const char* field : {"user", "friends", "item", "genres"}) x = Join(x, o.Row(i, field));
  if (histories) {
    const Vector candidate = Join(o.Row(i, "item"), o.Row(i, "genres"));
    std::vector<Vector> events = o.Events(i, "short_items");
    const std::vector<Vector> genres = o.Events(i, "short_genres");
    for (size_t j = 0; j < events.size(); ++j) events[j] = Join(events[j], genres[j]);
    x = Join(x, MultiHead(o, "short_history", candidate, events, 2));
    x = Join(x, MultiHead(o, "long_history", candidate, o.Events(i, "long_items"), 2));
  }
  return o.Linear("out", o.Mlp("deep", 1, x))[0];
}

struct Setting {
  std::string sampling = "portal";
  bool debias_portal = true, debias_block = true;
  bool histories = false;
  double low = 1.0, high = 15.0;
};

Options OptionsOf(const Setting& setting) {
  Options options = UsdOptions();
  if (setting.histories) options = WithHistories(options);
  options["sampling"] = setting.sampling;
  options["debias_portal"] = setting.debias_portal;
  options["debias_block"] = setting.debias_block;
  options["weight_clip"] = std::vector<double>{setting.low, setting.high};
  return options;
}

// Eq. 1 and 7: membership in U', and the weight of a member.
double Weight(const Oracle& o, size_t i, const Setting& setting) {
  const bool portal = o.Target(i, "portal") > 0.5, block = o.Target(i, "block") > 0.5;
  if (setting.sampling == "portal" && !portal) return 0.0;
  if (setting.sampling == "click" && !block) return 0.0;
  double weight = 1.0;
  if (block) {
    if (setting.debias_block) weight = 1.0 / Probability(HeadLogit(o, i, "intent.block"));
  } else if (portal) {
    if (setting.debias_portal) weight = 1.0 / (1.0 - Probability(HeadLogit(o, i, "intent.portal")));
  }
  const bool weighted = block ? setting.debias_block : portal && setting.debias_portal;
  return weighted ? std::clamp(weight, setting.low, setting.high) : 1.0;
}

bool Sampled(const Oracle& o, size_t i, const Setting& setting) {
  if (setting.sampling == "none") return true;
  return o.Target(i, setting.sampling == "portal" ? "portal" : "block") > 0.5;
}

// Eq. 8; `weights` do not move with the parameters.
double UsdLoss(const Oracle& o, const Setting& setting, const std::vector<double>& weights) {
  double ctr = 0.0, count = 0.0, portal = 0.0, block = 0.0, days = 0.0;
  for (size_t i = 0; i < o.batch().labels.size(); ++i) {
    if (Sampled(o, i, setting)) {
      const double own = double{o.batch().weights[i]};
      count += own;
      ctr += own * weights[i] *
             LogLossOf(TowerLogit(o, i, setting.histories), double{o.batch().labels[i]});
    }
    if (o.Target(i, "recent") < 0.5 || o.Target(i, "day_first") < 0.5) continue;
    days += 1.0;
    portal += LogLossOf(HeadLogit(o, i, "intent.portal"), o.Target(i, "portal"));
    block += LogLossOf(HeadLogit(o, i, "intent.block"), o.Target(i, "block"));
  }
  return (count > 0.0 ? ctr / count : 0.0) +
         (days > 0.0 ? (0.7 * portal + 0.3 * block) / days : 0.0);
}

std::vector<double> Weights(const ModelHarness& harness, const Batch& batch,
                            const Setting& setting) {
  TestDevice device;
  const Oracle o(harness, device, batch);
  std::vector<double> weights;
  for (size_t i = 0; i < static_cast<size_t>(batch.size); ++i) {
    weights.push_back(Weight(o, i, setting));
  }
  return weights;
}

void CheckSetting(const Setting& setting, const Batch& batch, bool numeric) {
  const ModelHarness harness("usd", OptionsOf(setting), UsdSchema(numeric));
  const std::vector<double> weights = Weights(harness, batch, setting);
  CheckAgainstOracle(harness, batch, [&](const Oracle& o) { return UsdLoss(o, setting, weights); });
  TestDevice device;
  const Oracle o(harness, device, batch);
  for (const bool training : {true, false}) {
    const StepResult step = harness.Run(device, batch, {.training = training});
    REQUIRE(step.losses.size() == (training ? 3 : 0));
    for (size_t i = 0; i < static_cast<size_t>(batch.size); ++i) {
      const auto is = [](float got, double want) {
        REQUIRE(double{got} == Approx(want).epsilon(1e-4).margin(1e-6));
      };
      is(step.predictions[i], Probability(TowerLogit(o, i, setting.histories)));
      is(step.outputs.at("portal")[i], Probability(HeadLogit(o, i, "intent.portal")));
      is(step.outputs.at("block")[i], Probability(HeadLogit(o, i, "intent.block")));
      is(step.outputs.at("ctr_weight")[i], weights[i]);
    }
  }
}

TEST_CASE("usd: losses, outputs and every gradient follow the formulas") {
  const std::vector<Setting> settings = {
      {},
      {.histories = true},
      {.sampling = "none"},
      {.sampling = "click", .debias_portal = false, .debias_block = false},
      {.debias_block = false},
      {.low = 1.5, .high = 2.5}};
  for (size_t s = 0; s < settings.size(); ++s) {
    const bool numeric = s % 2 == 0;
    for (const int64_t size : {5, 1, 0}) {
      CAPTURE(s, size);
      CheckSetting(settings[s], SmallBatch(UsdSchema(numeric), size, 3 + s), numeric);
    }
  }
}

TEST_CASE("usd: samples that share their activity, and samples without any") {
  const FeatureSchema schema = UsdSchema(false);
  const auto position = static_cast<size_t>(schema.SparseIndex("tokens"));
  Batch batch = SmallBatch(schema, 5, 9);
  RaggedIds& tokens = batch.sparse[position];
  tokens = RaggedIds();
  for (const std::vector<FeatureId>& days :
       std::vector<std::vector<FeatureId>>{{0, 2, 1}, {}, {0, 2, 1}, {0, 2}, {}}) {
    tokens.ids.insert(tokens.ids.end(), days.begin(), days.end());
    tokens.offsets.push_back(static_cast<int32_t>(tokens.ids.size()));
  }
  CheckSetting({}, batch, false);
  tokens.ids.clear();
  tokens.offsets.assign(6, 0);
  CheckSetting({}, batch, false);
}

// Batch of eight with each kind of membership; portal, block, recent, day_first a sample.
Batch Members(const FeatureSchema& schema) {
  Batch batch = SmallBatch(schema, 8, 21);
  batch.targets = {1, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 1, 1, 1,
                   1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 1, 0, 1, 0};
  return batch;
}

TEST_CASE("usd's weights: the block wins over the portal, and both are clipped") {
  const FeatureSchema schema = UsdSchema(true);
  const Batch batch = Members(schema);
  TestDevice device;
  const auto weights_of = [&](const Setting& setting) {
    const ModelHarness harness("usd", OptionsOf(setting), schema);
    return harness.Run(device, batch).outputs;
  };
  const auto outputs = weights_of({.low = 0.0, .high = 1e6});
  for (size_t i = 0; i < 8; ++i) {
    const double portal = double{outputs.at("portal")[i]}, block = double{outputs.at("block")[i]};
    const double got = double{outputs.at("ctr_weight")[i]};
    CAPTURE(i);
    if (i == 1 || i == 6) REQUIRE(got == Approx(1.0 / block).epsilon(1e-5));
    if (i == 0 || i == 4 || i == 7) REQUIRE(got == Approx(1.0 / (1.0 - portal)).epsilon(1e-5));
    if (i == 2 || i == 3 || i == 5) REQUIRE(got == 0.0);  // Outside U'.
  }
  const auto clipped = weights_of({.low = 1.4, .high = 1.6});
  bool at_low = false, at_high = false;
  for (size_t i = 0; i < 8; ++i) {
    const float weight = clipped.at("ctr_weight")[i];
    REQUIRE((weight == 0.0f || (weight >= 1.4f && weight <= 1.6f)));
    at_low = at_low || weight == 1.4f;
    at_high = at_high || weight == 1.6f;
  }
  REQUIRE(at_low);
  REQUIRE(at_high);
}

TEST_CASE("usd's weights carry no gradient into the heads they come from") {
  const FeatureSchema schema = UsdSchema(true);
  Options options = UsdOptions();
  options["alpha"] = options["beta"] = 0.0;
  const ModelHarness harness("usd", options, schema);
  TestDevice device;
  const StepResult step = harness.Run(device, Members(schema));
  REQUIRE(step.outputs.at("ctr_weight")[0] > 1.001f);
  const auto parameters = harness.Parameters(device);
  const Declaration& declaration = harness.declaration();
  int silent = 0, loud = 0;
  for (size_t i = 0; i < declaration.dense.size(); ++i) {
    const DenseHandle handle{static_cast<int>(i)};
    const bool intent = declaration.dense[i].name.rfind("intent.", 0) == 0;
    const int64_t size = parameters->value(handle).size();
    bool moves = false;
    for (int64_t k = 0; k < size; ++k) {
      const float g = step.dense_gradients[static_cast<size_t>(parameters->offset(handle) + k)];
      if (intent) REQUIRE(g == 0.0f);
      moves = moves || g != 0.0f;
    }
    silent += intent;
    loud += moves;
  }
  REQUIRE(silent > 10);
  REQUIRE(loud == 4);  // deep.0 and out, weight and bias each.
  for (size_t t = 0; t < declaration.tables.size(); ++t) {
    if (declaration.tables[t].name != "token") continue;
    for (const float g : step.row_gradients[t]) REQUIRE(g == 0.0f);
  }
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b, size_t count) {
  return a.size() >= count && b.size() >= count &&
         std::memcmp(a.data(), b.data(), count * sizeof(float)) == 0;
}

TEST_CASE("usd without sampling and debiasing is the plain tower, bit for bit") {
  const FeatureSchema schema = UsdSchema(true), plain_schema = SmallSchema(true);
  const Setting off = {.sampling = "none", .debias_portal = false, .debias_block = false};
  const ModelHarness harness("usd", OptionsOf(off), schema);
  const ModelHarness plain("dnn",
                           {{"embedding_dim", int64_t{2}},
                            {"hidden", std::vector<int64_t>{3}},
                            {"activation", std::string("tanh")}},
                           plain_schema);
  TestDevice device;
  for (const int64_t size : {9, 1}) {
    const Batch batch = SmallBatch(schema, size, 4);
    Batch plain_batch = batch;
    plain_batch.sparse.resize(4);
    plain_batch.targets.clear();
    const StepResult step = harness.Run(device, batch);
    const StepResult want = plain.Run(device, plain_batch);
    REQUIRE(step.losses[0].sum == want.losses[0].sum);
    REQUIRE(step.losses[0].count == want.losses[0].count);
    REQUIRE(step.losses[0].weight == want.losses[0].weight);
    REQUIRE(step.predictions == want.predictions);
    REQUIRE(SameBits(step.dense_gradients, want.dense_gradients, want.dense_gradients.size()));
    for (size_t t = 0; t < want.row_gradients.size(); ++t) {
      REQUIRE(harness.declaration().tables[t].name == plain.declaration().tables[t].name);
      REQUIRE(step.row_gradients[t] == want.row_gradients[t]);
    }
  }
}

TEST_CASE("a sample outside U' has exactly no influence on the tower's gradients") {
  const FeatureSchema schema = UsdSchema(true);
  const Batch batch = Members(schema);
  for (const std::string sampling : {"portal", "click"}) {
    CAPTURE(sampling);
    const ModelHarness harness("usd", OptionsOf({.sampling = sampling}), schema);
    const size_t target = sampling == "portal" ? 0 : 1;
    Batch changed = batch;
    for (size_t i = 0; i < 8; ++i) {
      if (batch.targets[4 * i + target] > 0.5f) continue;
      changed.labels[i] = 1.0f - changed.labels[i];
      changed.weights[i] *= 50.0f;
      changed.dense[2 * i] = 3.0f;
      changed.sparse[0].ids[i] = 77;  // A user of nobody else: its row learns nothing.
    }
    TestDevice device;
    const StepResult step = harness.Run(device, batch), other = harness.Run(device, changed);
    REQUIRE(step.losses[0].sum == other.losses[0].sum);
    REQUIRE(step.losses[0].count == other.losses[0].count);
    const std::unique_ptr<ParameterSet> parameters = harness.Parameters(device);
    const auto tower = static_cast<size_t>(parameters->offset({4}));  // deep.0, out come first.
    REQUIRE(harness.declaration().dense[3].name == "out.bias");
    REQUIRE(SameBits(step.dense_gradients, other.dense_gradients, tower));
    const PreparedBatch prepared = harness.Prepare(changed);
    REQUIRE(harness.declaration().tables[0].name == "user");
    const std::vector<FeatureId>& users = prepared.unique_ids[0];
    const auto row = static_cast<size_t>(std::find(users.begin(), users.end(), 77) - users.begin());
    REQUIRE(row < users.size());
    REQUIRE(other.row_gradients[0][2 * row] == 0.0f);
    REQUIRE(other.row_gradients[0][2 * row + 1] == 0.0f);
  }
}

TEST_CASE("usd predicts without targets, and does not train without them") {
  const FeatureSchema schema = UsdSchema(true);
  const ModelHarness harness("usd", UsdOptions(), schema);
  Batch batch = SmallBatch(schema, 4, 2);
  TestDevice device;
  const StepResult with = harness.Run(device, batch, {.training = false});
  batch.targets.clear();
  const StepResult without = harness.Run(device, batch, {.training = false});
  REQUIRE(with.predictions == without.predictions);
  REQUIRE(with.outputs.at("portal") == without.outputs.at("portal"));
  REQUIRE(without.outputs.at("ctr_weight") == std::vector<float>(4, 1.0f));
  const absl::Status status = harness.TryRun(device, batch, {}).status();
  REQUIRE(status.code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("usd refuses options that do not fit, by name") {
  const auto refused = [](const Options& changes, const std::string& word) {
    Options all = WithHistories(UsdOptions());
    for (const auto& [key, value] : changes) all[key] = value;
    const ModelInfo& info = **FindModel("usd");
    ModelOptions options(info.options);
    for (const auto& [key, value] : all) REQUIRE(options.Set(key, value).ok());
    Declaration declaration;
    RequireInvalid(info.create(options)->Declare(UsdSchema(true), declaration), word);
  };
  const std::vector<std::string> none;
  refused({{"sampling", std::string("visit")}}, "'sampling' is 'visit'");
  refused({{"batch_norm", true}}, "'batch_norm'");
  refused({{"weight_clip", std::vector<double>{1.0}}}, "'weight_clip'");
  refused({{"weight_clip", std::vector<double>{3.0, 2.0}}}, "'weight_clip'");
  refused({{"alpha", -1.0}}, "'alpha' is -1");
  refused({{"portal", std::string("door")}}, "'portal' names 'door'");
  refused({{"day_first", std::string("")}}, "'day_first'");
  refused({{"activity", std::string("")}}, "'activity' is empty");
  refused({{"activity", std::string("genres")}}, "'activity' names 'genres'");
  refused({{"candidate", none}}, "needs 'candidate'");
  refused({{"candidate", std::vector<std::string>{"age"}}}, "'candidate' names 'age'");
  refused({{"long_history", std::vector<std::string>{"item"}}}, "'long_history' names 'item'");
  refused({{"intent_heads", int64_t{3}}}, "'intent_heads' does not divide");
  refused({{"attention_heads", int64_t{0}}}, "'attention_heads' is 0");
}

}  // namespace
}  // namespace pagoda
