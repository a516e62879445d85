#include "kernels/pad_sequences.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

// Lengths of sequences around `length`, 0 and longer ones among them.
std::vector<int32_t> Offsets(int64_t n, int64_t length) {
  std::vector<int32_t> offsets = {0};
  for (int64_t i = 0; i < n; ++i) {
    offsets.push_back(offsets.back() + static_cast<int32_t>((i * 5 + 2) % (length + 3)));
  }
  return offsets;
}

struct Case {
  int64_t n, length, d;
};
constexpr Case kCases[] = {{0, 3, 2}, {3, 0, 2},   {3, 4, 0},     {1, 1, 1},
                           {5, 3, 4}, {17, 7, 33}, {300, 20, 16}, {2, 1000, 3}};

}  // namespace

TEST_CASE("Sequences are padded with zeros and cut off, and come back, blended with beta") {
  for (const auto [n, length, d] : kCases) {
    for (const float beta : {0.0f, 1.0f, 0.5f}) {
      CAPTURE(n, length, d, beta);
      const std::vector<int32_t> offsets = Offsets(n, length);
      const int64_t nnz = offsets.back();
      const std::vector<float> ragged = RandomFloats(1, nnz * d);
      const std::vector<float> padded = RandomFloats(2, n * length * d);
      const std::vector<float> got =
          RunEverywhere([&, n = n, length = length, d = d](TestDevice& device) {
            const Tensor ends = device.Upload(offsets, {n + 1});
            const Tensor tr = device.Upload(ragged, {nnz, d});
            const Tensor tp = device.Upload(padded, {n, length, d});
            const Tensor block = beta == 0 ? *device.ctx->Empty({n, length, d})
                                           : device.Upload(padded, {n, length, d});
            const Tensor back =
                beta == 0 ? *device.ctx->Empty({nnz, d}) : device.Upload(ragged, {nnz, d});
            REQUIRE(PadSequences(*device.ctx, tr, ends, beta, block).ok());
            REQUIRE(UnpadSequences(*device.ctx, tp, ends, beta, back).ok());
            std::vector<float> all = device.Download(block);
            Append(&all, device.Download(back));
            return all;
          });
      std::vector<float> block(padded.size()), back(ragged.size());
      for (size_t i = 0; i < block.size(); ++i) block[i] = beta == 0 ? 0.0f : beta * padded[i];
      for (size_t i = 0; i < back.size(); ++i) back[i] = beta == 0 ? 0.0f : beta * ragged[i];
      for (int64_t i = 0; i < n; ++i) {
        const int64_t first = offsets[static_cast<size_t>(i)];
        const int64_t size = offsets[static_cast<size_t>(i) + 1] - first;
        for (int64_t j = 0; j < std::min(size, length); ++j) {
          for (int64_t c = 0; c < d; ++c) {
            const size_t at_block = static_cast<size_t>((i * length + j) * d + c);
            const size_t at_row = static_cast<size_t>((first + j) * d + c);
            block[at_block] += ragged[at_row];
            back[at_row] += padded[at_block];
          }
        }
      }
      Append(&block, back);
      REQUIRE(got == block);
    }
  }
}

TEST_CASE("Padding refuses blocks and offsets that do not fit") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor ragged = *ctx.Zeros({5, 3}), padded = *ctx.Zeros({2, 4, 3});
  const Tensor offsets = device.Upload<int32_t>({0, 2, 5}, {3});
  RequireInvalid(PadSequences(ctx, *ctx.Zeros({5, 2}), offsets, 0.0f, padded),
                 "PadSequences: ragged has shape [5, 2], expected [5, 3]");
  RequireInvalid(UnpadSequences(ctx, padded, device.Upload<int32_t>({0, 5}, {2}), 0.0f, ragged),
                 "UnpadSequences: offsets has shape [2], expected [3]");
  RequireInvalid(PadSequences(ctx, ragged, offsets, 0.0f, ragged),
                 "PadSequences: padded has shape");
}

}  // namespace pagoda
