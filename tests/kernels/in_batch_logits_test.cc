#include "kernels/in_batch_logits.h"

#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

std::vector<int32_t> RandomItems(uint64_t seed, int64_t n, uint64_t num_items) {
  std::vector<int32_t> items;
  for (int64_t i = 0; i < n; ++i) {
    items.push_back(
        static_cast<int32_t>(RandomBelow(RandomKey{seed}, static_cast<uint64_t>(i), num_items)));
  }
  return items;
}

bool Masked(const std::vector<int32_t>& items, size_t i, size_t j) {
  return i != j && items[i] == items[j];
}

TEST_CASE("InBatchLogits agrees with its formula in double, forward and backward") {
  constexpr float kTemperature = 0.3f;
  for (int64_t n : {0, 1, 7, 150}) {
    for (bool corrected : {false, true}) {
      CAPTURE(n, corrected);
      const std::vector<float> scores = RandomFloats(1, n * n);
      const std::vector<float> log_q = RandomFloats(2, n);
      const std::vector<float> dout = RandomFloats(3, n * n);
      const std::vector<float> old = RandomFloats(4, n * n);
      const std::vector<int32_t> items = RandomItems(5, n, 5);
      const size_t size = static_cast<size_t>(n);
      const std::vector<float> both = RunEverywhere([&](TestDevice& device) {
        const Tensor out = device.Upload(old, {n, n});
        const Tensor ids = device.Upload(items, {n});
        REQUIRE(InBatchLogitsForward(*device.ctx, device.Upload(scores, {n, n}), ids,
                                     corrected ? device.Upload(log_q, {n}) : Tensor(), kTemperature,
                                     out)
                    .ok());
        const Tensor dscores = device.Upload(old, {n, n});
        REQUIRE(InBatchLogitsBackward(*device.ctx, device.Upload(dout, {n, n}), ids, kTemperature,
                                      corrected ? 1.0f : 0.0f, dscores)
                    .ok());
        std::vector<float> results = device.Download(out);
        const std::vector<float> gradients = device.Download(dscores);
        results.insert(results.end(), gradients.begin(), gradients.end());
        return results;
      });
      for (size_t i = 0; i < size; ++i) {
        for (size_t j = 0; j < size; ++j) {
          const size_t at = i * size + j;
          const double logit =
              double{scores[at]} / double{kTemperature} - (corrected ? double{log_q[j]} : 0.0);
          const double slope = Masked(items, i, j) ? 0.0 : double{dout[at]} / double{kTemperature};
          REQUIRE(double{both[at]} ==
                  Approx(Masked(items, i, j) ? double{kMaskedLogit} : logit).margin(2e-6));
          REQUIRE(double{both[size * size + at]} ==
                  Approx(slope + (corrected ? double{old[at]} : 0.0)).margin(2e-6));
        }
      }
    }
  }
}

TEST_CASE("InBatchLogits refuses what does not fit, by name") {
  TestDevice device;
  const Tensor square = device.Upload(RandomFloats(1, 9), {3, 3});
  const Tensor items = device.Upload<int32_t>({0, 1, 2}, {3});
  const Tensor two = device.Upload<int32_t>({0, 1}, {2});
  Context& ctx = *device.ctx;
  RequireInvalid(InBatchLogitsForward(ctx, square, two, Tensor(), 1.0f, square), "matrix");
  RequireInvalid(InBatchLogitsForward(ctx, square, items, Tensor(), 0.0f, square), "temperature");
  RequireInvalid(
      InBatchLogitsForward(ctx, square, items, device.Upload<float>({1}, {1}), 1.0f, square),
      "log_q");
  RequireInvalid(InBatchLogitsBackward(ctx, square, two, 1.0f, 0.0f, square), "matrix");
}

}  // namespace
}  // namespace pagoda
