#include "kernels/matmul.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

struct Product {
  int64_t m, n, k;
};
constexpr Product kProducts[] = {{0, 3, 4},      {3, 0, 4},      {3, 4, 0},
                                 {1, 1, 1},      {17, 5, 3},     {257, 33, 17},
                                 {1023, 64, 31}, {24, 40, 4100}, {300, 1, 65}};

Shape Stored(int64_t rows, int64_t columns, bool transposed) {
  return transposed ? Shape{columns, rows} : Shape{rows, columns};
}

}  // namespace

TEST_CASE("MatMul matches the oracle, with every transposition, on any threads") {
  for (const auto [m, n, k] : kProducts) {
    const std::vector<float> a = RandomFloats(1, m * k), b = RandomFloats(2, k * n);
    const std::vector<float> old = RandomFloats(3, m * n);
    for (int mode = 0; mode < 12; ++mode) {
      const float betas[] = {0.0f, 1.0f, 0.5f};
      const MatMulArgs args{(mode & 1) != 0, (mode & 2) != 0, betas[mode / 4]};
      CAPTURE(m, n, k, args.trans_a, args.trans_b, args.beta);
      const std::vector<float> got = RunEverywhere([&, m = m, n = n, k = k](TestDevice& device) {
        const Tensor out = args.beta == 0 ? *device.ctx->Empty({m, n}) : device.Upload(old, {m, n});
        REQUIRE(MatMul(*device.ctx, device.Upload(a, Stored(m, k, args.trans_a)),
                       device.Upload(b, Stored(k, n, args.trans_b)), args, out)
                    .ok());
        return device.Download(out);
      });
      std::vector<Exact> want(old.size());
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          Exact& exact = want[static_cast<size_t>(i * n + j)];
          exact.Add(static_cast<double>(args.beta) * old[static_cast<size_t>(i * n + j)]);
          for (int64_t p = 0; p < k; ++p) {
            const size_t at_a = static_cast<size_t>(args.trans_a ? p * m + i : i * k + p);
            const size_t at_b = static_cast<size_t>(args.trans_b ? j * k + p : p * n + j);
            exact.Add(static_cast<double>(a[at_a]) * static_cast<double>(b[at_b]));
          }
        }
      }
      RequireNear(got, want);
    }
  }
}

TEST_CASE("BatchMatMul is MatMul of each, with every transposition, in f32 and bf16") {
  constexpr int64_t s = 5;
  for (const auto [m, n, k] :
       {Product{0, 3, 4}, {3, 4, 0}, {1, 1, 1}, {1, 20, 8}, {17, 5, 3}, {20, 20, 16}}) {
    const std::vector<float> a = RandomFloats(1, s * m * k), b = RandomFloats(2, s * k * n);
    const std::vector<float> old = RandomFloats(3, s * m * n);
    for (int mode = 0; mode < 8; ++mode) {
      const MatMulArgs args{(mode & 1) != 0, (mode & 2) != 0, 0.5f};
      const DType type = (mode & 4) != 0 ? DType::kBF16 : DType::kF32;
      CAPTURE(m, n, k, mode);
      const Shape shape_a = Stored(m, k, args.trans_a), shape_b = Stored(k, n, args.trans_b);
      const auto batched = [&](const Shape& one) { return Shape{s, one[0], one[1]}; };
      const std::vector<float> got = RunEverywhere([&, m = m, n = n](TestDevice& device) {
        device.ctx->set_compute_dtype(type);
        const Tensor out = device.Upload(old, {s, m, n});
        REQUIRE(BatchMatMul(*device.ctx, device.Upload(a, batched(shape_a)),
                            device.Upload(b, batched(shape_b)), args, out)
                    .ok());
        return device.Download(out);
      });
      TestDevice device;
      device.ctx->set_compute_dtype(type);
      std::vector<float> want;
      for (int64_t i = 0; i < s; ++i) {
        const Tensor out = device.Upload(Slice(old, i * m * n, m * n), {m, n});
        REQUIRE(MatMul(*device.ctx, device.Upload(Slice(a, i * m * k, m * k), shape_a),
                       device.Upload(Slice(b, i * k * n, k * n), shape_b), args, out)
                    .ok());
        Append(&want, device.Download(out));
      }
      // The same terms, which oneDNN may add in another order.
      RequireWithin(got, ToDouble(want), [&](size_t) { return 1e-5; });
    }
  }
  TestDevice device;
  Context& ctx = *device.ctx;
  RequireInvalid(
      BatchMatMul(ctx, *ctx.Zeros({2, 3, 4}), *ctx.Zeros({3, 4, 5}), {}, *ctx.Zeros({2, 3, 5})),
      "BatchMatMul: b has shape [3, 4, 5], expected [2, 4, 5]");
}

TEST_CASE("MatMul in bf16 is the product of the rounded operands, whatever the CPU") {
  constexpr int64_t m = 65, n = 33, k = 129;
  // Values of 8 bits are their own bf16: the result must be that of f32.
  std::vector<float> a(m * k), b(k * n);
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 251) - 125.0f;
  for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i % 127) - 63.0f;
  std::vector<float> results[2];
  for (DType type : {DType::kF32, DType::kBF16}) {
    results[type == DType::kBF16] = RunEverywhere([&](TestDevice& device) {
      device.ctx->set_compute_dtype(type);
      const Tensor out = *device.ctx->Empty({m, n});
      REQUIRE(
          MatMul(*device.ctx, device.Upload(a, {m, k}), device.Upload(b, {k, n}), {}, out).ok());
      return device.Download(out);
    });
  }
  REQUIRE(results[0] == results[1]);  // Integers below 2^24: exact in any order.
  // One that is not: 1 + 2^-9 rounds to 1.
  TestDevice device;
  device.ctx->set_compute_dtype(DType::kBF16);
  const Tensor out = *device.ctx->Empty({1, 1});
  REQUIRE(MatMul(*device.ctx, device.Upload<float>({1.0f + 0x1p-9f}, {1, 1}),
                 device.Upload<float>({3.0f}, {1, 1}), {}, out)
              .ok());
  REQUIRE(device.Download(out)[0] == 3.0f);
  constexpr float inf = std::numeric_limits<float>::infinity();
  REQUIRE(MatMul(*device.ctx, device.Upload<float>({inf}, {1, 1}),
                 device.Upload<float>({3.0f}, {1, 1}), {}, out)
              .ok());
  REQUIRE(device.Download(out)[0] == inf);
}

TEST_CASE("MatMul refuses operands that do not fit") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor a = *ctx.Zeros({3, 4}), b = *ctx.Zeros({5, 2}), out = *ctx.Zeros({3, 2});
  RequireInvalid(MatMul(ctx, a, b, {}, out), "MatMul: b has shape [5, 2], expected [4, 2]");
  RequireInvalid(MatMul(ctx, a, *ctx.Zeros({2, 4}), {.trans_b = true}, *ctx.Zeros({2, 3})),
                 "MatMul: out has shape [2, 3], expected [3, 2]");
  RequireInvalid(MatMul(ctx, *ctx.Zeros({3}), b, {}, out), "MatMul: a has shape [3]");
}

}  // namespace pagoda
