#include "tests/algorithms/sequence_formula.h"

#include <algorithm>

namespace pagoda {
namespace {

using Vector = Oracle::Vector;

FeatureSpec IdFeature(const std::string& name, const std::string& table, int64_t num_buckets) {
  FeatureSpec spec;
  spec.name = name;
  spec.kind = FeatureKind::kId;
  spec.table = table;
  spec.num_buckets = num_buckets;
  return spec;
}

Vector LayerNorm(const Oracle& oracle, const std::string& name, const Vector& x) {
  const double n = static_cast<double>(x.size());
  double mean = 0.0, var = 0.0;
  for (double v : x) mean += v / n;
  for (double v : x) var += (v - mean) * (v - mean) / n;
  Vector y(x.size());
  for (size_t c = 0; c < x.size(); ++c) {
    y[c] = oracle.Get(name + ".gamma")[c] * (x[c] - mean) / std::sqrt(var + 1e-8) +
           oracle.Get(name + ".beta")[c];
  }
  return y;
}

OracleRows LayerNormRows(const Oracle& oracle, const std::string& name, const OracleRows& rows) {
  OracleRows out;
  for (const Vector& x : rows) out.push_back(LayerNorm(oracle, name, x));
  return out;
}

OracleRows AddRows(const OracleRows& a, const OracleRows& b) {
  OracleRows out;
  for (size_t t = 0; t < a.size(); ++t) out.push_back(AddScaled(a[t], b[t]));
  return out;
}

OracleRows CausalAttention(const OracleRows& q, const OracleRows& k, const OracleRows& v,
                           size_t heads) {
  OracleRows out;
  for (size_t t = 0; t < q.size(); ++t) {
    const auto end = static_cast<std::ptrdiff_t>(t) + 1;
    out.push_back(Attend(q[t], OracleRows(k.begin(), k.begin() + end),
                         OracleRows(v.begin(), v.begin() + end), heads));
  }
  return out;
}

// Su et al. 2021: pairs (2i, 2i + 1) of a head turn by t * 10000^(-2i / width).
OracleRows Turn(const OracleRows& rows, size_t heads) {
  OracleRows out = rows;
  for (size_t t = 0; t < rows.size(); ++t) {
    const size_t width = rows[t].size() / heads;
    for (size_t c = 0; c < rows[t].size(); c += 2) {
      const double angle =
          static_cast<double>(t) *
          std::pow(10000.0, -static_cast<double>(c % width) / static_cast<double>(width));
      out[t][c] = rows[t][c] * std::cos(angle) - rows[t][c + 1] * std::sin(angle);
      out[t][c + 1] = rows[t][c] * std::sin(angle) + rows[t][c + 1] * std::cos(angle);
    }
  }
  return out;
}

size_t PlaceOf(const NextItemFormula& formula, size_t sample, size_t t, size_t j) {
  if (formula.scope == "batch") return j;
  if (formula.scope == "sample") return sample * formula.count + j;
  return (sample * formula.last + t) * formula.count + j;
}

// What followed event t of a sample; false: nothing did.
bool NextOf(const Oracle& oracle, size_t sample, size_t t, FeatureId* next) {
  const std::vector<FeatureId> history = oracle.EventIds(sample, "history");
  const std::vector<FeatureId> item = oracle.EventIds(sample, "item");
  const bool taken =
      !item.empty() && (oracle.schema().label.empty() || oracle.batch().labels[sample] > 0.0f);
  if (t + 1 < history.size()) {
    *next = history[t + 1];
    return true;
  }
  if (taken) *next = item[0];
  return taken;
}

double EventLoss(const Oracle& oracle, const NextItemFormula& formula, const Vector& state,
                 FeatureId next, size_t sample, size_t t) {
  std::vector<FeatureId> own = oracle.EventIds(sample, "history");
  for (FeatureId id : oracle.EventIds(sample, "item")) own.push_back(id);
  const auto score = [&](FeatureId id) {
    const Vector& row = oracle.Get(absl::StrCat("item/", id));
    if (formula.cosine) return Dot(UnitLength(state), UnitLength(row)) / formula.temperature;
    return Dot(state, row) / formula.temperature;
  };
  const double positive = score(next) - formula.log_q;
  double total = std::exp(positive);
  double yes_or_no = std::log1p(std::exp(-positive));
  for (size_t j = 0; j < formula.count; ++j) {
    const FeatureId id = formula.drawn[PlaceOf(formula, sample, t, j)];
    if (id != next) total += std::exp(score(id) - formula.log_q);
    const bool is_own = std::find(own.begin(), own.end(), id) != own.end();
    if (!is_own) yes_or_no += std::log1p(std::exp(score(id)));
  }
  return formula.loss == "bce" ? yes_or_no : std::log(total) - positive;
}

}  // namespace

FeatureSchema SequenceSchema() {
  FeatureSchema schema;
  schema.label = "click";
  schema.features = {IdFeature("user", "", 0), IdFeature("item", "", 0),
                     HistoryFeature("history", "item", 4), IdFeature("category", "", 3),
                     HistoryFeature("categories", "category", 4)};
  schema.features.back().num_buckets = 3;
  return schema;
}

OracleRows LinearRows(const Oracle& oracle, const std::string& name, const OracleRows& rows) {
  OracleRows out;
  for (const Vector& x : rows) out.push_back(oracle.Linear(name, x));
  return out;
}

OracleRows RmsNormRows(const Oracle& oracle, const std::string& name, const OracleRows& rows) {
  OracleRows out;
  for (const Vector& x : rows) {
    const double scale = 1.0 / std::sqrt(Dot(x, x) / static_cast<double>(x.size()) + 1e-5);
    Vector y = oracle.Get(name + ".gamma");
    for (size_t c = 0; c < y.size(); ++c) y[c] *= x[c] * scale;
    out.push_back(y);
  }
  return out;
}

Vector UnitLength(Vector x) {
  const double norm = std::sqrt(Dot(x, x) + 1e-12);
  for (double& v : x) v /= norm;
  return x;
}

OracleRows SasRecStates(const Oracle& oracle, const std::string& name, size_t layers, size_t heads,
                        OracleRows rows) {
  for (size_t l = 0; l < layers; ++l) {
    const std::string block = absl::StrCat(name, ".", l);
    const OracleRows n = LayerNormRows(oracle, block + ".attention_norm", rows);
    const OracleRows u =
        AddRows(n, CausalAttention(LinearRows(oracle, block + ".attention.query", n),
                                   LinearRows(oracle, block + ".attention.key", rows),
                                   LinearRows(oracle, block + ".attention.value", rows), heads));
    const OracleRows m = LayerNormRows(oracle, block + ".feed_forward_norm", u);
    OracleRows hidden = LinearRows(oracle, block + ".feed_forward.up", m);
    for (Vector& x : hidden) {
      for (double& v : x) v = std::max(v, 0.0);
    }
    rows = AddRows(m, LinearRows(oracle, block + ".feed_forward.down", hidden));
  }
  return LayerNormRows(oracle, name + ".norm", rows);
}

OracleRows GpsdStates(const Oracle& oracle, const std::string& name, size_t layers, size_t heads,
                      OracleRows rows) {
  for (size_t l = 0; l < layers; ++l) {
    const std::string block = absl::StrCat(name, ".", l);
    const OracleRows n = RmsNormRows(oracle, block + ".attention_norm", rows);
    const OracleRows attended =
        CausalAttention(Turn(LinearRows(oracle, block + ".attention.query", n), heads),
                        Turn(LinearRows(oracle, block + ".attention.key", n), heads),
                        LinearRows(oracle, block + ".attention.value", n), heads);
    const OracleRows u = AddRows(rows, LinearRows(oracle, block + ".attention.output", attended));
    const OracleRows m = RmsNormRows(oracle, block + ".feed_forward_norm", u);
    OracleRows hidden = LinearRows(oracle, block + ".feed_forward.gate", m);
    const OracleRows up = LinearRows(oracle, block + ".feed_forward.up", m);
    for (size_t t = 0; t < hidden.size(); ++t) {
      for (size_t c = 0; c < hidden[t].size(); ++c) {
        hidden[t][c] *= up[t][c] / (1.0 + std::exp(-hidden[t][c]));
      }
    }
    rows = AddRows(u, LinearRows(oracle, block + ".feed_forward.down", hidden));
  }
  return RmsNormRows(oracle, name + ".norm", rows);
}

double MeanNextItemLoss(const Oracle& oracle, const NextItemFormula& formula,
                        const StatesOf& states) {
  double sum = 0.0, count = 0.0;
  for (size_t i = 0; i < static_cast<size_t>(oracle.batch().size); ++i) {
    const OracleRows rows = states(oracle, i);
    for (size_t t = 0; t < oracle.EventIds(i, "history").size(); ++t) {
      FeatureId next = 0;
      if (!NextOf(oracle, i, t, &next)) continue;
      const double weight = double{oracle.batch().weights[i]};
      sum += weight * EventLoss(oracle, formula, rows[t], next, i, t);
      count += weight;
    }
  }
  return count > 0.0 ? sum / count : 0.0;
}

void CheckPartsAddUp(const ModelHarness& harness, const Batch& batch, int64_t first_part) {
  TestDevice device;
  const StepResult whole = harness.Run(device, batch);
  StepSettings settings;
  for (const LossValue& loss : whole.losses) settings.global_counts.push_back(loss.count);
  const Batch parts[] = {SubBatch(batch, harness.schema(), 0, first_part),
                         SubBatch(batch, harness.schema(), first_part, batch.size)};
  std::vector<double> dense(whole.dense_gradients.size());
  std::vector<std::map<FeatureId, Vector>> rows(harness.declaration().tables.size());
  std::vector<double> sums(whole.losses.size());
  for (const Batch& part : parts) {
    const StepResult step = harness.Run(device, part, settings);
    for (size_t k = 0; k < sums.size(); ++k) sums[k] += step.losses[k].sum;
    for (size_t i = 0; i < dense.size(); ++i) dense[i] += double{step.dense_gradients[i]};
    const PreparedBatch prepared = harness.Prepare(part);
    for (size_t table = 0; table < rows.size(); ++table) {
      const auto dim = static_cast<size_t>(harness.declaration().tables[table].dim);
      const float* gradient = step.row_gradients[table].data();
      for (FeatureId id : prepared.unique_ids[table]) {
        Vector& sum = rows[table][id];
        sum.resize(dim);
        for (size_t c = 0; c < dim; ++c) sum[c] += double{*gradient++};
      }
    }
  }
  for (size_t k = 0; k < sums.size(); ++k) {
    REQUIRE(sums[k] == Approx(whole.losses[k].sum).epsilon(1e-5));
  }
  for (size_t i = 0; i < dense.size(); ++i) {
    INFO("dense gradient " << i);
    REQUIRE(dense[i] == Approx(double{whole.dense_gradients[i]}).epsilon(1e-4).margin(1e-5));
  }
  const PreparedBatch prepared = harness.Prepare(batch);
  for (size_t table = 0; table < rows.size(); ++table) {
    const float* gradient = whole.row_gradients[table].data();
    for (FeatureId id : prepared.unique_ids[table]) {
      INFO("table " << table << " id " << id);
      for (double sum : rows[table].at(id)) {
        REQUIRE(sum == Approx(double{*gradient++}).epsilon(1e-4).margin(1e-5));
      }
    }
  }
}

void CheckEveryDevice(const ModelHarness& harness, const Batch& batch) {
  RunEverywhere([&](TestDevice& device) {
    const StepResult step = harness.Run(device, batch);
    std::vector<float> all = step.dense_gradients;
    for (const std::vector<float>* more :
         {&step.predictions, &step.embeddings.user, &step.embeddings.item, &step.dense_values}) {
      all.insert(all.end(), more->begin(), more->end());
    }
    for (const std::vector<float>& rows : step.row_gradients) {
      all.insert(all.end(), rows.begin(), rows.end());
    }
    return all;
  });
}

}  // namespace pagoda
