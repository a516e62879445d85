#include "algorithms/msnet/auxiliary_pairs.h"
#include "tests/algorithms/model_harness.h"

namespace pagoda {
namespace {

using Vector = Oracle::Vector;
using Names = std::vector<std::string>;

FeatureSchema MsNetSchema(bool numeric) {
  FeatureSchema schema = SmallSchema(numeric);
  const auto add = [&](FeatureSpec spec, int64_t num_ids) {
    spec.num_buckets = num_ids;
    schema.features.push_back(spec);
  };
  FeatureSpec stock = HistoryFeature("stock", "stock", 0);
  stock.separator.clear();
  add(stock, 2);
  FeatureSpec brand = stock;
  brand.name = brand.table = "brand";
  add(brand, 3);
  add(HistoryFeature("past_item", "item", 7), 12);
  add(HistoryFeature("past_genre", "genres", 7), 3);
  add(HistoryFeature("past_brand", "brand", 7), 3);
  add(HistoryFeature("past_age", "age_bucket", 7), 4);
  add(HistoryFeature("past_stock", "stock", 7), 2);
  return schema;
}

Options MsNetOptions(const std::string& arm) {
  return {{"arm", arm},
          {"embedding_dim", int64_t{2}},
          {"hidden", std::vector<int64_t>{3}},
          {"activation", std::string("tanh")},
          {"sides", Names{"genres", "brand"}},
          {"history_item", std::string("past_item")},
          {"history_sides", Names{"past_genre", "past_brand"}},
          {"history_context", Names{"past_age"}},
          {"history_stock", std::string("past_stock")},
          {"history_category", std::string("past_genre")},
          {"meta_hidden", int64_t{3}},
          {"attention_dim", int64_t{4}},
          {"attention_heads", int64_t{2}},
          {"gamma", 0.6},
          {"events", int64_t{3}},
          {"aux_events", int64_t{2}},
          {"aux_negatives", int64_t{2}},
          {"aux_window", int64_t{2}}};
}

// One sample's forward pass. `fixed` holds the parameters before any difference was taken: what
// the shifting network reads of an item's row is a constant for backward.
class Formula {
 public:
  Formula(const Oracle& o, const Oracle& fixed, std::string arm)
      : o_(o), fixed_(fixed), arm_(std::move(arm)) {}

  bool has_meta() const { return arm_ == "meta" || arm_ == "aux"; }

  Vector Meta(const Vector& item, const Vector& constant_item, const Vector& sides) const {
    const auto network = [&](const std::string& name, const Vector& x) {
      Vector hidden = o_.Linear(name + ".0", x);
      for (double& value : hidden) value = std::max(value, 0.0);
      return o_.Linear(name + ".1", hidden);
    };
    const Vector scale = network("meta_scale", sides);
    const Vector shift = network("meta_shift", Join(constant_item, sides));
    Vector out;
    for (size_t c = 0; c < item.size(); ++c) {
      out.push_back(item[c] * (1.0 + std::tanh(scale[c])) + shift[c]);
    }
    return out;
  }

  bool LimitedTarget(size_t i) const {
    return o_.batch().sparse[static_cast<size_t>(o_.schema().SparseIndex("stock"))].ids[i] == 1;
  }

  Vector Candidate(size_t i) const {
    const Vector sides = Join(o_.Row(i, "genres"), o_.Row(i, "brand"));
    if (!has_meta() || !LimitedTarget(i)) return Join(o_.Row(i, "item"), sides);
    return Join(Meta(o_.Row(i, "item"), fixed_.Row(i, "item"), sides), sides);
  }

  // Events with the given stock (-1: all), the last `last`.
  std::vector<Vector> Stream(size_t i, int stock, size_t last,
                             std::vector<bool>* limited = nullptr) const {
    const std::vector<FeatureId> stocks = o_.EventIds(i, "past_stock");
    const std::vector<Vector> items = o_.Events(i, "past_item"),
                              constants = fixed_.Events(i, "past_item"),
                              genres = o_.Events(i, "past_genre"),
                              brands = o_.Events(i, "past_brand"), ages = o_.Events(i, "past_age");
    std::vector<Vector> stream;
    for (size_t j = 0; j < stocks.size(); ++j) {
      if (stock >= 0 && static_cast<int>(stocks[j]) != stock) continue;
      const Vector sides = Join(genres[j], brands[j]);
      const bool shifted = has_meta() && stocks[j] == 1;
      stream.push_back(
          Join(Join(shifted ? Meta(items[j], constants[j], sides) : items[j], sides), ages[j]));
      if (limited != nullptr) limited->push_back(stocks[j] == 1);
    }
    if (stream.size() > last) {
      const auto dropped = static_cast<std::ptrdiff_t>(stream.size() - last);
      stream.erase(stream.begin(), stream.begin() + dropped);
      if (limited != nullptr) limited->erase(limited->begin(), limited->begin() + dropped);
    }
    return stream;
  }

