#include "kernels/concat.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

struct Part {
  int64_t n, width, column, total;
};
constexpr Part kParts[] = {{0, 3, 1, 7},     {5, 0, 2, 2},       {1, 1, 0, 1},      {17, 3, 4, 7},
                           {257, 17, 0, 33}, {1023, 33, 31, 64}, {600, 129, 1, 257}};

}  // namespace

TEST_CASE("Columns are written, read, blended and added in place, and no others") {
  for (const Part p : kParts) {
    CAPTURE(p.n, p.width, p.column, p.total);
    const std::vector<float> narrow = RandomFloats(1, p.n * p.width);
    const std::vector<float> wide = RandomFloats(2, p.n * p.total);
    const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
      const Tensor tn = device.Upload(narrow, {p.n, p.width});
      const Tensor written = device.Upload(wide, {p.n, p.total});
      REQUIRE(WriteColumns(*device.ctx, tn, p.column, written).ok());
      const Tensor added = device.Upload(wide, {p.n, p.total});
      REQUIRE(AddColumns(*device.ctx, tn, p.column, added).ok());
      const Tensor read = *device.ctx->Empty({p.n, p.width});
      REQUIRE(ReadColumns(*device.ctx, added, p.column, 0.0f, read).ok());
      REQUIRE(ReadColumns(*device.ctx, added, p.column, 0.5f, tn).ok());
      std::vector<float> all = device.Download(written);
      for (const Tensor& tensor : {added, read, tn}) Append(&all, device.Download(tensor));
      return all;
    });
    std::vector<float> written = wide, added = wide, read(narrow.size()), blended = narrow;
    for (int64_t i = 0; i < p.n; ++i) {
      for (int64_t j = 0; j < p.width; ++j) {
        const size_t from = static_cast<size_t>(i * p.width + j);
        const size_t to = static_cast<size_t>(i * p.total + p.column + j);
        written[to] = narrow[from];
        added[to] += narrow[from];
        read[from] = added[to];
        blended[from] = 0.5f * narrow[from] + added[to];
      }
    }
    std::vector<float> want = written;
    for (const auto& part : {added, read, blended}) Append(&want, part);
    REQUIRE(got == want);
  }
}

TEST_CASE("Columns that do not lie within are refused") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor narrow = *ctx.Zeros({4, 3}), wide = *ctx.Zeros({4, 5});
  RequireInvalid(WriteColumns(ctx, narrow, 3, wide),
                 "WriteColumns: narrow [4, 3] at column 3 does not lie within wide [4, 5]");
  RequireInvalid(AddColumns(ctx, narrow, -1, wide), "AddColumns: narrow [4, 3] at column -1");
  RequireInvalid(ReadColumns(ctx, *ctx.Zeros({3, 5}), 0, 0.0f, narrow),
                 "ReadColumns: narrow has shape [4, 3], expected [3, 3] beside wide [3, 5]");
  RequireInvalid(WriteColumns(ctx, wide, 0, narrow), "does not lie within");
}

}  // namespace pagoda
