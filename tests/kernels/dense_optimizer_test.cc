#include "kernels/dense_optimizer.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

struct State {
  Doubles w, slot1, slot2;
};

// One step by the formulas of the header, in double.
void StepOracle(const DenseStepArgs& a, const std::vector<float>& gradient, State* s) {
  const double t = static_cast<double>(a.step);
  for (size_t i = 0; i < s->w.size(); ++i) {
    const bool decoupled = a.kind == DenseOptimizerKind::kAdamW;
    double& w = s->w[i];
    const double g = static_cast<double>(a.gradient_scale) * gradient[i] +
                     (decoupled ? 0.0 : static_cast<double>(a.weight_decay) * w);
    switch (a.kind) {
      case DenseOptimizerKind::kSgd:
        s->slot1[i] = a.momentum * s->slot1[i] + g;
        w -= a.learning_rate * (a.momentum == 0.0f ? g : s->slot1[i]);
        break;
      case DenseOptimizerKind::kAdagrad:
        s->slot1[i] += g * g;
        w -= a.learning_rate * g / (std::sqrt(s->slot1[i]) + a.epsilon);
        break;
      case DenseOptimizerKind::kAdamW: w -= a.learning_rate * a.weight_decay * w; [[fallthrough]];
      case DenseOptimizerKind::kAdam:
        s->slot1[i] = a.beta1 * s->slot1[i] + (1.0 - a.beta1) * g;
        s->slot2[i] = a.beta2 * s->slot2[i] + (1.0 - a.beta2) * g * g;
        w -= a.learning_rate * (s->slot1[i] / (1.0 - std::pow(a.beta1, t))) /
             (std::sqrt(s->slot2[i] / (1.0 - std::pow(a.beta2, t))) + a.epsilon);
        break;
    }
  }
}

constexpr DenseOptimizerKind kKinds[] = {DenseOptimizerKind::kSgd, DenseOptimizerKind::kAdagrad,
                                         DenseOptimizerKind::kAdam, DenseOptimizerKind::kAdamW};

}  // namespace

TEST_CASE("Dense optimizers follow their formulas over many steps") {
  for (DenseOptimizerKind kind : kKinds) {
    for (float momentum : {0.0f, 0.9f}) {
      for (float decay : {0.0f, 0.01f}) {
        for (int64_t n : {0, 1, 17, 257, 40000}) {
          CAPTURE(static_cast<int>(kind), momentum, decay, n);
          const int steps = n > 1000 ? 2 : 12;
          DenseStepArgs args;
          args.kind = kind;
          args.learning_rate = 0.05f;
          args.gradient_scale = 0.5f;
          args.momentum = momentum;
          args.weight_decay = decay;
          const std::vector<float> start = RandomFloats(1, n);
          const std::vector<float> sums(static_cast<size_t>(n), 0.1f);
          const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
            const Tensor w = device.Upload(start, {n});
            const bool adagrad = kind == DenseOptimizerKind::kAdagrad;
            const Tensor slot1 = adagrad ? device.Upload(sums, {n}) : *device.ctx->Zeros({n});
            const Tensor slot2 = *device.ctx->Zeros({n});
            DenseStepArgs now = args;
            for (now.step = 1; now.step <= steps; ++now.step) {
              const Tensor g = device.Upload(RandomFloats(10 + now.step, n), {n});
              REQUIRE(DenseOptimizerStep(*device.ctx, now, g, w, slot1, slot2).ok());
            }
            return device.Download(w);
          });
          State state{ToDouble(start), Doubles(start.size(), 0.0), Doubles(start.size(), 0.0)};
          if (kind == DenseOptimizerKind::kAdagrad) state.slot1 = ToDouble(sums);
          for (args.step = 1; args.step <= steps; ++args.step) {
            StepOracle(args, RandomFloats(static_cast<uint64_t>(10 + args.step), n), &state);
          }
          // About ten roundings a step, of values of size 1.
          RequireWithin(got, state.w, [&](size_t) { return 10.0 * steps * kUnitRoundoff; });
        }
      }
    }
  }
}

TEST_CASE("The first Adam step has the size of the learning rate") {
  TestDevice device;
  DenseStepArgs args;
  args.kind = DenseOptimizerKind::kAdam;
  args.learning_rate = 0.001f;
  const Tensor w = *device.ctx->Zeros({3}), m = *device.ctx->Zeros({3}),
               v = *device.ctx->Zeros({3});
  const Tensor g = device.Upload<float>({1e-3f, -5.0f, 1e4f}, {3});
  REQUIRE(DenseOptimizerStep(*device.ctx, args, g, w, m, v).ok());
  const std::vector<float> got = device.Download(w);
  REQUIRE(got[0] == Approx(-0.001).epsilon(1e-4));
  REQUIRE(got[1] == Approx(0.001).epsilon(1e-4));
  REQUIRE(got[2] == Approx(-0.001).epsilon(1e-4));
}

TEST_CASE("Dense optimizers need their slots and no others") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor w = device.Upload<float>({1, 2}, {2}), g = *ctx.Zeros({2}), s = *ctx.Zeros({2});
  DenseStepArgs args;
  REQUIRE(DenseOptimizerStep(ctx, args, g, w, Tensor(), Tensor()).ok());
  args.momentum = 0.9f;
  RequireInvalid(DenseOptimizerStep(ctx, args, g, w, Tensor(), Tensor()), "slot1 is absent");
  args.kind = DenseOptimizerKind::kAdagrad;
  RequireInvalid(DenseOptimizerStep(ctx, args, g, w, *ctx.Zeros({3}), Tensor()),
                 "DenseOptimizerStep: slot1 has shape [3], expected [2]");
  args.kind = DenseOptimizerKind::kAdam;
  RequireInvalid(DenseOptimizerStep(ctx, args, g, w, s, Tensor()), "slot2 is absent");
  RequireInvalid(DenseOptimizerStep(ctx, args, *ctx.Zeros({3}), w, s, s),
                 "DenseOptimizerStep: gradient has shape [3], expected [2]");
  args.step = 0;
  RequireInvalid(DenseOptimizerStep(ctx, args, g, w, s, s), "step is below 1");
  REQUIRE(device.Download(w) == std::vector<float>{1, 2});
}

}  // namespace pagoda
