#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

using Vector = Oracle::Vector;
using Names = std::vector<std::string>;

const Options kOptions = {{"embedding_dim", int64_t{2}},
                          {"hidden", std::vector<int64_t>{3}},
                          {"din_hidden", std::vector<int64_t>{2}},
                          {"activation", std::string("tanh")},
                          {"candidate", Names{"item", "topic"}},
                          {"sequence", Names{"items", "topics"}},
                          {"short_sequence", Names{"short_items", "short_topics"}},
                          {"profile", Names{"user"}},
                          {"rank", int64_t{3}},
                          {"length", int64_t{9}},
                          {"short_length", int64_t{3}},
                          {"search_length", int64_t{2}},
                          {"attention_dim", int64_t{3}},
                          {"value_dim", int64_t{2}},
                          {"lambda", 0.3}};

Options With(const Options& more) {
  Options options = kOptions;
  for (const auto& [key, value] : more) options[key] = value;
  return options;
}

FeatureSpec IdFeature(const std::string& name) {
  FeatureSpec spec;
  spec.name = name;
  spec.kind = FeatureKind::kId;
  spec.num_buckets = name == "topic" ? 3 : 12;
  return spec;
}

// The histories are a sample's own, or its user's in a side file.
FeatureSchema ShopSchema(bool joined) {
  FeatureSchema schema;
  schema.label = "click";
  FeatureSpec age;
  age.name = "age";
  age.kind = FeatureKind::kNumeric;
  schema.features = {IdFeature("user"), age, IdFeature("item"), IdFeature("topic")};
  for (const bool is_short : {false, true}) {
    for (const char* table : {"item", "topic"}) {
      FeatureSpec spec = HistoryFeature(absl::StrCat(is_short ? "short_" : "", table, "s"), table,
                                        is_short ? 4 : 9);
      spec.num_buckets = std::string(table) == "topic" ? 3 : 12;
      if (joined) spec.join = "users";
      schema.features.push_back(spec);
    }
  }
  if (joined) schema.joins.push_back({.name = "users", .column = "user", .files = {"users.csv"}});
  return schema;
}

// Samples of three users' histories, some more than once, when the schema has a join.
Batch ShopBatch(const FeatureSchema& schema, int64_t size, uint64_t seed) {
  Batch batch = SmallBatch(schema, size, seed);
  if (schema.joins.empty()) return batch;
  BatchJoin join;
  for (int64_t i = 0; i < size; ++i) {
    join.sample_row.push_back(static_cast<int32_t>(std::min<int64_t>(i * i % 5, i)));
    join.num_rows = std::max<int64_t>(join.num_rows, join.sample_row.back() + 1);
  }
  const std::vector<int> sparse = schema.SparseFeatures();
  for (size_t f = 0; f < sparse.size(); ++f) {
    if (schema.features[static_cast<size_t>(sparse[f])].join.empty()) continue;
    RaggedIds& values = batch.sparse[f];
    values.join = 0;
    values.offsets.resize(static_cast<size_t>(join.num_rows) + 1);
    values.ids.resize(static_cast<size_t>(values.offsets.back()));
  }
  batch.joins.push_back(join);
  return batch;
}

size_t RowOf(const Oracle& o, size_t i) {
  return o.batch().joins.empty() ? i : static_cast<size_t>(o.batch().joins[0].sample_row[i]);
}

// The events of a sample, items, topics and age side by side, oldest first.
std::vector<Vector> EventsOf(const Oracle& o, size_t i, const std::string& prefix, bool recency) {
  const std::vector<Vector> items = o.Events(RowOf(o, i), prefix + "items"),
                            topics = o.Events(RowOf(o, i), prefix + "topics");
  std::vector<Vector> events;
  for (size_t j = 0; j < items.size(); ++j) {
    events.push_back(Join(items[j], topics[j]));
    if (!recency) continue;
    const size_t age = items.size() - 1 - j;  // 0 | 1 | 2, 3 | 4 .. 7 | ...
    const size_t row =
        age == 0 ? 0 : 1 + static_cast<size_t>(std::floor(std::log2(static_cast<double>(age))));
    const Vector& table = o.Get("recency");
    for (size_t c = 0; c < 4; ++c) events.back()[c] += table[row * 4 + c];
  }
  return events;
}

Vector Normed(const Oracle& o, const std::string& name, const Vector& x) {
  const double d = static_cast<double>(x.size());
  double mean = 0.0, variance = 0.0;
  for (const double v : x) mean += v / d;
  for (const double v : x) variance += (v - mean) * (v - mean) / d;
  Vector y;
  for (size_t c = 0; c < x.size(); ++c) {
    y.push_back((x[c] - mean) / std::sqrt(variance + 1e-5) * o.Get(name + ".gamma")[c] +
                o.Get(name + ".beta")[c]);
  }
  return y;
}