  // [x; z; z (x) W q], or without the product where the model has no W.
  Vector AddInterest(const Vector& x, const std::string& match, const Vector& candidate,
                     const Vector& z) const {
    if (o_.values.count(match + ".weight") == 0) return Join(x, z);
    Vector product = o_.Linear(match, candidate);
    for (size_t c = 0; c < z.size(); ++c) product[c] *= z[c];
    return Join(Join(x, z), product);
  }

  // The logit, and the share of attention on limited events.
  double Logit(size_t i, double* mass = nullptr) const {
    Vector x = Join(o_.Dense(i), Join(o_.Row(i, "user"), o_.Row(i, "friends")));
    const Vector candidate = Candidate(i);
    x = Join(Join(x, candidate), {LimitedTarget(i) ? 1.0 : 0.0});
    std::vector<Vector> weights;
    if (arm_ == "din") {
      std::vector<bool> limited;
      const std::vector<Vector> events = Stream(i, -1, 6, &limited);
      x = AddInterest(x, "match", candidate,
                      MultiHead(o_, "attention", candidate, events, 2, &weights));
      for (size_t j = 0; mass != nullptr && j < limited.size(); ++j) {
        if (limited[j]) *mass += (weights[0][j] + weights[1][j]) / 2.0;
      }
    } else {
      x = AddInterest(x, "match", candidate,
                      MultiHead(o_, "attention", candidate, Stream(i, 0, 3), 2));
      const std::vector<Vector> limited = Stream(i, 1, 3);
      x = AddInterest(x, "limited_match", candidate,
                      MultiHead(o_, "limited_attention", candidate, limited, 2, &weights));
      if (mass != nullptr) *mass = limited.empty() ? 0.0 : 1.0;
    }
    return o_.Linear("out", o_.Mlp("deep", 1, x))[0];
  }

