#include "algorithms/nn/optimizer.h"

#include <limits>

#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

struct Trained {
  std::unique_ptr<ParameterSet> parameters;
  std::unique_ptr<DenseOptimizer> optimizer;
};

std::vector<DenseDecl> Decls() {
  return {{.name = "w", .shape = {5, 3}},
          {.name = "b", .shape = {5}, .init = InitKind::kNormal, .weight_decay = false},
          {.name = "head", .shape = {1, 5}, .group = "head"},
          {.name = "state", .shape = {2}, .init = InitKind::kOnes, .trainable = false}};
}

Trained Make(TestDevice& device, const DenseOptimizerOptions& options) {
  Trained t;
  auto parameters = ParameterSet::Create(*device.ctx, Decls(), 3);
  REQUIRE(parameters.ok());
  t.parameters = *std::move(parameters);
  auto optimizer = DenseOptimizer::Create(*device.ctx, *t.parameters, options);
  INFO(optimizer.status());
  REQUIRE(optimizer.ok());
  t.optimizer = *std::move(optimizer);
  return t;
}

void SetGradients(TestDevice& device, Trained& t, const std::vector<float>& gradients) {
  REQUIRE(device.ctx
              ->CopyFromHost(gradients.data(), static_cast<int64_t>(gradients.size()) * 4,
                             t.parameters->gradients())
              .ok());
}

// The formulas of kernels/dense_optimizer.h once more, in double.
struct Reference {
  DenseOptimizerOptions options;
  std::vector<double> w, slot1, slot2;
  int64_t step = 0;

  void Step(const std::vector<float>& gradient, double lr_factor) {
    ++step;
    double norm = 0.0;
    for (float g : gradient) norm += double{g} * double{g};
    norm = std::sqrt(norm);
    const double clip = options.clip_norm;
    const double scale = clip > 0.0 && norm > clip ? clip / norm : 1.0;
    for (size_t i = 0; i < gradient.size(); ++i) {
      Update(i, scale * double{gradient[i]}, double{options.args.learning_rate} * lr_factor);
    }
  }

  void Update(size_t i, double g, double lr) {
    const DenseStepArgs& a = options.args;
    const bool decays = i < 15 || i >= 20;  // All but "b".
    double decay = decays ? double{a.weight_decay} : 0.0;
    DenseOptimizerKind kind = a.kind;
    if (!options.groups.empty() && i < 15) {  // "w" alone.
      const ParameterGroup& group = options.groups.back();
      lr *= group.learning_rate;
      if (!group.weight_decay) decay = 0.0;
      if (!group.optimizer.empty()) kind = *DenseOptimizer::ParseKind(group.optimizer);
    }
    if (i >= 20) {
      const auto rate = options.group_rates.find("head");
      lr *= rate == options.group_rates.end() ? 1.0 : rate->second;
    }
    if (kind == DenseOptimizerKind::kAdamW) {
      w[i] -= lr * decay * w[i];
    } else {
      g += decay * w[i];
    }
    switch (kind) {
      case DenseOptimizerKind::kSgd:
        slot1[i] = double{a.momentum} * slot1[i] + g;
        w[i] -= lr * slot1[i];
        return;
      case DenseOptimizerKind::kAdagrad:
        slot1[i] += g * g;
        w[i] -= lr * g / (std::sqrt(slot1[i]) + double{a.epsilon});
        return;
      case DenseOptimizerKind::kAdam:
      case DenseOptimizerKind::kAdamW: {
        const double b1 = double{a.beta1}, b2 = double{a.beta2}, t = static_cast<double>(step);
        slot1[i] = b1 * slot1[i] + (1.0 - b1) * g;
        slot2[i] = b2 * slot2[i] + (1.0 - b2) * g * g;
        const double m = slot1[i] / (1.0 - std::pow(b1, t));
        const double v = slot2[i] / (1.0 - std::pow(b2, t));
        w[i] -= lr * m / (std::sqrt(v) + double{a.epsilon});
        return;
      }
    }
  }
};

