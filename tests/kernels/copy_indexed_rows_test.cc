#include "kernels/copy_indexed_rows.h"

#include <array>
#include <catch2/catch.hpp>

#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

// `count` distinct numbers below `below`, in no order.
std::vector<int32_t> Distinct(uint64_t seed, int64_t count, int64_t below) {
  std::vector<int32_t> all(static_cast<size_t>(below));
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int32_t>(i);
  for (size_t i = all.size(); i > 1; --i) {
    std::swap(all[i - 1], all[RandomBits(RandomKey{seed}, i) % i]);
  }
  all.resize(static_cast<size_t>(count));
  return all;
}

}  // namespace

TEST_CASE("Rows are copied from and to the places that are named, and no others are written") {
  struct Case {
    int64_t n, k, m, d;
  };
  for (const auto [n, k, m, d] : {Case{0, 0, 0, 4},
                                  {3, 3, 0, 4},
                                  {3, 3, 3, 0},
                                  {1, 1, 1, 1},
                                  {7, 9, 5, 3},
                                  {700, 650, 600, 16},
                                  {90, 80, 70, 1030}}) {
    for (const bool from_is_indexed : {true, false}) {
      for (const bool to_is_indexed : {true, false}) {
        CAPTURE(n, k, m, d, from_is_indexed, to_is_indexed);
        const int64_t copied = from_is_indexed || to_is_indexed ? m : std::min(n, k);
        const int64_t rows = from_is_indexed || to_is_indexed ? n : copied;
        const std::vector<float> from = RandomFloats(1, rows * d), before = RandomFloats(2, k * d);
        std::vector<int32_t> from_index(static_cast<size_t>(copied));
        for (size_t i = 0; i < from_index.size(); ++i) {  // A row may be copied twice.
          from_index[i] =
              static_cast<int32_t>(RandomBits(RandomKey{3}, i) % static_cast<uint64_t>(n));
        }
        const std::vector<int32_t> to_index = Distinct(4, copied, std::max(k, copied));
        const std::vector<float> got = RunEverywhere([&, d = d, k = k](TestDevice& device) {
          const Tensor to = device.Upload(before, {k, d});
          const absl::Status status =
              CopyIndexedRows(*device.ctx, device.Upload(from, {rows, d}),
                              from_is_indexed ? device.Upload(from_index, {copied}) : Tensor(),
                              to_is_indexed ? device.Upload(to_index, {copied}) : Tensor(), to);
          INFO(status);
          REQUIRE(status.ok());
          return device.Download(to);
        });
        std::vector<float> want = before;
        for (int64_t i = 0; i < copied; ++i) {
          const int64_t at = from_is_indexed ? from_index[static_cast<size_t>(i)] : i;
          const int64_t place = to_is_indexed ? to_index[static_cast<size_t>(i)] : i;
          std::copy_n(from.begin() + at * d, d, want.begin() + place * d);
        }
        REQUIRE(SameBits(got, want));
      }
    }
  }
}

TEST_CASE("Columns out of the middle of rows are copied") {
  for (const auto& [width, first, d] :
       {std::array<int64_t, 3>{8, 4, 4}, {8, 1, 4}, {9, 2, 7}, {16, 0, 8}, {7, 4, 3}, {5, 5, 0}}) {
    CAPTURE(width, first, d);
    const std::vector<float> from = RandomFloats(1, 50 * width);
    const std::vector<int32_t> index = Distinct(4, 20, 50);
    const std::vector<float> got =
        RunEverywhere([&, width = width, first = first, d = d](TestDevice& device) {
          const Tensor to = *device.ctx->Zeros({20, d});
          REQUIRE(CopyIndexedRows(*device.ctx, device.Upload(from, {50, width}),
                                  device.Upload(index, {20}), Tensor(), to, first)
                      .ok());
          return device.Download(to);
        });
    std::vector<float> want;
    for (const int32_t row : index) {
      const auto begin = from.begin() + row * width + first;
      want.insert(want.end(), begin, begin + d);
    }
    REQUIRE(SameBits(got, want));
  }
}

TEST_CASE("Copies of rows that do not fit are refused") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor three = *ctx.Zeros({3, 4}), two = *ctx.Zeros({2, 4}), narrow = *ctx.Zeros({3, 2});
  const Tensor index = device.Upload(std::vector<int32_t>{0, 1, 2}, {3});
  const Tensor short_index = device.Upload(std::vector<int32_t>{0, 1}, {2});
  RequireInvalid(CopyIndexedRows(ctx, narrow, Tensor(), Tensor(), three), "columns");
  RequireInvalid(CopyIndexedRows(ctx, three, Tensor(), Tensor(), narrow, 3), "columns");
  RequireInvalid(CopyIndexedRows(ctx, three, Tensor(), Tensor(), narrow, -1), "columns");
  RequireInvalid(CopyIndexedRows(ctx, three, Tensor(), Tensor(), two), "to has fewer rows");
  RequireInvalid(CopyIndexedRows(ctx, two, Tensor(), index, three), "from has fewer rows");
  RequireInvalid(CopyIndexedRows(ctx, three, index, short_index, three), "to_index has shape [2]");
}

}  // namespace pagoda
