#include "kernels/gemm.h"

#include <bit>

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

struct Product {
  int64_t m, n, k;
};
constexpr Product kProducts[] = {{0, 3, 4},  {3, 0, 4},    {3, 4, 0},      {1, 1, 1},
                                 {17, 5, 3}, {65, 33, 17}, {300, 130, 70}, {40, 24, 2100}};

float BitsToFloat(uint32_t bits) {
  return std::bit_cast<float>(bits);
}

// bf16 by definition: the nearest multiple of its spacing, ties to even.
float RoundToBf16(float x) {
  if (x == 0.0f) return x;
  const double spacing = std::ldexp(1.0, std::max(std::ilogb(x), -126) - 7);
  return static_cast<float>(std::nearbyint(static_cast<double>(x) / spacing) * spacing);
}

std::vector<float> InForm(GemmForm form, std::vector<float> x) {
  if (form != GemmForm::kF32) {
    for (float& value : x) value = RoundToBf16(value);
  }
  return x;
}

std::vector<GemmForm> FormsHere() {
  std::vector<GemmForm> forms = {GemmForm::kF32, GemmForm::kRoundedF32};
  if (GemmFormAvailable(GemmForm::kBF16)) forms.push_back(GemmForm::kBF16);
  return forms;
}

std::vector<char> Converted(GemmForm form, const std::vector<float>& x) {
  std::vector<char> bytes(x.size() * static_cast<size_t>(GemmElementBytes(form)) + 1);
  ConvertForGemm(form, x.data(), static_cast<int64_t>(x.size()), bytes.data());
  return bytes;
}

}  // namespace

TEST_CASE("Conversion rounds to nearest even and keeps the special values") {
  std::vector<float> x = RandomFloats(1, 1023);
  for (size_t i = 0; i < x.size(); ++i) x[i] *= std::ldexp(1.0f, static_cast<int>(i % 80) - 40);
  // Ties: exactly between two bf16, to the even one.
  x.push_back(BitsToFloat(0x3f808000));  // between 3f80 and 3f81
  x.push_back(BitsToFloat(0x3f818000));  // between 3f81 and 3f82
  x.push_back(BitsToFloat(0x00010000));  // a denormal
  x.push_back(0.0f);
  x.push_back(-0.0f);
  for (GemmForm form : {GemmForm::kRoundedF32, GemmForm::kBF16}) {
    const std::vector<char> bytes = Converted(form, x);
    for (size_t i = 0; i < x.size(); ++i) {
      const float got =
          form == GemmForm::kBF16
              ? BitsToFloat(uint32_t{reinterpret_cast<const uint16_t*>(bytes.data())[i]} << 16)
              : reinterpret_cast<const float*>(bytes.data())[i];
      CAPTURE(i, x[i], got);
      REQUIRE(std::bit_cast<uint32_t>(got) == std::bit_cast<uint32_t>(RoundToBf16(x[i])));
    }
  }
  const std::vector<float> special = {
      std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
      BitsToFloat(0x7f7fffff), BitsToFloat(0x7f800001), BitsToFloat(0xffffffff)};
  std::vector<float> out(special.size());
  ConvertForGemm(GemmForm::kRoundedF32, special.data(), 5, out.data());
  REQUIRE(out[0] == special[0]);
  REQUIRE(out[1] == special[1]);
  REQUIRE(std::isinf(out[2]));  // Rounds up past the greatest bf16.
  REQUIRE(std::isnan(out[3]));
  REQUIRE(std::isnan(out[4]));
}

