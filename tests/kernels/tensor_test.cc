#include "kernels/tensor.h"

#include <catch2/catch.hpp>

#include "tests/kernels/operator_harness.h"

namespace pagoda {

TEST_CASE("Shapes print and multiply") {
  REQUIRE(ShapeString({}) == "[]");
  REQUIRE(ShapeString({7}) == "[7]");
  REQUIRE(ShapeString({4096, 26, 16}) == "[4096, 26, 16]");
  REQUIRE(NumElements({}) == 1);
  REQUIRE(NumElements({5, 0, 3}) == 0);
  REQUIRE(NumElements({5, 2, 3}) == 30);
}

TEST_CASE("A default tensor is absent and empty") {
  const Tensor tensor;
  REQUIRE(tensor.absent());
  REQUIRE(tensor.size() == 0);
  REQUIRE(tensor.shape() == Shape{0});
  REQUIRE(tensor.data<float>() == nullptr);
}

TEST_CASE("Views share memory at the right offset") {
  TestDevice device;
  const Tensor x = device.Upload<float>({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {4, 3});
  REQUIRE(device.Download(x.Rows(1, 3)) == std::vector<float>{3, 4, 5, 6, 7, 8});
  REQUIRE(x.Rows(1, 3).shape() == Shape{2, 3});
  REQUIRE(x.Rows(2, 2).size() == 0);
  REQUIRE(device.Download(x.Flat(5, {2, 2})) == std::vector<float>{5, 6, 7, 8});
  REQUIRE(device.Download(x.Reshape({2, 6}).Rows(1, 2)) == std::vector<float>{6, 7, 8, 9, 10, 11});
  // A view of a view counts from the view's start.
  REQUIRE(device.Download(x.Rows(1, 4).Rows(1, 2)) == std::vector<float>{6, 7, 8});
  REQUIRE(x.Rows(1, 2).raw() == x.data<float>() + 3);
}

TEST_CASE("A view keeps its buffer alive") {
  TestDevice device;
  Tensor view;
  {
    const Tensor x = device.Upload<float>({1, 2, 3, 4}, {4});
    view = x.Flat(2, {2});
  }
  const Tensor other = device.Upload<float>({9, 9, 9, 9}, {4});
  REQUIRE(device.Download(view) == std::vector<float>{3, 4});
}

TEST_CASE("Integer tensors offset by their own element size") {
  TestDevice device;
  const Tensor x = device.Upload<int64_t>({1, 2, 3}, {3});
  REQUIRE(x.dtype() == DType::kI64);
  int64_t value = 0;
  REQUIRE(device.ctx->CopyToHost(x.Flat(2, {}), &value, 8).ok());
  REQUIRE(value == 3);
}

}  // namespace pagoda
