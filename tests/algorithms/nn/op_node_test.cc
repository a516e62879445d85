#include "algorithms/nn/op_node.h"

#include "tests/algorithms/nn/gradient_check.h"

namespace pagoda {
namespace {

// The example of op_node.h's comment.
Var Doubled(const Var& x) {
  return nn::RunOp("Doubled", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(nn::CheckRank(x, 1));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Zeros(x.shape()));
    PAGODA_RETURN_IF_ERROR(nn::AddInto(tape.ctx(), x.value(), y));
    PAGODA_RETURN_IF_ERROR(nn::AddInto(tape.ctx(), x.value(), y));
    return tape.Node(y, {x}, [x](const Tensor& dy) -> absl::Status {
      PAGODA_ASSIGN_OR_RETURN(const Tensor dx, nn::GradientOrAbsent(x));
      PAGODA_RETURN_IF_ERROR(nn::AddInto(x.tape().ctx(), dy, dx));
      return nn::AddInto(x.tape().ctx(), dy, dx);
    });
  });
}

TEST_CASE("an operation written with op_node.h runs, differentiates and reports by its name") {
  GradientCheck({{5}}, [](const std::vector<Var>& x) { return Doubled(x[0]); }).Run();
  RequireOpRefused(
      {{2, 3}}, [](const std::vector<Var>& x) { return Doubled(x[0]); },
      "Doubled: needs an operand of rank 1, got shape [2, 3]");
}

TEST_CASE("GradientOrAbsent is absent for what needs no gradient, or is no value at all") {
  TestDevice device;
  Tape tape(*device.ctx);
  const Var constant = tape.Leaf(device.Upload<float>({1}, {1}), false);
  const Var variable = tape.Leaf(device.Upload<float>({1}, {1}), true);
  REQUIRE(nn::GradientOrAbsent(Var())->absent());
  REQUIRE(nn::GradientOrAbsent(constant)->absent());
  REQUIRE(device.Download(*nn::GradientOrAbsent(variable)) == std::vector<float>{0.0f});
}

TEST_CASE("AddGradient overwrites first and adds later; AddOverwritten always adds up") {
  TestDevice device;
  Tape tape(*device.ctx);
  Context& ctx = *device.ctx;
  const Var x = tape.Leaf(device.Upload<float>({0}, {1}), true);
  const Tensor three = device.Upload<float>({3}, {1});
  std::vector<float> betas;
  const auto write = [&](const Tensor& dx, float beta) -> absl::Status {
    betas.push_back(beta);
    const float value = beta == 0.0f ? 5.0f : device.Download(dx)[0] + 5.0f;
    return ctx.CopyFromHost(&value, 4, dx);
  };
  REQUIRE(nn::AddGradient(x, write).ok());
  REQUIRE(nn::AddGradient(x, write).ok());
  REQUIRE(betas == std::vector<float>{0.0f, 1.0f});
  const auto overwrite = [&](const Tensor& out) {
    const float value = 3.0f;
    return ctx.CopyFromHost(&value, 4, out);
  };
  REQUIRE(nn::AddOverwritten(x, overwrite).ok());
  REQUIRE(device.Download(x.grad()) == std::vector<float>{13.0f});
  const Var constant = tape.Leaf(three, false);
  REQUIRE(nn::AddGradient(constant, write).ok());
  REQUIRE(betas.size() == 2);
  const Var y = tape.Leaf(three, true);
  REQUIRE(nn::AddOverwritten(y, overwrite).ok());
  REQUIRE(device.Download(y.grad()) == std::vector<float>{3.0f});
}

TEST_CASE("TakeGrad takes the first gradient over and adds later ones") {
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({0}, {1}), true);
  const Var constant = tape.Leaf(device.Upload<float>({0}, {1}), false);
  const Tensor first = device.Upload<float>({1}, {1});
  REQUIRE(tape.TakeGrad(x, first).ok());
  REQUIRE(x.grad().raw() == first.raw());
  REQUIRE(tape.TakeGrad(x, device.Upload<float>({2}, {1})).ok());
  REQUIRE(device.Download(x.grad()) == std::vector<float>{3.0f});
  REQUIRE(tape.TakeGrad(constant, first).ok());
  REQUIRE(constant.grad().absent());
}

}  // namespace
}  // namespace pagoda
