#include "algorithms/nn/transformer.h"

#include "tests/algorithms/nn/sequence_model.h"

namespace pagoda {
namespace {

using nn::TransformerOptions;
using nn::TransformerStyle;
using Vector = Oracle::Vector;

// `dim` is that of the table.
TransformerOptions Gpsd() {
  return {.style = TransformerStyle::kGpsd, .dim = 4, .heads = 2, .hidden = 3};
}
TransformerOptions SasRec() {
  return {.style = TransformerStyle::kSasRec, .dim = 4, .heads = 2, .norm_epsilon = 1e-3};
}

template <typename Layer>
SequenceLayers Layers(const TransformerOptions& options) {
  auto layer = std::make_shared<Layer>();
  return {[layer, options](Declaration& declaration) {
            *layer = Layer::Declare(declaration, "t", options);
          },
          [layer](ForwardInput& input, const SequenceParts& x) {
            return layer->Apply(input, x.rows, x.layout);
          }};
}

Vector Normalized(const Oracle& o, const std::string& name, Vector x, double epsilon, bool rms) {
  const double d = static_cast<double>(x.size());
  double mean = 0.0, squares = 0.0;
  for (const double value : x) mean += rms ? 0.0 : value / d;
  for (const double value : x) squares += (value - mean) * (value - mean) / d;
  for (size_t j = 0; j < x.size(); ++j) {
    x[j] = o.Get(name + ".gamma")[j] * (x[j] - mean) / std::sqrt(squares + epsilon) +
           (rms ? 0.0 : o.Get(name + ".beta")[j]);
  }
  return x;
}
Rows Normalized(const Oracle& o, const std::string& name, const Rows& x, double epsilon, bool rms) {
  return Mapped(x, [&](const Vector& row) { return Normalized(o, name, row, epsilon, rms); });
}

// The mask of (sample, position, column) under the key of `label`, at rate 0.4.
Rows Dropped(const Oracle& o, const std::string& label, size_t sample, Rows x) {
  const RandomKey key = RandomKey{99}.Derive(HashBytes(label));
  for (size_t p = 0; p < x.size(); ++p) {
    for (size_t j = 0; j < x[p].size(); ++j) {
      const uint64_t row = (o.batch().first_sample + sample) * 65536 + p;
      const float u = RandomUniform(key, row * x[p].size() + j);
      x[p][j] = u >= 0.4f ? x[p][j] / (1.0 - double{0.4f}) : 0.0;
    }
  }
  return x;
}

Rows GpsdBlock(const Oracle& o, const std::string& name, size_t sample, const Rows& h,
               const TransformerOptions& t) {
  const bool drop = t.dropout > 0.0;
  const Rows n = Normalized(o, name + ".attention_norm", h, t.norm_epsilon, true);
  Rows attended =
      AttentionOracle(o, name + ".attention", n, n, n,
                      {.heads = static_cast<size_t>(t.heads), .causal = t.causal, .rotary = true});
  if (drop) attended = Dropped(o, name + ".attention", sample, attended);
  const Rows u = Sums(h, attended);
  const Rows m = Normalized(o, name + ".feed_forward_norm", u, t.norm_epsilon, true);
  Rows fed = Mapped(m, [&](const Vector& x) {
    Vector gate = o.Linear(name + ".feed_forward.gate", x);
    const Vector up = o.Linear(name + ".feed_forward.up", x);
    for (size_t j = 0; j < gate.size(); ++j) gate[j] *= up[j] / (1.0 + std::exp(-gate[j]));
    return o.Linear(name + ".feed_forward.down", gate);
  });
  if (drop) fed = Dropped(o, name + ".feed_forward", sample, fed);
  return Sums(u, fed);
}

Rows SasRecBlock(const Oracle& o, const std::string& name, size_t sample, const Rows& h,
                 const TransformerOptions& t) {
  const bool drop = t.dropout > 0.0;
  AttentionCase attention = {.heads = static_cast<size_t>(t.heads),
                             .causal = t.causal,
                             .project_output = t.project_output};
  const RandomKey key = RandomKey{99}.Derive(HashBytes(name + ".attention.weights"));
  if (drop) {
    attention.dropped = [&](size_t head, size_t q, size_t k, double weight) {
      const uint64_t heads = (o.batch().first_sample + sample) * attention.heads + head;
      const float u = RandomUniform(key, (heads * 65536 + q) * 65536 + k);
      return u >= 0.4f ? weight / (1.0 - double{0.4f}) : 0.0;
    };
  }
  const Rows q = Normalized(o, name + ".attention_norm", h, t.norm_epsilon, false);
  const Rows u = Sums(q, AttentionOracle(o, name + ".attention", q, h, h, attention));
  const Rows m = Normalized(o, name + ".feed_forward_norm", u, t.norm_epsilon, false);
  Rows hidden = Projected(o, name + ".feed_forward.up", m);
  for (Vector& row : hidden) {
    for (double& value : row) value = std::max(value, 0.0);
  }
  if (drop) hidden = Dropped(o, name + ".feed_forward.hidden", sample, hidden);
  Rows fed = Projected(o, name + ".feed_forward.down", hidden);
  if (drop) fed = Dropped(o, name + ".feed_forward", sample, fed);
  return Sums(m, fed);
}

}  // namespace

TEST_CASE("a block in the style of GPSD follows its formula") {
  for (const double dropout : {0.0, 0.4}) {
    for (const bool causal : {true, false}) {
      CAPTURE(dropout, causal);
      TransformerOptions options = Gpsd();
      options.dropout = dropout;
      options.causal = causal;
      CheckSequenceLayers(Layers<nn::TransformerBlock>(options), [&](const Oracle& o, size_t i) {
        return GpsdBlock(o, "t", i, HistoryOf(o, i), options);
      });
    }
  }
}

TEST_CASE("a block in the style of SASRec follows its formula") {
  for (const double dropout : {0.0, 0.4}) {
    for (const bool project_output : {true, false}) {
      CAPTURE(dropout, project_output);
      TransformerOptions options = SasRec();
      options.dropout = dropout;
      options.project_output = project_output;
      CheckSequenceLayers(Layers<nn::TransformerBlock>(options), [&](const Oracle& o, size_t i) {
        return SasRecBlock(o, "t", i, HistoryOf(o, i), options);
      });
    }
  }
}

TEST_CASE("a stack is its blocks and a norm, under learned positions too") {
  TransformerOptions gpsd = Gpsd();
  gpsd.layers = 2;
  CheckSequenceLayers(Layers<nn::TransformerStack>(gpsd), [&](const Oracle& o, size_t i) {
    Rows h = HistoryOf(o, i);
    for (const char* name : {"t.0", "t.1"}) h = GpsdBlock(o, name, i, h, gpsd);
    return Normalized(o, "t.norm", h, gpsd.norm_epsilon, true);
  });

  TransformerOptions sasrec = SasRec();
  sasrec.layers = 2;
  for (const nn::PositionOrder order :
       {nn::PositionOrder::kFromStart, nn::PositionOrder::kFromEnd}) {
    auto positions = std::make_shared<nn::LearnedPositions>();
    auto stack = std::make_shared<nn::TransformerStack>();
    const SequenceLayers layers = {
        [=](Declaration& declaration) {
          *positions = nn::LearnedPositions::Declare(declaration, "positions", 9, 4);
          *stack = nn::TransformerStack::Declare(declaration, "t", sasrec);
        },
        [=](ForwardInput& input, const SequenceParts& x) {
          const Var h = nn::Add(x.rows, positions->Apply(input, x.layout, order));
          return stack->Apply(input, h, x.layout);
        }};
    CheckSequenceLayers(layers, [&](const Oracle& o, size_t i) {
      Rows h = HistoryOf(o, i);
      for (size_t p = 0; p < h.size(); ++p) {
        const size_t at = order == nn::PositionOrder::kFromStart ? p : 9 - h.size() + p;
        for (size_t j = 0; j < 4; ++j) h[p][j] += o.Get("positions.weight")[at * 4 + j];
      }
      for (const char* name : {"t.0", "t.1"}) h = SasRecBlock(o, name, i, h, sasrec);
      return Normalized(o, "t.norm", h, sasrec.norm_epsilon, false);
    });
    TestDevice device;
    const auto longer = SequenceHarness(layers).TryRun(device, SequenceBatch({3, 10}), {});
    RequireInvalid(longer.status(), "a sequence of 10 positions, and a table of 9");
  }
}

TEST_CASE("the last positions of a stack are those of all of it, computed alone or not") {
  for (const bool gpsd : {true, false}) {
    for (const bool causal : {true, false}) {
      for (const double dropout : {0.0, 0.4}) {
        CAPTURE(gpsd, causal, dropout);
        TransformerOptions options = gpsd ? Gpsd() : SasRec();
        options.layers = 2;
        options.causal = causal;
        options.dropout = dropout;
        auto stack = std::make_shared<nn::TransformerStack>();
        const SequenceLayers last = {[=](Declaration& declaration) {
                                       *stack =
                                           nn::TransformerStack::Declare(declaration, "t", options);
                                     },
                                     [=](ForwardInput& input, const SequenceParts& x) {
                                       return stack->ApplyLast(input, x.rows, x.layout);
                                     }};
        const auto oracle = [&](const Oracle& o, size_t i) {
          Rows h = HistoryOf(o, i);
          if (h.empty()) return Rows{Vector(4, 0.0)};
          for (const char* name : {"t.0", "t.1"}) {
            h = gpsd ? GpsdBlock(o, name, i, h, options) : SasRecBlock(o, name, i, h, options);
          }
          return Normalized(o, "t.norm", Rows{h.back()}, options.norm_epsilon, gpsd);
        };
        CheckSequenceLayers(last, oracle);
      }
    }
  }
}

TEST_CASE("a feed-forward layer follows its formula, with GELU and without biases") {
  auto layer = std::make_shared<nn::FeedForward>();
  const SequenceLayers layers = {
      [=](Declaration& declaration) {
        *layer = nn::FeedForward::Declare(
            declaration, "f", {.dim = 4, .activation = Activation::kGelu, .biases = false});
        REQUIRE(declaration.dense.size() == 2);
        REQUIRE(declaration.dense[0].shape == Shape{16, 4});
      },
      [=](ForwardInput& input, const SequenceParts& x) {
        return layer->Apply(input, x.rows, x.layout);
      }};
  CheckSequenceLayers(layers, [&](const Oracle& o, size_t i) {
    Rows hidden = Projected(o, "f.up", HistoryOf(o, i));
    for (Vector& row : hidden) {
      for (double& x : row) x *= 0.5 * (1.0 + std::erf(x / std::sqrt(2.0)));
    }
    return Projected(o, "f.down", hidden);
  });
}

TEST_CASE("under a causal stack no position hears of later ones; without, the first does") {
  for (const bool causal : {true, false}) {
    for (TransformerOptions options : {Gpsd(), SasRec()}) {
      options.causal = causal;
      options.layers = 2;
      auto stack = std::make_shared<nn::TransformerStack>();
      const SequenceLayers layers = {
          [=](Declaration& declaration) {
            *stack = nn::TransformerStack::Declare(declaration, "t", options);
          },
          [=](ForwardInput& input, const SequenceParts& x) {
            // Positions 0 and 1 of a single sequence.
            return nn::Reshape(nn::SliceRows(stack->Apply(input, x.rows, x.layout), 0, 2), {1, 8});
          }};
      const ModelHarness harness = SequenceHarness(layers);
      Batch one = SequenceBatch({6});
      one.sparse[1].ids = {0, 1, 2, 3, 4, 5};
      Batch other = one;
      other.sparse[1].ids = {0, 1, 7, 8, 6, 5};
      TestDevice device;
      const StepResult step = harness.Run(device, one);
      const bool same = SameBits(step.predictions, harness.Run(device, other).predictions);
      REQUIRE(same == causal);
      // Rows are in the order of ids, of which 2 to 5 come later; the candidate has none.
      const PreparedBatch prepared = harness.Prepare(one);
      for (size_t k = 0; k < prepared.unique_ids[0].size(); ++k) {
        const FeatureId id = prepared.unique_ids[0][k];
        double size = 0.0;
        for (size_t j = 0; j < 4; ++j) size += std::fabs(step.row_gradients[0][k * 4 + j]);
        if (id < 2) REQUIRE(size > 0.0);
        if (id >= 2 && causal) REQUIRE(size == 0.0);
      }
    }
  }
}

TEST_CASE("what a sample gets does not depend on the batch it comes in, under dropout too") {
  for (TransformerOptions options : {Gpsd(), SasRec()}) {
    options.dropout = 0.4;
    const ModelHarness harness = SequenceHarness(Layers<nn::TransformerStack>(options));
    const Batch batch = SequenceBatch({3, 0, 1, 7, 2});
    TestDevice device;
    const std::vector<float> whole = harness.Run(device, batch).predictions;
    for (int64_t i = 0; i < batch.size; ++i) {
      const Batch one = SubBatch(batch, harness.schema(), i, i + 1);
      if (one.sparse[1].ids.size() < 2) continue;  // See SequenceBatch.
      const float alone = harness.Run(device, one).predictions[0];
      REQUIRE(alone == Approx(whole[static_cast<size_t>(i)]).epsilon(1e-5));
    }
    REQUIRE_FALSE(SameBits(harness.Run(device, batch, {.training = false}).predictions, whole));
    REQUIRE_FALSE(
        SameBits(harness.Run(device, batch, {.random = RandomKey{100}}).predictions, whole));
  }
}

TEST_CASE("widths, initial values and decay of transformers") {
  REQUIRE(nn::SwiGluHidden(32) == 96);  // ceil_to_32(85)
  REQUIRE(nn::SwiGluHidden(64) == 192);
  REQUIRE(nn::SwiGluHidden(12) == 32);
  REQUIRE(nn::SwiGluHidden(1024) == 2752);
  Declaration declaration;
  nn::TransformerStack::Declare(declaration, "t", {.dim = 32, .init_stddev = 0.02});
  int64_t matrices = 0;
  for (const DenseDecl& decl : declaration.dense) {
    if (decl.shape.size() == 1) {
      REQUIRE_FALSE(decl.weight_decay);
      continue;
    }
    REQUIRE(decl.weight_decay);
    REQUIRE(decl.init == InitKind::kNormal);
    REQUIRE(decl.init_scale == 0.02f);
    matrices += NumElements(decl.shape);
  }
  REQUIRE(matrices == 13312);  // 4 D^2 + 3 D hidden at D = 32.
}

TEST_CASE("a transformer's step has the same bits for any number of threads and on other devices") {
  for (TransformerOptions options : {Gpsd(), SasRec()}) {
    options.dropout = 0.2;
    options.layers = 2;
    const ModelHarness harness = SequenceHarness(Layers<nn::TransformerStack>(options));
    const Batch batch = SequenceBatch({3, 0, 1, 7, 2, 19});
    RunEverywhere([&](TestDevice& device) {
      const StepResult step = harness.Run(device, batch);
      std::vector<float> all = step.predictions;
      all.insert(all.end(), step.dense_gradients.begin(), step.dense_gradients.end());
      all.insert(all.end(), step.row_gradients[0].begin(), step.row_gradients[0].end());
      return all;
    });
  }
}

}  // namespace pagoda