void CompareWithReference(const DenseOptimizerOptions& options) {
  TestDevice device;
  Trained t = Make(device, options);
  Reference reference;
  reference.options = options;
  const std::vector<float> start = device.Download(t.parameters->values());
  reference.w.assign(start.begin(), start.begin() + 25);
  reference.slot1.assign(25, 0.0);
  reference.slot2.assign(25, 0.0);
  for (int step = 0; step < 20; ++step) {
    const std::vector<float> gradient = RandomFloats(static_cast<uint64_t>(100 + step), 25);
    const double lr_factor = 1.0 / (1.0 + 0.1 * step);
    SetGradients(device, t, gradient);
    auto norm = t.optimizer->Step(*device.ctx, *t.parameters, lr_factor);
    REQUIRE(norm.ok());
    double squares = 0.0;
    for (float g : gradient) squares += double{g} * double{g};
    REQUIRE(*norm == Approx(std::sqrt(squares)).epsilon(1e-5));
    reference.Step(gradient, lr_factor);
  }
  const std::vector<float> end = device.Download(t.parameters->values());
  for (size_t i = 0; i < 25; ++i) {
    INFO("element " << i);
    // 20 steps, each a few roundings of values near 1.
    REQUIRE(double{end[i]} == Approx(reference.w[i]).epsilon(2e-5).margin(2e-5));
  }
  REQUIRE(end[25] == 1.0f);  // State is not the optimizer's.
  REQUIRE(t.optimizer->steps() == 20);
}

DenseOptimizerOptions Options(DenseOptimizerKind kind) {
  DenseOptimizerOptions options;
  options.args.kind = kind;
  options.args.learning_rate = 0.05f;
  return options;
}

TEST_CASE("every dense optimizer follows its formula in double over 20 steps") {
  for (DenseOptimizerKind kind : {DenseOptimizerKind::kSgd, DenseOptimizerKind::kAdagrad,
                                  DenseOptimizerKind::kAdam, DenseOptimizerKind::kAdamW}) {
    CAPTURE(static_cast<int>(kind));
    DenseOptimizerOptions options = Options(kind);
    CompareWithReference(options);
    options.args.weight_decay = 0.1f;
    options.args.momentum = 0.9f;
    CompareWithReference(options);
    options.clip_norm = 0.5;
    options.group_rates = {{"head", 0.25}};
    CompareWithReference(options);
    options.clip_norm = 1e6;  // Above every norm: no clipping.
    CompareWithReference(options);
  }
}

TEST_CASE("a group has its own rate, decay and optimizer, and the later of two counts") {
  for (const char* own : {"", "sgd", "adagrad", "adam", "adamw"}) {
    for (DenseOptimizerKind kind : {DenseOptimizerKind::kSgd, DenseOptimizerKind::kAdamW}) {
      for (const bool decays : {false, true}) {
        CAPTURE(own, static_cast<int>(kind), decays);
        DenseOptimizerOptions options = Options(kind);
        options.args.weight_decay = 0.1f;
        options.groups = {
            {.name = "first", .match = {"w"}, .learning_rate = 9.0, .optimizer = "adam"},
            {.name = "w",
             .match = {"w"},
             .learning_rate = 0.5,
             .weight_decay = decays,
             .optimizer = own}};
        CompareWithReference(options);
      }
    }
  }
  TestDevice device;
  DenseOptimizerOptions options = Options(DenseOptimizerKind::kSgd);
  options.groups = {{.name = "odd", .match = {"w"}, .optimizer = "adagard"}};
  const auto parameters = ParameterSet::Create(*device.ctx, Decls(), 3);
  const auto refused = DenseOptimizer::Create(*device.ctx, **parameters, options);
  REQUIRE(absl::IsInvalidArgument(refused.status()));
  REQUIRE(std::string(refused.status().message()).find("group 'odd'") != std::string::npos);
}

TEST_CASE("slots are as many as the kind has, and restoring them and the count continues exactly") {
  TestDevice device;
  REQUIRE(Make(device, Options(DenseOptimizerKind::kSgd)).optimizer->slots().empty());
  REQUIRE(Make(device, Options(DenseOptimizerKind::kAdagrad)).optimizer->slots().size() == 1);
  const DenseOptimizerOptions options = Options(DenseOptimizerKind::kAdam);
  Trained a = Make(device, options);
  Trained b = Make(device, options);
  const auto step = [&](Trained& t, uint64_t seed) {
    SetGradients(device, t, RandomFloats(seed, 25));
    REQUIRE(t.optimizer->Step(*device.ctx, *t.parameters, 1.0).ok());
  };
  for (uint64_t seed : {1, 2, 3}) step(a, seed);
  for (size_t s = 0; s < 2; ++s) {
    const std::vector<float> slot = device.Download(a.optimizer->slots()[s]);
    REQUIRE(device.ctx->CopyFromHost(slot.data(), 100, b.optimizer->slots()[s]).ok());
  }
  const std::vector<float> values = device.Download(a.parameters->values());
  REQUIRE(device.ctx->CopyFromHost(values.data(), 27 * 4, b.parameters->values()).ok());
  b.optimizer->set_steps(a.optimizer->steps());
  step(a, 4);
  step(b, 4);
  REQUIRE(
      SameBits(device.Download(a.parameters->values()), device.Download(b.parameters->values())));
}

