// Checks a tape operation's backward against finite differences of its own
// forward, on every device and with every combination of operands that matters.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "algorithms/nn/ops.h"
#include "algorithms/nn/tape.h"
#include "tests/kernels/operator_harness.h"

namespace pagoda {

using OpUnderTest = std::function<Var(const std::vector<Var>&)>;

// Downloads a tensor after an operation that must have succeeded.
inline std::vector<float> ValueOf(TestDevice& device, const Var& y) {
  REQUIRE(y.valid());
  return device.Download(y.value());
}

struct OpRun {
  std::vector<float> value;                   // Of the operation.
  std::vector<std::vector<float>> gradients;  // Per input; empty when it asked for none.
};

// How the inputs are used beside the operation.
enum class ExtraUse {
  kNone,
  kBefore,  // Its gradient is added after the operation's.
  kAfter    // Its gradient is there first: the operation must add to it.
};

class GradientCheck {
 public:
  GradientCheck(std::vector<Shape> shapes, OpUnderTest op, uint64_t seed = 1)
      : shapes_(std::move(shapes)), op_(std::move(op)), seed_(seed) {
    for (size_t i = 0; i < shapes_.size(); ++i) {
      inputs_.push_back(RandomFloats(seed_ + 100 * i, NumElements(shapes_[i])));
    }
  }

  // Input i instead of uniform values in [-1, 1).
  GradientCheck& Set(size_t input, std::vector<float> values) {
    inputs_[input] = std::move(values);
    return *this;
  }

  // d(sum of c * op(inputs)) for random c, by backward and by differences.
  void Run() {
    CAPTURE(seed_);
    TestDevice device;
    const OpRun run = RunOnce(device, ExtraUse::kNone, -1);
    CompareWithDifferences(device, run);
    CompareExtraUse(device, run);
    for (size_t i = 0; i < inputs_.size(); ++i) {
      INFO("only input " << i << " needs a gradient");
      const OpRun alone = RunOnce(device, ExtraUse::kNone, static_cast<int>(i));
      REQUIRE(SameBits(alone.gradients[i], run.gradients[i]));
    }
    RunEverywhere([&](TestDevice& other) {
      std::vector<float> all;
      for (const std::vector<float>& gradient : RunOnce(other, ExtraUse::kNone, -1).gradients) {
        all.insert(all.end(), gradient.begin(), gradient.end());
      }
      return all;
    });
  }

 private:
  // `only`: the one input that needs a gradient, or -1 for all.
  OpRun RunOnce(TestDevice& device, ExtraUse extra, int only) {
    Tape tape(*device.ctx);
    std::vector<Var> leaves;
    std::vector<Tape::Seed> seeds;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      leaves.push_back(tape.Leaf(device.Upload(inputs_[i], shapes_[i]),
                                 only < 0 || only == static_cast<int>(i)));
    }
    if (extra == ExtraUse::kBefore) AddExtraUses(device, leaves, &seeds);
    const Var y = op_(leaves);
    INFO(tape.status());
    REQUIRE(y.valid());
    const Var c = tape.Leaf(device.Upload(Coefficients(y.value().size()), y.shape()), false);
    seeds.push_back({nn::Sum(nn::Multiply(y, c)), 1.0f});
    if (extra == ExtraUse::kAfter) AddExtraUses(device, leaves, &seeds);
    REQUIRE(tape.Backward(seeds).ok());
    OpRun run;
    run.value = device.Download(y.value());
    for (const Var& leaf : leaves) {
      run.gradients.push_back(leaf.grad().absent() ? std::vector<float>()
                                                   : device.Download(leaf.grad()));
    }
    return run;
  }

  void AddExtraUses(TestDevice& device, const std::vector<Var>& leaves,
                    std::vector<Tape::Seed>* seeds) {
    for (size_t i = 0; i < leaves.size(); ++i) {
      const Var e = leaves[i].tape().Leaf(device.Upload(ExtraCoefficients(i), shapes_[i]), false);
      seeds->push_back({nn::Sum(nn::Multiply(leaves[i], e)), 1.0f});
    }
  }