void Exponentiate(Vector* x) {
  double sum = 0.0;
  for (double& v : *x) sum += v = std::exp(v);
  for (double& v : *x) v /= sum;
}

Vector Din(const Oracle& o, const std::string& name, const Vector& q, std::vector<Vector> events) {
  Vector scores, sum(q.size());
  for (const Vector& k : events) {
    Vector x = Join(Join(q, k), AddScaled(q, k, -1.0));
    for (size_t c = 0; c < q.size(); ++c) x.push_back(q[c] * k[c]);
    scores.push_back(o.Linear(name + ".score", o.Mlp(name, 1, x))[0]);
  }
  Exponentiate(&scores);
  for (size_t j = 0; j < events.size(); ++j) sum = AddScaled(sum, events[j], scores[j]);
  return sum;
}

struct Attention {
  Vector linear, rectified;
  double negativity = 0.0, negative_mass = 0.0, mass = 0.0;
  double below = 0.0, squares = 0.0;
  double NegativeShare() const { return squares > 0.0 ? below / squares : 0.0; }
};

// (3.1) to (3.6), rank 3, width 3, two values.
Attention LowRank(const Oracle& o, const Vector& candidate, std::vector<Vector> events,
                  size_t length, bool adaptive) {
  std::reverse(events.begin(), events.end());  // Newest first.
  if (events.size() > length) events.resize(length);
  Attention result;
  result.linear = result.rectified = Vector(2);
  const size_t l = events.size();
  if (l == 0) return result;
  std::vector<Vector> keys, values, compress(3, Vector(l)), expand(l, Vector(3));
  for (size_t j = 0; j < l; ++j) {
    const Vector s = Normed(o, "lrea.event_norm", events[j]);
    keys.push_back(o.Linear("lrea.key", s));
    values.push_back(o.Linear("lrea.value", s));
    const Vector assigned = adaptive ? o.Linear("lrea.assign", s) : Vector();
    for (size_t r = 0; r < 3; ++r) {
      if (!adaptive) {
        compress[r][j] = o.Get("lrea.compress")[j * 3 + r];
        expand[j][r] = o.Get("lrea.expand")[j * 3 + r];
        continue;
      }
      for (size_t c = 0; c < 3; ++c) {
        compress[r][j] += o.Get("lrea.seeds")[r * 3 + c] * assigned[c];
      }
      expand[j][r] = compress[r][j];
    }
    if (adaptive) Exponentiate(&expand[j]);
  }
  const Vector q = o.Linear("lrea.query", Normed(o, "lrea.candidate_norm", candidate));
  Vector z(3);
  for (size_t r = 0; r < 3; ++r) {
    if (adaptive) Exponentiate(&compress[r]);
    for (size_t j = 0; j < l; ++j) z[r] += compress[r][j] * Dot(keys[j], q) / std::sqrt(3.0);
  }
  const double scale = 1.0 / static_cast<double>(l);
  for (size_t j = 0; j < l; ++j) {
    const double alpha = Dot(expand[j], z);
    result.linear = AddScaled(result.linear, values[j], alpha * scale);
    result.rectified = AddScaled(result.rectified, values[j], std::max(alpha, 0.0) * scale);
    result.negativity += scale * std::pow(std::max(-alpha, 0.0), 2);
    result.below += std::pow(std::max(-alpha, 0.0), 2);
    result.squares += alpha * alpha;
    result.negative_mass += std::max(-alpha, 0.0);
    result.mass += std::fabs(alpha);
  }
  return result;
}

struct Setting {
  std::string attention = "lrea";
  bool adaptive = false, rectified = true, own_short = true, recency = true, by_share = true;
  size_t length = 9;
  Options Make() const {
    return With({{"attention", attention},
                 {"projection", std::string(adaptive ? "adaptive" : "fixed")},
                 {"relu_train", rectified},
                 {"non_negativity", std::string(by_share ? "share" : "size")},
                 {"recency", recency},
                 {"length", static_cast<int64_t>(length)},
                 {"short_sequence", own_short ? Names{"short_items", "short_topics"} : Names{}}});
  }
};

