#include "algorithms/nn/tape.h"

#include "algorithms/nn/op_node.h"
#include "tests/algorithms/nn/gradient_check.h"

namespace pagoda {
namespace {

TEST_CASE("a value used twice adds up its gradients") {
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({2, 3}, {2}), true);
  const Var square = nn::Multiply(x, x);
  const Var y = nn::Add(square, nn::Scale(square, 2.0f));  // 3 x^2
  REQUIRE(tape.Backward({{nn::Sum(y), 1.0f}}).ok());
  REQUIRE(device.Download(x.grad()) == std::vector<float>{12, 18});
}

TEST_CASE("backward starts from several scalars with their own seeds, repeats included") {
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({2, 3}, {2}), true);
  const Var a = nn::Sum(x);
  const Var b = nn::Sum(nn::Square(nn::SliceRows(x, 0, 1)));  // Of a sub-batch.
  REQUIRE(tape.Backward({{a, 10.0f}, {b, 0.5f}, {a, 1.0f}}).ok());
  REQUIRE(device.Download(x.grad()) == std::vector<float>{13, 11});
}

TEST_CASE("a leaf may itself be a seed") {
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({2}, Shape{}), true);
  REQUIRE(tape.Backward({{x, 4.0f}}).ok());
  REQUIRE(device.Download(x.grad()) == std::vector<float>{4});
}

TEST_CASE("leaves without need, and leaves no loss depends on, get no gradient") {
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({1, 2}, {2}), true);
  const Var constant = tape.Leaf(device.Upload<float>({3, 4}, {2}), false);
  const Var unused = tape.Leaf(device.Upload<float>({5, 6}, {2}), true);
  const Var dead_end = nn::Square(unused);
  REQUIRE(dead_end.needs_grad());
  REQUIRE_FALSE(nn::Square(constant).needs_grad());
  REQUIRE(tape.Backward({{nn::Sum(nn::Multiply(x, constant)), 1.0f}}).ok());
  REQUIRE(device.Download(x.grad()) == std::vector<float>{3, 4});
  REQUIRE(constant.grad().absent());
  REQUIRE(unused.grad().absent());
}

TEST_CASE("grad_into is added to, not overwritten") {
  TestDevice device;
  const Tensor into = device.Upload<float>({100, 200}, {2});
  for (int pass = 0; pass < 2; ++pass) {
    Tape tape(*device.ctx);
    const Var x = tape.Leaf(device.Upload<float>({1, 2}, {2}), true, into);
    REQUIRE(tape.Backward({{nn::Sum(nn::Square(x)), 1.0f}}).ok());
  }
  REQUIRE(device.Download(into) == std::vector<float>{104, 208});
}

TEST_CASE("a gradient is called final once, when no more is added to it, and never before") {
  TestDevice device;
  Tape tape(*device.ctx);
  const auto leaf = [&](float value) {
    return tape.Leaf(device.Upload<float>({value}, Shape{}), true, *device.ctx->Zeros(Shape{}));
  };
  const Var early = leaf(2), late = leaf(3), both = leaf(5), unused = leaf(7), dead_end = leaf(11);
  const Var constant = tape.Leaf(device.Upload<float>({1}, Shape{}), true);  // Has no grad_into.
  const Var a = nn::Multiply(nn::Multiply(early, both), constant);
  (void)nn::Square(dead_end);
  const Var b = nn::Multiply(nn::Multiply(a, late), both);  // early both^2 late
  std::vector<std::pair<Var, float>> seen;
  REQUIRE(tape.Backward({{b, 1.0f}},
                        [&](const Var& final) {
                          seen.emplace_back(final, device.Download(final.grad())[0]);
                          return absl::OkStatus();
                        })
              .ok());
  REQUIRE(seen.size() == 5);
  const auto found = [&](const Var& var) {
    for (size_t i = 0; i < seen.size(); ++i) {
      if (seen[i].first == var) return i;
    }
    return seen.size();
  };
  REQUIRE(found(unused) == 0);
  REQUIRE(found(late) < found(early));
  REQUIRE(seen[found(early)].second == 75);
  REQUIRE(seen[found(late)].second == 50);
  REQUIRE(seen[found(both)].second == 60);
  REQUIRE(seen[found(dead_end)].second == 0);
  REQUIRE(seen[found(unused)].second == 0);

  Tape again(*device.ctx);
  const Var x = again.Leaf(device.Upload<float>({1}, Shape{}), true, *device.ctx->Zeros(Shape{}));
  REQUIRE(again
              .Backward({{nn::Square(x), 1.0f}},
                        [](const Var&) { return absl::DataLossError("planted"); })
              .code() == absl::StatusCode::kDataLoss);
}

