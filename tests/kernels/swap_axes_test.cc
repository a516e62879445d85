#include "kernels/swap_axes.h"

#include <catch2/catch.hpp>

#include "tests/kernels/gradient_check.h"

namespace pagoda {

TEST_CASE("The middle axes are exchanged, blended with beta, and exchanged back") {
  struct Case {
    int64_t a, b, c, d;
  };
  for (const auto [a, b, c, d] : {Case{0, 2, 3, 4},
                                  {2, 0, 3, 4},
                                  {2, 3, 4, 0},
                                  {1, 1, 1, 1},
                                  {3, 5, 2, 7},
                                  {33, 20, 4, 16}}) {
    for (const float beta : {0.0f, 1.0f, 0.5f}) {
      CAPTURE(a, b, c, d, beta);
      const std::vector<float> x = RandomFloats(1, a * b * c * d),
                               old = RandomFloats(2, a * b * c * d);
      const std::vector<float> got =
          RunEverywhere([&, a = a, b = b, c = c, d = d](TestDevice& device) {
            const Tensor tx = device.Upload(x, {a, b, c, d});
            const Tensor y =
                beta == 0 ? *device.ctx->Empty({a, c, b, d}) : device.Upload(old, {a, c, b, d});
            REQUIRE(SwapAxes(*device.ctx, tx, beta, y).ok());
            const Tensor swapped = *device.ctx->Empty({a, c, b, d});
            const Tensor back = *device.ctx->Empty({a, b, c, d});
            REQUIRE(SwapAxes(*device.ctx, tx, 0.0f, swapped).ok());
            REQUIRE(SwapAxes(*device.ctx, swapped, 0.0f, back).ok());
            REQUIRE(SameBits(device.Download(back), x));
            return device.Download(y);
          });
      std::vector<float> want(old.size());
      for (size_t i = 0; i < want.size(); ++i) want[i] = beta == 0 ? 0.0f : beta * old[i];
      size_t at = 0;
      for (int64_t i = 0; i < a; ++i) {
        for (int64_t j = 0; j < b; ++j) {
          for (int64_t k = 0; k < c; ++k) {
            for (int64_t l = 0; l < d; ++l) {
              want[static_cast<size_t>(((i * c + k) * b + j) * d + l)] += x[at++];
            }
          }
        }
      }
      REQUIRE(got == want);
    }
  }
  TestDevice device;
  RequireInvalid(SwapAxes(*device.ctx, *device.ctx->Zeros({2, 3, 4, 5}), 0.0f,
                          *device.ctx->Zeros({2, 3, 4, 5})),
                 "SwapAxes: y has shape [2, 3, 4, 5], expected [2, 4, 3, 5]");
}

}  // namespace pagoda