  void CompareExtraUse(TestDevice& device, const OpRun& plain) {
    for (ExtraUse use : {ExtraUse::kBefore, ExtraUse::kAfter}) {
      const OpRun extra = RunOnce(device, use, -1);
      for (size_t i = 0; i < inputs_.size(); ++i) {
        const std::vector<float> e = ExtraCoefficients(i);
        for (size_t k = 0; k < e.size(); ++k) {
          INFO("input " << i << " element " << k
                        << (use == ExtraUse::kAfter ? " after" : " before"));
          REQUIRE(extra.gradients[i][k] ==
                  Approx(plain.gradients[i][k] + e[k]).epsilon(1e-5).margin(1e-5));
        }
      }
    }
  }

  // Fourth-order central differences in float. Truncation is h^4 / 30 of the fifth
  // derivative (below 1e-5 here); rounding is that of the values over h.
  void CompareWithDifferences(TestDevice& device, const OpRun& run) {
    constexpr float kH = 1.0f / 32.0f;  // A power of two: x +- h is exact enough.
    const std::vector<float> c = Coefficients(static_cast<int64_t>(run.value.size()));
    double magnitude = 0.0;
    for (size_t k = 0; k < c.size(); ++k) magnitude += std::fabs(double{c[k]} * run.value[k]);
    const double tolerance = 2e-5 + 24 * kUnitRoundoff * (1.0 + magnitude) / double{kH};
    for (size_t i = 0; i < inputs_.size(); ++i) {
      for (size_t k = 0; k < inputs_[i].size(); ++k) {
        const float at = inputs_[i][k];
        const auto loss = [&](float x) {
          inputs_[i][k] = x;
          const double sum = Loss(device, c);
          inputs_[i][k] = at;
          return sum;
        };
        const double near = loss(at + kH) - loss(at - kH);
        const double far = loss(at + 2 * kH) - loss(at - 2 * kH);
        const double slope = (8.0 * near - far) / (12.0 * double{kH});
        INFO("input " << i << " element " << k << " tolerance " << tolerance);
        REQUIRE(run.gradients[i].size() == inputs_[i].size());
        REQUIRE(run.gradients[i][k] == Approx(slope).epsilon(1e-4).margin(tolerance));
      }
    }
  }

  double Loss(TestDevice& device, const std::vector<float>& c) {
    Tape tape(*device.ctx);
    std::vector<Var> leaves;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      leaves.push_back(tape.Leaf(device.Upload(inputs_[i], shapes_[i]), false));
    }
    const std::vector<float> value = ValueOf(device, op_(leaves));
    double sum = 0.0;
    for (size_t k = 0; k < c.size(); ++k) sum += double{c[k]} * double{value[k]};
    return sum;
  }

  std::vector<float> Coefficients(int64_t size) const { return RandomFloats(seed_ + 7777, size); }
  std::vector<float> ExtraCoefficients(size_t input) const {
    return RandomFloats(seed_ + 8888 + input, NumElements(shapes_[input]));
  }

  std::vector<Shape> shapes_;
  OpUnderTest op_;
  uint64_t seed_;
  std::vector<std::vector<float>> inputs_;
};

// An operation on operands of these shapes must put INVALID_ARGUMENT with `word` on
// the tape and return an invalid Var.
inline void RequireOpRefused(const std::vector<Shape>& shapes, const OpUnderTest& op,
                             const std::string& word) {
  TestDevice device;
  Tape tape(*device.ctx);
  std::vector<Var> leaves;
  for (const Shape& shape : shapes) {
    leaves.push_back(tape.Leaf(device.Upload(RandomFloats(1, NumElements(shape)), shape), true));
  }
  REQUIRE_FALSE(op(leaves).valid());
  RequireInvalid(tape.status(), word);
}

}  // namespace pagoda