TEST_CASE("the first error sticks, and everything after it does nothing") {
  TestDevice device;
  Tape tape(*device.ctx);
  const Var a = tape.Leaf(device.Upload<float>({1, 2}, {2}), true);
  const Var b = tape.Leaf(device.Upload<float>({1, 2, 3}, {3}), true);
  const Var bad = nn::Add(a, b);
  REQUIRE_FALSE(bad.valid());
  RequireInvalid(tape.status(), "Add");
  REQUIRE_FALSE(nn::Square(bad).valid());
  REQUIRE_FALSE(nn::Multiply(a, bad).valid());
  REQUIRE_FALSE(nn::Square(a).valid());  // Would be fine by itself.
  REQUIRE_FALSE(nn::Sum(a).valid());
  REQUIRE_FALSE(tape.StopGradient(a).valid());
  REQUIRE_FALSE(tape.Leaf(a.value(), true).valid());
  tape.Fail(absl::InternalError("a later one"));
  RequireInvalid(tape.status(), "Add");
  RequireInvalid(tape.Backward({{a, 1.0f}}), "Add");
}

TEST_CASE("backward refuses what is no scalar of its tape, and a second call") {
  TestDevice device;
  Tape tape(*device.ctx);
  Tape other(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({1, 2}, {2}), true);
  RequireInvalid(tape.Backward({{x, 1.0f}}), "scalar");
  RequireInvalid(tape.Backward({{Var(), 1.0f}}), "not a value of this tape");
  const Var foreign = other.Leaf(device.Upload<float>({1}, Shape{}), true);
  RequireInvalid(tape.Backward({{foreign, 1.0f}}), "not a value of this tape");
  // The refusals ran nothing: a right call still works.
  REQUIRE(tape.Backward({{nn::Sum(x), 1.0f}}).ok());
  REQUIRE(device.Download(x.grad()) == std::vector<float>{1, 1});
  REQUIRE(tape.Backward({{nn::Sum(x), 1.0f}}).code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("an error in a backward function is returned") {
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({1}, Shape{}), true);
  const Var y =
      tape.Node(x.value(), {x}, [](const Tensor&) { return absl::DataLossError("planted"); });
  REQUIRE(tape.Backward({{y, 1.0f}}).code() == absl::StatusCode::kDataLoss);
}

TEST_CASE("a node's backward runs once, after all of its users") {
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({3}, Shape{}), true);
  int calls = 0;
  std::vector<float> seen;
  const Var y = tape.Node(x.value(), {x}, [&](const Tensor& dy) -> absl::Status {
    ++calls;
    seen = device.Download(dy);
    return absl::OkStatus();
  });
  const Var a = nn::Scale(y, 2.0f);
  const Var b = nn::Multiply(y, a);  // y used by an early and a late operation: 2 y^2
  REQUIRE(tape.Backward({{b, 1.0f}}).ok());
  REQUIRE(calls == 1);
  REQUIRE(seen == std::vector<float>{12});  // 4 y
}

TEST_CASE("references to values survive later operations") {
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({1, 2}, {2}), true);
  const Tensor& value = x.value();
  Var y = x;
  for (int i = 0; i < 1000; ++i) y = nn::Scale(y, 1.0f);
  REQUIRE(&x.value() == &value);
  REQUIRE(tape.Backward({{nn::Sum(y), 1.0f}}).ok());
  REQUIRE(device.Download(x.grad()) == std::vector<float>{1, 1});
}

TEST_CASE("an operation of invalid operands alone is invalid, and the tape stays sound") {
  REQUIRE_FALSE(nn::Add(Var(), Var()).valid());
  REQUIRE_FALSE(nn::Concat({Var(), Var()}).valid());
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({1}, {1}), true);
  REQUIRE_FALSE(nn::Linear(Var(), x, Var()).valid());
  RequireInvalid(tape.status(), "invalid Var");
}

}  // namespace
}  // namespace pagoda