// Of the arm; `served`: as outside of training.
double Logit(const Oracle& o, size_t i, const Setting& s, bool served) {
  const Vector t = Join(o.Row(i, "item"), o.Row(i, "topic"));
  const std::vector<Vector> events = EventsOf(o, i, "", s.recency);
  std::vector<Vector> recent = s.own_short ? EventsOf(o, i, "short_", s.recency) : events;
  if (recent.size() > 3) recent.erase(recent.begin(), recent.end() - 3);
  Vector x = Join(Join(t, Din(o, "short", t, recent)), Join(o.Dense(i), o.Row(i, "user")));
  if (s.attention == "lrea") {
    const Attention a = LowRank(o, t, events, s.length, s.adaptive);
    x = Join(x, Normed(o, "lrea.norm", s.rectified && !served ? a.rectified : a.linear));
  } else if (s.attention == "din_full") {
    x = Join(x, Din(o, "long", t, events));
  } else if (s.attention == "mean") {
    Vector mean(4);
    for (const Vector& event : events) {
      mean = AddScaled(mean, event, 1.0 / static_cast<double>(events.size()));
    }
    x = Join(x, mean);
  } else if (s.attention == "sim_hard") {
    const std::vector<FeatureId> topics = o.EventIds(RowOf(o, i), "topics");
    std::vector<Vector> found;
    for (size_t j = 0; j < events.size(); ++j) {
      if (topics[j] == o.EventIds(i, "topic")[0]) found.push_back(events[j]);
    }
    if (found.size() > 2) found.erase(found.begin(), found.end() - 2);
    x = Join(x, Din(o, "long", t, found));
  }
  return o.Linear("out", o.Mlp("deep", 1, x))[0];
}

double Loss(const Oracle& o, const Setting& s) {
  double loss = MeanLogLoss(o, [&](size_t i) { return Logit(o, i, s, false); });
  double count = 0.0, negativity = 0.0;
  for (size_t i = 0; i < o.batch().weights.size() && s.attention == "lrea"; ++i) {
    const Vector t = Join(o.Row(i, "item"), o.Row(i, "topic"));
    const Attention a = LowRank(o, t, EventsOf(o, i, "", s.recency), s.length, s.adaptive);
    count += double{o.batch().weights[i]};
    negativity += double{o.batch().weights[i]} * (s.by_share ? a.NegativeShare() : a.negativity);
  }
  return count > 0.0 ? loss + 0.3 * negativity / count : loss;
}

double Probability(double logit) {
  return 1.0 / (1.0 + std::exp(-logit));
}

void Check(const Setting& s, bool joined) {
  const ModelHarness harness("lrea", s.Make(), ShopSchema(joined));
  for (const int64_t size : {6, 1, 0}) {
    CAPTURE(s.attention, s.adaptive, s.rectified, s.length, joined, size);
    const Batch batch = ShopBatch(harness.schema(), size, 3);
    CheckAgainstOracle(harness, batch, [&](const Oracle& o) { return Loss(o, s); });
    TestDevice device;
    const Oracle o(harness, device, batch);
    for (const bool training : {true, false}) {
      const StepResult step = harness.Run(device, batch, {.training = training});
      for (size_t i = 0; i < static_cast<size_t>(size); ++i) {
        REQUIRE(double{step.predictions[i]} ==
                Approx(Probability(Logit(o, i, s, !training))).epsilon(1e-5).margin(1e-6));
        if (s.attention != "lrea") continue;
        const Vector t = Join(o.Row(i, "item"), o.Row(i, "topic"));
        const Attention a = LowRank(o, t, EventsOf(o, i, "", s.recency), s.length, s.adaptive);
        REQUIRE(double{step.outputs.at("train_path")[i]} ==
                Approx(Probability(Logit(o, i, s, false))).epsilon(1e-5).margin(1e-6));
        REQUIRE(double{step.outputs.at("negative_mass")[i]} ==
                Approx(a.negative_mass).epsilon(1e-5).margin(1e-6));
        REQUIRE(double{step.outputs.at("attention_mass")[i]} ==
                Approx(a.mass).epsilon(1e-5).margin(1e-6));
      }
    }
  }
}

TEST_CASE("lrea: prediction, loss and every gradient follow the formula, by recency") {
  for (const bool joined : {false, true}) {
    for (const bool rectified : {true, false}) {
      Check({.adaptive = false, .rectified = rectified}, joined);
    }
  }
  Check({.adaptive = false, .length = 5}, true);
  Check({.adaptive = false, .by_share = false}, false);
}

TEST_CASE("lrea: prediction, loss and every gradient follow the formula, by content") {
  for (const bool joined : {false, true}) {
    for (const bool rectified : {true, false}) {
      Check({.adaptive = true, .rectified = rectified}, joined);
    }
  }
  Check({.adaptive = true, .own_short = false, .recency = false, .length = 5}, true);
}

TEST_CASE("lrea's arms read the long history as their formulas say") {
  for (const char* arm : {"din_full", "din_short", "sim_hard", "mean"}) {
    for (const bool joined : {false, true}) Check({.attention = arm}, joined);
  }
}

