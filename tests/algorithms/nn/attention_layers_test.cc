#include "algorithms/nn/attention_layers.h"

#include "tests/algorithms/nn/sequence_model.h"

namespace pagoda {
namespace {

using nn::MultiHeadAttention;
using nn::MultiHeadAttentionOptions;
using Vector = Oracle::Vector;

// A layer declared by Declare(declaration, "layer", options) and kept for forward.
template <typename Layer, typename LayerOptions>
SequenceLayers Layers(
    const LayerOptions& options,
    const std::function<Var(const Layer&, ForwardInput&, const SequenceParts&)>& forward) {
  auto layer = std::make_shared<Layer>();
  return {[layer, options](Declaration& declaration) {
            *layer = Layer::Declare(declaration, "layer", options);
          },
          [layer, forward](ForwardInput& input, const SequenceParts& parts) {
            return forward(*layer, input, parts);
          }};
}

SequenceLayers SelfAttention(const MultiHeadAttentionOptions& options) {
  return Layers<MultiHeadAttention, MultiHeadAttentionOptions>(
      options, [](const MultiHeadAttention& layer, ForwardInput& input, const SequenceParts& x) {
        return layer.Self(input, x.rows, x.layout);
      });
}

SequenceLayers TargetAttention(const MultiHeadAttentionOptions& options) {
  return Layers<MultiHeadAttention, MultiHeadAttentionOptions>(
      options, [](const MultiHeadAttention& layer, ForwardInput& input, const SequenceParts& x) {
        return layer.Target(input, {x.targets, x.rows, x.rows, Var()}, x.layout).output;
      });
}

// The bias of score (query, key) of every sample, as a block.
float BiasAt(size_t query, size_t key) {
  return 2.0f * RandomUniform(RandomKey{31}, query * 64 + key) - 1.0f;
}
Var BiasBlock(const SequenceParts& x, int64_t num_queries) {
  std::vector<float> values;
  for (int64_t i = 0; i < x.layout.size(); ++i) {
    for (int64_t q = 0; q < num_queries; ++q) {
      for (int64_t k = 0; k < x.layout.length(); ++k) {
        values.push_back(BiasAt(static_cast<size_t>(q), static_cast<size_t>(k)));
      }
    }
  }
  return nn::Reshape(nn::Constant(x.layout.tape(), values),
                     {x.layout.size(), num_queries, x.layout.length()});
}

}  // namespace

TEST_CASE("self-attention follows its formula: heads, causal, rotary, biases, widths") {
  for (const MultiHeadAttentionOptions& options :
       {MultiHeadAttentionOptions{.query_dim = 4},
        {.query_dim = 4, .width = 6, .value_width = 2, .output_dim = 5, .heads = 2},
        {.query_dim = 4, .heads = 2, .causal = true, .biases = true},
        {.query_dim = 4, .width = 8, .heads = 2, .causal = true, .rotary = true},
        {.query_dim = 4, .value_width = 6, .heads = 2, .project_output = false}}) {
    CAPTURE(options.heads, options.causal, options.biases, options.rotary, options.width);
    const AttentionCase c = {.heads = static_cast<size_t>(options.heads),
                             .causal = options.causal,
                             .rotary = options.rotary,
                             .project_output = options.project_output};
    CheckSequenceLayers(SelfAttention(options), [&](const Oracle& o, size_t i) {
      const Rows x = HistoryOf(o, i);
      return AttentionOracle(o, "layer", x, x, x, c);
    });
  }
}

TEST_CASE("self-attention with a bias of scores follows its formula") {
  const auto layers = Layers<MultiHeadAttention, MultiHeadAttentionOptions>(
      MultiHeadAttentionOptions{.query_dim = 4, .heads = 2, .causal = true},
      [](const MultiHeadAttention& layer, ForwardInput& input, const SequenceParts& x) {
        return layer.Self(input, x.rows, x.layout, BiasBlock(x, x.layout.length()));
      });
  CheckSequenceLayers(layers, [&](const Oracle& o, size_t i) {
    const Rows x = HistoryOf(o, i);
    const auto bias = [](size_t q, size_t k) { return double{BiasAt(q, k)}; };
    return AttentionOracle(o, "layer", x, x, x, {.heads = 2, .causal = true, .bias = bias});
  });
}

TEST_CASE("target attention follows its formula; without history it is exactly zero") {
  for (const bool biases : {false, true}) {
    for (const bool with_bias : {false, true}) {
      const MultiHeadAttentionOptions options = {
          .query_dim = 4, .width = 6, .output_dim = 3, .heads = 2, .biases = biases};
      const auto layers = Layers<MultiHeadAttention, MultiHeadAttentionOptions>(
          options,
          [&](const MultiHeadAttention& layer, ForwardInput& input, const SequenceParts& x) {
            const Var bias =
                with_bias ? nn::Reshape(BiasBlock(x, 1), {x.layout.size(), x.layout.length()})
                          : Var();
            return layer.Target(input, {x.targets, x.rows, x.rows, bias}, x.layout).output;
          });
      AttentionCase c = {.heads = 2};
      if (with_bias) c.bias = [](size_t q, size_t k) { return double{BiasAt(q, k)}; };
      CheckSequenceLayers(layers, [&](const Oracle& o, size_t i) {
        const Rows x = HistoryOf(o, i);
        return AttentionOracle(o, "layer", {TargetOf(o, i)}, x, x, c);
      });
    }
  }
  // Nothing passes to what a sample without history looked up: exactly zero.
  const ModelHarness harness = SequenceHarness(TargetAttention({.query_dim = 4, .biases = true}));
  TestDevice device;
  const StepResult step = harness.Run(device, SequenceBatch({0, 0, 0}));
  for (const float p : step.predictions) REQUIRE(p == 0.5f);
  for (const float g : step.row_gradients[0]) REQUIRE(g == 0.0f);
  for (const float g : step.dense_gradients) REQUIRE(g == 0.0f);
}

TEST_CASE("queries of one layout attend to keys of another") {
  const auto layers = Layers<MultiHeadAttention, MultiHeadAttentionOptions>(
      MultiHeadAttentionOptions{.query_dim = 4, .heads = 2, .biases = true},
      [](const MultiHeadAttention& layer, ForwardInput& input, const SequenceParts& x) {
        // Two queries a sample, its candidate and the candidate's square.
        std::vector<int32_t> offsets, order;
        const auto n = static_cast<int32_t>(x.layout.size());
        for (int32_t i = 0; i <= n; ++i) offsets.push_back(2 * i);
        for (int32_t i = 0; i < n; ++i) order.insert(order.end(), {i, n + i});
        const nn::SequenceLayout queries(x.layout.tape(), offsets, 0);
        const Var both = nn::ConcatRows({x.targets, nn::Square(x.targets)});
        const Var out =
            layer
                .Apply(input, {nn::TakeRows(both, order), x.rows, x.rows, Var()}, queries, x.layout)
                .output;
        return nn::Reshape(out, {n, 8});
      });
  CheckSequenceLayers(layers, [&](const Oracle& o, size_t i) {
    const Rows x = HistoryOf(o, i);
    if (x.empty()) return Rows{};
    const Vector target = TargetOf(o, i);
    Vector square = target;
    for (double& value : square) value *= value;
    const Rows y = AttentionOracle(o, "layer", {target, square}, x, x, {.heads = 2});
    return Rows{Join(y[0], y[1])};
  });
}

TEST_CASE("dropout of attention weights follows the mask of (sample, head, query, key)") {
  const double rate = 0.4;
  const MultiHeadAttentionOptions options = {
      .query_dim = 4, .heads = 2, .causal = true, .dropout = rate};
  const RandomKey key = RandomKey{99}.Derive(HashBytes("layer.weights"));
  const auto oracle = [&](const Oracle& o, size_t i) {
    const auto dropped = [&](size_t h, size_t q, size_t k, double weight) {
      const uint64_t head = (o.batch().first_sample + i) * 2 + h;
      const uint64_t counter = (head * 65536 + q) * 65536 + k;
      return RandomUniform(key, counter) >= 0.4f ? weight / (1.0 - double{0.4f}) : 0.0;
    };
    const Rows x = HistoryOf(o, i);
    return AttentionOracle(o, "layer", x, x, x, {.heads = 2, .causal = true, .dropped = dropped});
  };
  CheckSequenceLayers(SelfAttention(options), oracle);
}

TEST_CASE("attention by groups of like lengths is attention over all sequences at once") {
  const std::vector<int32_t> lengths = {3, 0, 270, 1, 5, 2, 9, 30, 4, 4, 17, 0, 6};
  for (const bool one_input : {true, false}) {
    CAPTURE(one_input);
    const MultiHeadAttentionOptions options = {.query_dim = 4,
                                               .heads = 2,
                                               .causal = one_input,
                                               .biases = true,
                                               .rotary = one_input,
                                               .dropout = 0.4};
    bool grouped = false;
    const auto run = [&](bool together) {
      const ModelHarness harness =
          SequenceHarness(Layers<MultiHeadAttention, MultiHeadAttentionOptions>(
              options,
              [&](const MultiHeadAttention& layer, ForwardInput& input, const SequenceParts& x) {
                grouped = grouped || !x.layout.Groups().empty();
                const Var keys = one_input ? x.rows : nn::Square(x.rows);
                const MultiHeadAttention::Rows rows = {x.rows, keys, keys, Var()};
                return together ? layer.Apply(input, rows, x.layout, x.layout).output
                                : layer.Within(input, rows, x.layout);
              }));
      TestDevice device;
      return harness.Run(device, SequenceBatch(lengths));
    };
    const StepResult wanted = run(true), got = run(false);
    REQUIRE(grouped);
    const auto near = [](const std::vector<float>& a, const std::vector<float>& b) {
      REQUIRE(a.size() == b.size());
      for (size_t i = 0; i < a.size(); ++i)
        REQUIRE(a[i] == Approx(b[i]).epsilon(1e-4).margin(1e-5));
    };
    near(got.predictions, wanted.predictions);
    near(got.row_gradients[0], wanted.row_gradients[0]);
    near(got.dense_gradients, wanted.dense_gradients);
  }
}

TEST_CASE("rotary target attention is refused in words") {
  const ModelHarness harness = SequenceHarness(TargetAttention({.query_dim = 4, .rotary = true}));
  TestDevice device;
  const auto step = harness.TryRun(device, SequenceBatch({2}), {});
  RequireInvalid(step.status(), "has no position to be turned by");
  const ModelHarness odd =
      SequenceHarness(SelfAttention({.query_dim = 4, .width = 3, .rotary = true}));
  RequireInvalid(odd.TryRun(device, SequenceBatch({2}), {}).status(), "a head of 3 columns");
}

TEST_CASE("DIN's unit follows its formula, with a softmax and with sigmoids") {
  for (const nn::DinWeights weights : {nn::DinWeights::kSoftmax, nn::DinWeights::kSigmoid}) {
    const auto layers = Layers<nn::DinUnit, nn::DinOptions>(
        nn::DinOptions{
            .dim = 4, .hidden = {5, 3}, .activation = Activation::kTanh, .weights = weights},
        [](const nn::DinUnit& layer, ForwardInput& input, const SequenceParts& x) {
          return layer.Apply(input, x.targets, x.rows, nn::SliceColumns(x.rows, 1, 4), x.layout)
              .output;
        });
    CheckSequenceLayers(layers, [&](const Oracle& o, size_t i) {
      const Rows keys = HistoryOf(o, i);
      const Vector q = TargetOf(o, i);
      Vector e;
      double sum = 0.0;
      for (const Vector& k : keys) {
        Vector x = Join(q, k);
        for (size_t j = 0; j < 4; ++j) x.push_back(q[j] - k[j]);
        for (size_t j = 0; j < 4; ++j) x.push_back(q[j] * k[j]);
        e.push_back(std::exp(o.Linear("layer.score", o.Mlp("layer", 2, x))[0]));
        sum += e.back();
      }
      Vector y(3, 0.0);
      for (size_t t = 0; t < keys.size(); ++t) {
        const bool softmax = weights == nn::DinWeights::kSoftmax;
        const double weight = e[t] / (softmax ? sum : 1.0 + e[t]);
        for (size_t j = 0; j < 3; ++j) y[j] += weight * keys[t][1 + j];
      }
      return Rows{y};
    });
    const ModelHarness harness = SequenceHarness(layers);
    TestDevice device;
    const StepResult step = harness.Run(device, SequenceBatch({0, 0, 0}));
    for (const float p : step.predictions) REQUIRE(p == 0.5f);
    for (const float g : step.row_gradients[0]) REQUIRE(g == 0.0f);
  }
}

TEST_CASE("names, shapes and widths of attention layers") {
  Declaration declaration;
  const MultiHeadAttention attention = MultiHeadAttention::Declare(
      declaration, "a", {.query_dim = 6, .key_dim = 4, .heads = 2, .init_stddev = 0.02});
  REQUIRE(attention.options().value_dim == 4);
  REQUIRE(attention.options().width == 6);
  REQUIRE(attention.options().value_width == 6);
  REQUIRE(attention.options().output_dim == 6);
  REQUIRE(declaration.dense.size() == 4);
  REQUIRE(declaration.dense[1].name == "a.key.weight");
  REQUIRE(declaration.dense[1].shape == Shape{6, 4});
  REQUIRE(declaration.dense[1].init == InitKind::kNormal);
  REQUIRE(declaration.dense[1].init_scale == 0.02f);
  REQUIRE(declaration.dense[3].name == "a.output.weight");
  nn::DinUnit::Declare(declaration, "din", {.dim = 3});
  REQUIRE(declaration.dense[4].name == "din.0.weight");
  REQUIRE(declaration.dense[4].shape == Shape{80, 12});
  REQUIRE(declaration.dense.back().name == "din.score.bias");
}

}  // namespace pagoda
