// A model of one layer over sequences, and what its oracle needs: histories of items, and a
// candidate item for each sample, rows of one table.
//
//    logit of sample i = 0.1 * (sum over positions p and columns j of c[p, j] * y_i[p, j])
//
// with y the layer's output and c fixed random numbers, so that no position is like another.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "algorithms/nn/losses.h"
#include "algorithms/nn/ops.h"
#include "algorithms/nn/sequence_layout.h"
#include "tests/algorithms/model_harness.h"

namespace pagoda {

struct SequenceParts {
  const nn::SequenceLayout& layout;
  Var rows;     // [layout.num_rows(), kSequenceDim]
  Var targets;  // [samples, kSequenceDim]
};
inline constexpr int64_t kSequenceDim = 4;

struct SequenceLayers {
  std::function<void(Declaration&)> declare;
  // -> [layout.num_rows(), *] or [samples, *]
  std::function<Var(ForwardInput&, const SequenceParts&)> forward;
};

// c[p, j], of a position and a column. A sample's own output counts as position 0.
inline float SequenceCoefficient(size_t p, size_t j) {
  return 2.0f * RandomUniform(RandomKey{4711}, p * 64 + j) - 1.0f;
}

class SequenceModel : public Model {
 public:
  explicit SequenceModel(SequenceLayers layers) : layers_(std::move(layers)) {}

  absl::Status Declare(const FeatureSchema&, Declaration& declaration) override {
    const int table = declaration.AddTable({.name = "item", .dim = kSequenceDim}).index;
    target_ = declaration.AddLookup({.features = {0}, .tables = {table}});
    history_ = declaration.AddLookup({.features = {1}, .tables = {table}, .sequence = true});
    layers_.declare(declaration);
    return absl::OkStatus();
  }

  absl::StatusOr<ForwardOutput> Forward(ForwardInput& input) const override {
    const ForwardInput::Sequence sequence = input.LookupSequence(history_);
    const nn::SequenceLayout layout(input.tape(), *sequence.offsets,
                                    input.host().batch.first_sample);
    const Var y =
        layers_.forward(input, {layout, sequence.values, nn::Flatten(input.Lookup(target_))});
    if (!y.valid()) return input.tape().status();
    const int64_t rows = y.shape()[0], columns = y.shape()[1];
    const bool of_positions = rows == layout.num_rows() && rows != layout.size();
    std::vector<float> c;
    for (int64_t r = 0; r < rows; ++r) {
      const int32_t p = of_positions ? layout.positions()[static_cast<size_t>(r)] : 0;
      for (int64_t j = 0; j < columns; ++j) {
        c.push_back(0.1f * SequenceCoefficient(static_cast<size_t>(p), static_cast<size_t>(j)));
      }
    }
    const Var terms = nn::Multiply(y, nn::Reshape(nn::Constant(input.tape(), c), {rows, columns}));
    const Var sums = of_positions ? layout.SumRows(terms) : terms;
    return nn::BinaryOutput(input, nn::SumColumns(sums));
  }