TEST_CASE("Products match the oracle in each form, transposed, strided, accumulated") {
  if (GpuUnderTest()) return;  // Products on a GPU are linear_test.cc's and matmul_test.cc's.
  for (const auto [m, n, k] : kProducts) {
    const std::vector<float> a = RandomFloats(1, (m + k) * (m + k + 3));
    const std::vector<float> b = RandomFloats(2, (n + k) * (n + k + 3));
    const std::vector<float> old = RandomFloats(3, m * (n + 2));
    for (GemmForm form : FormsHere()) {
      const std::vector<float> ra = InForm(form, a), rb = InForm(form, b);
      const std::vector<char> ca = Converted(form, a), cb = Converted(form, b);
      for (int mode = 0; mode < 8; ++mode) {
        GemmArgs args;
        args.m = m;
        args.n = n;
        args.k = k;
        args.a = ca.data();
        args.b = cb.data();
        args.a_transposed = (mode & 1) != 0;
        args.b_transposed = (mode & 2) != 0;
        args.a_stride = (args.a_transposed ? m : k) + 3;
        args.b_stride = (args.b_transposed ? k : n) + 1;
        args.c_stride = n + 2;
        args.beta = (mode & 4) != 0 ? 0.5f : 0.0f;
        CAPTURE(m, n, k, static_cast<int>(form), mode);
        std::vector<float> single = old;
        args.c = single.data();
        Gemm(form, args);
        std::vector<Exact> want(old.size());
        for (size_t i = 0; i < want.size(); ++i) want[i].Add(old[i]);  // Padding stays.
        for (int64_t i = 0; i < m; ++i) {
          for (int64_t j = 0; j < n; ++j) {
            Exact& exact = want[static_cast<size_t>(i * args.c_stride + j)];
            const double before = exact.value;
            exact = Exact();
            exact.Add(static_cast<double>(args.beta) * before);
            for (int64_t p = 0; p < k; ++p) {
              const int64_t at_a =
                  args.a_transposed ? p * args.a_stride + i : i * args.a_stride + p;
              const int64_t at_b =
                  args.b_transposed ? j * args.b_stride + p : p * args.b_stride + j;
              exact.Add(static_cast<double>(ra[static_cast<size_t>(at_a)]) *
                        static_cast<double>(rb[static_cast<size_t>(at_b)]));
            }
          }
        }
        RequireNear(single, want);
        const std::vector<float> parallel = RunEverywhere([&](TestDevice& device) {
          std::vector<float> c = old;
          GemmArgs copy = args;
          copy.c = c.data();
          KernelScope scope(*device.ctx);
          REQUIRE(ParallelGemm(*device.ctx, form, copy).ok());
          return c;
        });
        RequireNear(parallel, want);
      }
    }
  }
}

TEST_CASE("Operands move to wide rows, turned over or not, in each form") {
  struct Matrix {
    int64_t rows, columns;
  };
  for (const auto [rows, columns] :
       {Matrix{0, 3}, {3, 0}, {1, 1}, {17, 5}, {257, 33}, {16, 400}, {33, 429}, {64, 63}}) {
    const std::vector<float> x = RandomFloats(1, rows * columns);
    const int64_t turned_stride = GemmStride(rows);
    const int64_t stride = GemmStride(columns);
    std::vector<float> turned(static_cast<size_t>(columns * turned_stride));
    std::vector<float> widened(static_cast<size_t>(rows * stride));
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        const float value = x[static_cast<size_t>(i * columns + j)];
        turned[static_cast<size_t>(j * turned_stride + i)] = value;
        widened[static_cast<size_t>(i * stride + j)] = value;
      }
    }
    for (GemmForm form : {GemmForm::kF32, GemmForm::kRoundedF32, GemmForm::kBF16}) {
      for (int threads : {1, 8}) {
        CAPTURE(rows, columns, static_cast<int>(form), threads);
        TestDevice device(DeviceKind::kCpu, threads);
        std::vector<char> got = Converted(form, std::vector<float>(turned.size(), 7.0f));
        TransposeForGemm(*device.ctx, form, x.data(), rows, columns, got.data());
        REQUIRE(got == Converted(form, turned));
        got = Converted(form, std::vector<float>(widened.size(), 7.0f));
        WidenForGemm(*device.ctx, form, x.data(), rows, columns, got.data());
        REQUIRE(got == Converted(form, widened));
      }
    }
  }
}

TEST_CASE("Scratch of a thread grows and is aligned") {
  for (int64_t size : {0, 1, 1000, 100}) {
    void* scratch = ThreadScratch(size);
    REQUIRE(reinterpret_cast<uintptr_t>(scratch) % 64 == 0);
    std::memset(scratch, 1, static_cast<size_t>(size));
  }
}

}  // namespace pagoda