TEST_CASE("Candidates that share a history give what they give with histories of their own") {
  const FeatureSchema joined_schema = ShopSchema(true);
  const Batch joined = ShopBatch(joined_schema, 7, 5);
  REQUIRE(joined.joins[0].num_rows < 7);
  const FeatureSchema own_schema = ShopSchema(false);
  Batch own = joined;
  own.joins.clear();
  for (size_t f = 0; f < own.sparse.size(); ++f) {
    if (joined.sparse[f].join < 0) continue;
    own.sparse[f] = RaggedIds();
    for (int64_t i = 0; i < 7; ++i) {
      const auto ids = joined.IdsOf(static_cast<int>(f), i);
      own.sparse[f].ids.insert(own.sparse[f].ids.end(), ids.begin(), ids.end());
      own.sparse[f].offsets.push_back(static_cast<int32_t>(own.sparse[f].ids.size()));
    }
  }
  for (const bool adaptive : {false, true}) {
    const Options options = Setting{.adaptive = adaptive}.Make();
    TestDevice device;
    const StepResult a = ModelHarness("lrea", options, joined_schema).Run(device, joined);
    const StepResult b = ModelHarness("lrea", options, own_schema).Run(device, own);
    for (size_t i = 0; i < 7; ++i) {
      REQUIRE(a.predictions[i] == Approx(b.predictions[i]).epsilon(1e-5));
    }
    for (size_t k = 0; k < a.dense_gradients.size(); ++k) {
      REQUIRE(a.dense_gradients[k] == Approx(b.dense_gradients[k]).epsilon(1e-4).margin(1e-5));
    }
  }
}

TEST_CASE(
    "lrea starts with weights that differ from zero, and with a gradient to its projections") {
  for (const bool adaptive : {false, true}) {
    ModelHarness harness("lrea", Setting{.adaptive = adaptive}.Make(), ShopSchema(false));
    harness.UseInitialParameters();
    const Batch batch = SmallBatch(harness.schema(), 64, 3);
    TestDevice device;
    const StepResult step = harness.Run(device, batch);
    double mass = 0.0;
    for (const float m : step.outputs.at("attention_mass")) mass += double{m};
    const int32_t events = batch.sparse[3].offsets.back();
    CAPTURE(adaptive, mass, events);
    REQUIRE(mass / events > 0.05);
    const std::unique_ptr<ParameterSet> parameters = harness.Parameters(device);
    const std::vector<DenseDecl>& dense = harness.declaration().dense;
    int found = 0;
    for (size_t i = 0; i < dense.size(); ++i) {
      if (dense[i].name != "lrea.compress" && dense[i].name != "lrea.expand" &&
          dense[i].name != "lrea.seeds") {
        continue;
      }
      const float* gradient =
          step.dense_gradients.data() + parameters->offset({static_cast<int>(i)});
      double most = 0.0;
      for (int64_t k = 0; k < NumElements(dense[i].shape); ++k) {
        most = std::max(most, std::fabs(double{gradient[k]}));
      }
      INFO(dense[i].name);
      REQUIRE(most > 1e-4);
      ++found;
    }
    REQUIRE(found == (adaptive ? 1 : 2));
  }
}

TEST_CASE("lrea refuses options and histories that do not fit, by name") {
  const auto refused = [](const std::string& key, const OptionValue& value,
                          const std::string& word) {
    const ModelInfo& info = **FindModel("lrea");
    ModelOptions options(info.options);
    for (const auto& [k, v] : kOptions) REQUIRE(options.Set(k, v).ok());
    REQUIRE(options.Set(key, value).ok());
    Declaration declaration;
    RequireInvalid(info.create(options)->Declare(ShopSchema(false), declaration), word);
  };
  refused("candidate", Names{}, "'candidate' names no feature");
  refused("candidate", Names{"itm", "topic"}, "'itm'");
  refused("candidate", Names{"items", "topic"}, "'items', which is no pooled feature");
  refused("sequence", Names{"item", "topics"}, "'item', which is no sequence feature");
  refused("sequence", Names{"items"}, "'sequence' must have a feature for each");
  refused("short_sequence", Names{"short_items"}, "'short_sequence' must have a feature for each");
  refused("profile", Names{"age"}, "'age'");
  refused("attention", std::string("lora"), "'lora'");
  refused("projection", std::string("fix"), "'fix'");
  refused("rank", int64_t{0}, "'rank' is 0");
  refused("rank", int64_t{10}, "'rank' is 10, above 'length' 9");
  refused("non_negativity", std::string("sum"), "must be 'share' or 'size'");
  refused("lambda", -1.0, "'lambda' is -1");
  const ModelHarness harness("lrea", kOptions, ShopSchema(false));
  Batch batch = SmallBatch(harness.schema(), 3, 3);
  RaggedIds& topics = batch.sparse[4];
  topics.ids.push_back(1);
  ++topics.offsets.back();
  TestDevice device;
  RequireInvalid(harness.TryRun(device, batch, {}).status(),
                 "'topics' has other numbers of values");
}

}  // namespace
}  // namespace pagoda