 private:
  SequenceLayers layers_;
  LookupHandle target_, history_;
};

inline ModelHarness SequenceHarness(const SequenceLayers& layers) {
  FeatureSchema schema;
  schema.label = "click";
  for (const char* name : {"item", "history"}) {
    FeatureSpec spec;
    spec.name = name;
    spec.kind = FeatureKind::kCategorical;
    spec.table = "item";
    schema.features.push_back(spec);
  }
  ModelInfo info;
  info.name = "layers";
  info.create = [layers](const ModelOptions&) { return std::make_unique<SequenceModel>(layers); };
  return ModelHarness(info, {}, schema);
}

// Samples with histories of these lengths. Not as many positions as samples, please.
inline Batch SequenceBatch(const std::vector<int32_t>& lengths, uint64_t seed = 1) {
  const RandomKey key{seed};
  uint64_t draw = 0;
  Batch batch;
  batch.size = static_cast<int64_t>(lengths.size());
  batch.first_sample = 1000;
  batch.sparse.resize(2);
  for (const int32_t length : lengths) {
    for (size_t feature = 0; feature < 2; ++feature) {
      RaggedIds& cells = batch.sparse[feature];
      for (int32_t j = 0; j < (feature == 0 ? 1 : length); ++j) {
        cells.ids.push_back(RandomBelow(key, draw++, 9));
      }
      cells.offsets.push_back(static_cast<int32_t>(cells.ids.size()));
    }
    batch.labels.push_back(RandomUniform(key, draw++) < 0.5f ? 0.0f : 1.0f);
    batch.weights.push_back(0.5f + RandomUniform(key, draw++));
  }
  return batch;
}

using Rows = std::vector<Oracle::Vector>;

// The rows of a sample's history, and of its candidate.
inline Rows RowsOf(const Oracle& o, size_t sample, size_t feature) {
  const RaggedIds& cells = o.batch().sparse[feature];
  Rows rows;
  for (int32_t p = cells.offsets[sample]; p < cells.offsets[sample + 1]; ++p) {
    rows.push_back(o.Get(absl::StrCat("item/", cells.ids[static_cast<size_t>(p)])));
  }
  return rows;
}
inline Rows HistoryOf(const Oracle& o, size_t sample) {
  return RowsOf(o, sample, 1);
}
inline Oracle::Vector TargetOf(const Oracle& o, size_t sample) {
  return RowsOf(o, sample, 0)[0];
}

// What the layer gives for one sample, of which the model makes the logit above.
using SequenceOracle = std::function<Rows(const Oracle&, size_t sample)>;
inline double SequenceLogit(const Rows& y) {
  double logit = 0.0;
  for (size_t p = 0; p < y.size(); ++p) {
    for (size_t j = 0; j < y[p].size(); ++j) {
      logit += 0.1 * double{SequenceCoefficient(p, j)} * y[p][j];
    }
  }
  return logit;
}

// The loss and every gradient, of rows and parameters, for sequences of many lengths.
inline void CheckSequenceLayers(const SequenceLayers& layers, const SequenceOracle& oracle) {
  const ModelHarness harness = SequenceHarness(layers);
  for (const std::vector<int32_t>& lengths :
       {std::vector<int32_t>{3, 0, 1, 7, 2}, {5}, {0, 0}, {}, {2, 2, 2}, {4, 1, 6}}) {
    CAPTURE(lengths);
    CheckAgainstOracle(harness, SequenceBatch(lengths), [&](const Oracle& o) {
      return MeanLogLoss(o, [&](size_t i) { return SequenceLogit(oracle(o, i)); });
    });
  }
}

// ---- Layers in double. ----

inline Rows Mapped(const Rows& x, const std::function<Oracle::Vector(const Oracle::Vector&)>& f) {
  Rows y;
  for (const Oracle::Vector& row : x) y.push_back(f(row));
  return y;
}
inline Rows Projected(const Oracle& o, const std::string& name, const Rows& x) {
  return Mapped(x, [&](const Oracle::Vector& row) { return o.Linear(name, row); });
}
inline Rows Sums(Rows a, const Rows& b) {
  for (size_t p = 0; p < a.size(); ++p) {
    for (size_t j = 0; j < a[p].size(); ++j) a[p][j] += b[p][j];
  }
  return a;
}

struct AttentionCase {
  size_t heads = 1;
  bool causal = false;
  bool rotary = false;
  bool project_output = true;
  // Added to the score of (query, key).
  std::function<double(size_t, size_t)> bias = nullptr;
  // What dropout makes of the weight of (head, query, key).
  std::function<double(size_t, size_t, size_t, double)> dropped = nullptr;
};

// R_i q . R_t k = q . R_(t - i) k of one head; `distance` is i - t.
inline double TurnedProduct(const Oracle::Vector& q, const Oracle::Vector& k, size_t begin,
                            size_t width, double distance) {
  double sum = 0.0;
  if (distance == 0.0) {
    for (size_t j = begin; j < begin + width; ++j) sum += q[j] * k[j];
    return sum;
  }
  for (size_t j = 0; j < width; j += 2) {
    const double angle = distance * std::pow(10000.0, -static_cast<double>(j) / double(width));
    const double a = q[begin + j], b = q[begin + j + 1];
    const double c = k[begin + j], d = k[begin + j + 1];
    sum += (a * c + b * d) * std::cos(angle) + (a * d - b * c) * std::sin(angle);
  }
  return sum;
}

inline Rows AttentionOracle(const Oracle& o, const std::string& name, const Rows& queries,
                            const Rows& keys, const Rows& values, const AttentionCase& c) {
  const Rows q = Projected(o, name + ".query", queries), k = Projected(o, name + ".key", keys);
  const Rows v = Projected(o, name + ".value", values);
  Rows out;
  for (size_t i = 0; i < q.size(); ++i) {
    if (k.empty()) {
      out.push_back({});
      continue;
    }
    const size_t width = q[i].size() / c.heads, value_width = v[0].size() / c.heads;
    Oracle::Vector joined(v[0].size(), 0.0);
    for (size_t h = 0; h < c.heads; ++h) {
      const size_t seen = c.causal ? i + 1 : k.size();
      Oracle::Vector e(seen);
      double sum = 0.0;
      for (size_t t = 0; t < seen; ++t) {
        const double distance = c.rotary ? static_cast<double>(i) - static_cast<double>(t) : 0.0;
        double score = TurnedProduct(q[i], k[t], h * width, width, distance);
        score /= std::sqrt(static_cast<double>(width));
        if (c.bias) score += c.bias(i, t);
        sum += e[t] = std::exp(score);
      }
      for (size_t t = 0; t < seen; ++t) {
        const double weight = c.dropped ? c.dropped(h, i, t, e[t] / sum) : e[t] / sum;
        for (size_t j = 0; j < value_width; ++j) {
          joined[h * value_width + j] += weight * v[t][h * value_width + j];
        }
      }
    }
    out.push_back(c.project_output ? o.Linear(name + ".output", joined) : joined);
  }
  return out;
}

}  // namespace pagoda