 private:
  const Oracle& o_;
  const Oracle& fixed_;
  std::string arm_;
};

// Places of the batch's events with the given stock, the last three of each sample.
nn::EventStream StreamOf(const Oracle& o, FeatureId stock) {
  const auto position = static_cast<size_t>(o.schema().SparseIndex("past_stock"));
  const RaggedIds& stocks = o.batch().sparse[position];
  return nn::SelectEvents(
      stocks.offsets, [&](int32_t p) { return stocks.ids[static_cast<size_t>(p)] == stock; }, 3);
}

AuxiliaryPairs PairsOf(const Oracle& o) {
  const nn::EventStream limited = StreamOf(o, 1), deep = StreamOf(o, 0);
  const auto ids = [&](const char* name) {
    return &o.batch().sparse[static_cast<size_t>(o.schema().SparseIndex(name))].ids;
  };
  AuxiliaryInput input;
  input.own = input.pool = {&limited, ids("past_item"), ids("past_genre"), *ids("user")};
  input.deep = &deep;
  input.first_sample = o.batch().first_sample;
  AuxiliarySettings settings;
  settings.events = settings.negatives = settings.window = 2;
  settings.key = RandomKey{41};  // The harness gives it to negatives.
  return DrawAuxiliaryPairs(input, settings);
}

Vector Mean(const std::vector<Vector>& rows, const std::vector<int32_t>& places, int32_t begin,
            int32_t end, size_t width) {
  Vector mean(width);
  for (int32_t k = begin; k < end; ++k) {
    mean = AddScaled(mean, rows[static_cast<size_t>(places[static_cast<size_t>(k)])],
                     1.0 / (end - begin));
  }
  return mean;
}

double AuxiliaryLoss(const Oracle& o, const Oracle& fixed) {
  const AuxiliaryPairs pairs = PairsOf(o);
  const Formula formula(o, fixed, "aux");
  std::vector<Vector> limited, deep, all;  // All: item and sides alone, as if all were limited.
  for (size_t i = 0; i < static_cast<size_t>(o.batch().size); ++i) {
    for (Vector& event : formula.Stream(i, 1, 3)) limited.push_back(event);
    for (Vector& event : formula.Stream(i, 0, 3)) deep.push_back(event);
    const std::vector<Vector> items = o.Events(i, "past_item"),
                              constants = fixed.Events(i, "past_item"),
                              genres = o.Events(i, "past_genre"),
                              brands = o.Events(i, "past_brand");
    for (size_t j = 0; j < items.size(); ++j) {
      all.push_back(formula.Meta(items[j], constants[j], Join(genres[j], brands[j])));
    }
  }
  double sum = 0.0;
  std::vector<Vector> users;
  for (size_t t = 0; t < pairs.terms.size(); ++t) {
    const Vector before =
        Join(Mean(limited, pairs.earlier_limited, pairs.limited_offsets[t],
                  pairs.limited_offsets[t + 1], 8),
             Mean(deep, pairs.earlier_deep, pairs.deep_offsets[t], pairs.deep_offsets[t + 1], 8));
    users.push_back(o.Linear("aux_user", before));
    const Vector& event = limited[static_cast<size_t>(pairs.terms[t])];
    sum += LogLossOf(Dot(users[t], Vector(event.begin(), event.begin() + 2)), 1.0);
  }
  for (size_t p = 0; p < pairs.others.size(); ++p) {
    const Vector& user = users[static_cast<size_t>(pairs.other_term[p])];
    sum += 0.5 * LogLossOf(Dot(user, all[static_cast<size_t>(pairs.others[p])]), 0.0);
  }
  return pairs.terms.empty() ? 0.0 : sum / static_cast<double>(pairs.terms.size());
}

TEST_CASE("msnet: losses, attention on limited items and every gradient follow the formulas") {
  for (const std::string arm : {"din", "split", "meta", "aux"}) {
    for (const int64_t size : {5, 1, 0}) {
      CAPTURE(arm, size);
      const FeatureSchema schema = MsNetSchema(size == 5);
      Options options = MsNetOptions(arm);
      options["products"] = arm != "split";
      const ModelHarness harness("msnet", options, schema);
      const Batch batch = SmallBatch(schema, size, 6);
      TestDevice device;
      const Oracle fixed(harness, device, batch);
      if (size == 5) REQUIRE(PairsOf(fixed).terms.size() > 2);
      CheckAgainstOracle(harness, batch, [&](const Oracle& o) {
        const Formula formula(o, fixed, arm);
        const double ctr = MeanLogLoss(o, [&](size_t i) { return formula.Logit(i); });
        return arm == "aux" ? ctr + 0.6 * AuxiliaryLoss(o, fixed) : ctr;
      });
      const Formula formula(fixed, fixed, arm);
      for (const bool training : {true, false}) {
        const StepResult step = harness.Run(device, batch, {.training = training});
        REQUIRE(step.losses.size() == (training && arm == "aux" ? 2 : 1));
        for (size_t i = 0; i < static_cast<size_t>(size); ++i) {
          double mass = 0.0;
          const double want = 1.0 / (1.0 + std::exp(-formula.Logit(i, &mass)));
          REQUIRE(double{step.predictions[i]} == Approx(want).epsilon(1e-5).margin(1e-6));
          REQUIRE(double{step.outputs.at("limited_mass")[i]} == Approx(mass).margin(1e-5));
        }
      }
    }
  }
}

TEST_CASE("msnet's meta networks begin as the identity") {
  const FeatureSchema schema = MsNetSchema(true);
  const Batch batch = SmallBatch(schema, 9, 6);
  const auto run = [&](const std::string& arm) {
    ModelHarness harness("msnet", MsNetOptions(arm), schema);
    harness.UseInitialParameters();
    TestDevice device;
    return harness.Run(device, batch);
  };
  const StepResult split = run("split"), meta = run("meta");
  REQUIRE(split.predictions == meta.predictions);
  REQUIRE(split.losses[0].sum == meta.losses[0].sum);
}

// The gradient of a row of table "item".
std::vector<float> GradientOfItem(const ModelHarness& harness, const Batch& batch, FeatureId id) {
  TestDevice device;
  const StepResult step = harness.Run(device, batch);
  const PreparedBatch prepared = harness.Prepare(batch);
  for (size_t t = 0; t < prepared.unique_ids.size(); ++t) {
    if (harness.declaration().tables[t].name != "item") continue;
    const std::vector<FeatureId>& ids = prepared.unique_ids[t];
    const auto row = static_cast<size_t>(std::find(ids.begin(), ids.end(), id) - ids.begin());
    REQUIRE(row < ids.size());
    return {step.row_gradients[t][2 * row], step.row_gradients[t][2 * row + 1]};
  }
  return {};
}

TEST_CASE("the auxiliary loss teaches the row of a sold item that is no candidate any more") {
  const FeatureSchema schema = MsNetSchema(true);
  Batch batch = SmallBatch(schema, 9, 6);
  TestDevice device;
  ModelHarness with("msnet", MsNetOptions("aux"), schema);
  ModelHarness without("msnet", MsNetOptions("meta"), schema);
  const AuxiliaryPairs pairs = PairsOf(Oracle(with, device, batch));
  REQUIRE_FALSE(pairs.terms.empty());
  // One of the events asked about becomes an item that is nowhere else: sold, it is only history.
  const nn::EventStream limited = StreamOf(Oracle(with, device, batch), 1);
  const int32_t event = limited.rows[static_cast<size_t>(pairs.terms[0])];
  const FeatureId sold = 99;
  batch.sparse[static_cast<size_t>(schema.SparseIndex("past_item"))]
      .ids[static_cast<size_t>(event)] = sold;
  // Attention passes gradient to it, unless its values count for nothing.
  const std::vector<float> zero = {0.0f, 0.0f};
  REQUIRE(GradientOfItem(without, batch, sold) != zero);
  for (ModelHarness* harness : {&with, &without}) {
    harness->FillParameter("attention.value.weight", 0.0f);
    harness->FillParameter("limited_attention.value.weight", 0.0f);
  }
  REQUIRE(GradientOfItem(without, batch, sold) == zero);
  REQUIRE(GradientOfItem(with, batch, sold) != zero);
}

TEST_CASE("msnet on two halves of a batch has the losses and gradients of all of it") {
  const FeatureSchema schema = MsNetSchema(true);
  Batch all = SmallBatch(schema, 9, 6);
  all.first_sample = all.global_first_sample = 18;
  const ModelHarness harness("msnet", MsNetOptions("aux"), schema);
  TestDevice device;
  const StepResult one = harness.Run(device, all);
  const std::vector<double> counts = {one.losses[0].count, one.losses[1].count};
  REQUIRE(counts[1] > 4.0);
  // By table and id; only rows that learn.
  using RowGradients = std::map<std::pair<std::string, FeatureId>, Oracle::Vector>;
  const auto add_rows = [&](const Batch& batch, const StepResult& step, RowGradients* sums) {
    const PreparedBatch prepared = harness.Prepare(batch);
    for (size_t t = 0; t < prepared.unique_ids.size(); ++t) {
      const TableDecl& table = harness.declaration().tables[t];
      const auto dim = static_cast<size_t>(table.dim);
      for (size_t r = 0; r < prepared.unique_ids[t].size(); ++r) {
        Vector& sum = (*sums)[{table.name, prepared.unique_ids[t][r]}];
        sum.resize(dim);
        for (size_t c = 0; c < dim; ++c) sum[c] += double{step.row_gradients[t][r * dim + c]};
      }
    }
  };
  RowGradients rows, part_rows;
  add_rows(all, one, &rows);
  Vector dense(one.dense_gradients.size());
  std::vector<double> sums(2), part_counts(2);
  for (const int64_t begin : {0, 4}) {
    const int64_t end = begin == 0 ? 4 : 9;
    Batch part = SubBatch(all, schema, begin, end);
    part.global_first_sample = all.global_first_sample;
    part.whole = std::make_shared<const Batch>(all);
    part.first_of_whole = begin;
    const StepResult step = harness.Run(device, part, {.global_counts = counts});
    add_rows(part, step, &part_rows);
    for (size_t k = 0; k < dense.size(); ++k) dense[k] += double{step.dense_gradients[k]};
    for (size_t k = 0; k < 2; ++k) {
      sums[k] += step.losses[k].sum;
      part_counts[k] += step.losses[k].count;
    }
  }
  for (size_t k = 0; k < 2; ++k) {
    REQUIRE(part_counts[k] == Approx(counts[k]));
    REQUIRE(sums[k] == Approx(one.losses[k].sum).epsilon(1e-5));
  }
  for (size_t k = 0; k < dense.size(); ++k) {
    REQUIRE(dense[k] == Approx(double{one.dense_gradients[k]}).epsilon(1e-4).margin(1e-6));
  }
  REQUIRE(rows.size() == part_rows.size());
  for (const auto& [row, gradient] : rows) {
    CAPTURE(row.first, row.second);
    for (size_t c = 0; c < gradient.size(); ++c) {
      REQUIRE(part_rows.at(row)[c] == Approx(gradient[c]).epsilon(1e-4).margin(1e-6));
    }
  }
}

TEST_CASE("limited events are not crowded out: deep-stock events leave their attention as it is") {
  const FeatureSchema schema = MsNetSchema(true);
  Batch batch = SmallBatch(schema, 9, 6), more = batch;
  // More deep-stock events at the end of every history, all with an item of their own.
  for (const char* name : {"past_item", "past_genre", "past_brand", "past_age", "past_stock"}) {
    RaggedIds& cells = more.sparse[static_cast<size_t>(schema.SparseIndex(name))];
    const RaggedIds old = cells;
    cells = RaggedIds();
    for (size_t i = 0; i + 1 < old.offsets.size(); ++i) {
      cells.ids.insert(cells.ids.end(), old.ids.begin() + old.offsets[i],
                       old.ids.begin() + old.offsets[i + 1]);
      cells.ids.insert(cells.ids.end(), 20, std::string(name) == "past_stock" ? 0 : 1);
      cells.offsets.push_back(static_cast<int32_t>(cells.ids.size()));
    }
  }
  TestDevice device;
  Options options = MsNetOptions("split");
  options["events"] = int64_t{50};
  ModelHarness split("msnet", options, schema);
  split.FillParameter("attention.output.weight", 0.0f);  // Of the deep stream.
  REQUIRE(split.Run(device, batch).predictions == split.Run(device, more).predictions);
  options["arm"] = std::string("din");
  const ModelHarness din("msnet", options, schema);
  const std::vector<float> before = din.Run(device, batch).outputs.at("limited_mass");
  const std::vector<float> after = din.Run(device, more).outputs.at("limited_mass");
  for (size_t i = 0; i < before.size(); ++i) {
    REQUIRE((before[i] == 0.0f || after[i] < before[i]));
  }
}

TEST_CASE("msnet refuses what does not fit the schema or the batch, by name") {
  const auto refused = [](const Options& changes, const std::string& word) {
    Options all = MsNetOptions("aux");
    for (const auto& [key, value] : changes) all[key] = value;
    const ModelInfo& info = **FindModel("msnet");
    ModelOptions options(info.options);
    for (const auto& [key, value] : all) REQUIRE(options.Set(key, value).ok());
    Declaration declaration;
    RequireInvalid(info.create(options)->Declare(MsNetSchema(true), declaration), word);
  };
  refused({{"arm", std::string("full")}}, "'arm' is 'full'");
  refused({{"item", std::string("hours")}}, "'item' names 'hours'");
  refused({{"item", std::string("past_item")}}, "a sequence");
  refused({{"sides", Names{}}, {"history_sides", Names{}}}, "needs option 'sides'");
  refused({{"history_sides", Names{"past_genre"}}}, "'history_sides' names 1 features for the 2");
  refused({{"history_item", std::string("item")}}, "'history_item' names 'item'");
  refused({{"history_stock", std::string("stock")}}, "'history_stock' names 'stock'");
  refused({{"history_category", std::string("genres")}}, "'history_category'");
  refused({{"user", std::string("nobody")}}, "'user' names 'nobody'");
  refused({{"gamma", -0.1}}, "'gamma' is -0.1");
  refused({{"attention_heads", int64_t{3}}}, "'attention_heads' does not divide");
  refused({{"aux_events", int64_t{0}}}, "'aux_events' is 0");

  const FeatureSchema schema = MsNetSchema(true);
  const ModelHarness harness("msnet", MsNetOptions("aux"), schema);
  Batch batch = SmallBatch(schema, 3, 6);
  RaggedIds& stocks = batch.sparse[static_cast<size_t>(schema.SparseIndex("past_stock"))];
  stocks.ids.push_back(1);
  ++stocks.offsets.back();
  TestDevice device;
  RequireInvalid(harness.TryRun(device, batch, {}).status(), "'past_stock'");
  // So is a row of another worker.
  Batch own = SmallBatch(schema, 2, 6);
  own.whole = std::make_shared<const Batch>(batch);
  RequireInvalid(harness.TryRun(device, own, {}).status(), "'past_stock'");
}

}  // namespace
}  // namespace pagoda