TEST_CASE("a frozen group keeps its bits under momentum and decay") {
  TestDevice device;
  DenseOptimizerOptions options = Options(DenseOptimizerKind::kAdamW);
  options.args.weight_decay = 0.1f;
  Trained t = Make(device, options);
  const auto step = [&] {
    SetGradients(device, t, RandomFloats(1, 25));
    REQUIRE(t.optimizer->Step(*device.ctx, *t.parameters, 1.0).ok());
  };
  step();
  REQUIRE(t.parameters->Freeze({"head"}).ok());
  const std::vector<float> before = device.Download(t.parameters->values());
  step();
  const std::vector<float> after = device.Download(t.parameters->values());
  for (size_t i = 0; i < 20; ++i) REQUIRE(before[i] != after[i]);
  for (size_t i = 20; i < 25; ++i) REQUIRE(before[i] == after[i]);
}

TEST_CASE("a gradient that is not finite changes nothing and names its parameter") {
  TestDevice device;
  for (float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 3e38f}) {
    CAPTURE(bad);
    Trained t = Make(device, Options(DenseOptimizerKind::kAdam));
    const std::vector<float> before = device.Download(t.parameters->values());
    std::vector<float> gradient = RandomFloats(1, 25);
    gradient[17] = bad;
    SetGradients(device, t, gradient);
    const auto status = t.optimizer->Step(*device.ctx, *t.parameters, 1.0).status();
    REQUIRE(status.code() == absl::StatusCode::kOutOfRange);
    REQUIRE(status.message().find("'b'") != std::string::npos);
    REQUIRE(SameBits(device.Download(t.parameters->values()), before));
    REQUIRE(device.Download(t.optimizer->slots()[0]) == std::vector<float>(25, 0.0f));
    REQUIRE(t.optimizer->steps() == 0);
  }
}

TEST_CASE("a model without dense parameters takes empty steps") {
  TestDevice device;
  auto parameters = ParameterSet::Create(*device.ctx, {}, 1);
  REQUIRE(parameters.ok());
  auto optimizer =
      DenseOptimizer::Create(*device.ctx, **parameters, Options(DenseOptimizerKind::kAdam));
  REQUIRE(optimizer.ok());
  const auto norm = (*optimizer)->Step(*device.ctx, **parameters, 1.0);
  REQUIRE(norm.ok());
  REQUIRE(*norm == 0.0);
}

TEST_CASE("optimizer names and options out of range are refused by name") {
  REQUIRE(*DenseOptimizer::ParseKind("adamw") == DenseOptimizerKind::kAdamW);
  REQUIRE(*DenseOptimizer::ParseKind("sgd") == DenseOptimizerKind::kSgd);
  RequireInvalid(DenseOptimizer::ParseKind("adagard").status(), "did you mean 'adagrad'");
  RequireInvalid(DenseOptimizer::ParseKind("lion").status(), "sgd, adagrad, adam, adamw");
  TestDevice device;
  auto parameters = ParameterSet::Create(*device.ctx, Decls(), 1);
  const auto refused = [&](const DenseOptimizerOptions& options, const std::string& word) {
    RequireInvalid(DenseOptimizer::Create(*device.ctx, **parameters, options).status(), word);
  };
  DenseOptimizerOptions options;
  options.args.learning_rate = -1.0f;
  refused(options, "learning_rate");
  options = {};
  options.args.beta1 = 1.0f;
  refused(options, "beta1");
  options = {};
  options.clip_norm = std::numeric_limits<double>::quiet_NaN();
  refused(options, "clip_norm");
  options = {};
  options.group_rates = {{"head", -0.5}};
  refused(options, "'head'");
}

}  // namespace
}  // namespace pagoda
