#include "kernels/item_frequency.h"

#include <map>

#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

ItemFrequencyState Fresh(TestDevice& device, int64_t num_buckets) {
  const std::vector<float> zeros(static_cast<size_t>(num_buckets), 0.0f);
  return {device.Upload<float>({0.0f}, {1}), device.Upload(zeros, {num_buckets}),
          device.Upload(zeros, {num_buckets})};
}

std::vector<float> Run(TestDevice& device, const std::vector<int32_t>& buckets, float rate,
                       bool update, const ItemFrequencyState& state) {
  const Shape shape = {static_cast<int64_t>(buckets.size())};
  const Tensor ids = device.Upload(buckets, shape);
  const Tensor log_q = device.Upload(std::vector<float>(buckets.size()), shape);
  REQUIRE(ItemFrequency(*device.ctx, ids, rate, update, state, log_q).ok());
  return device.Download(log_q);
}

TEST_CASE("ItemFrequency follows algorithm 2 over many steps, in double") {
  constexpr int64_t kBuckets = 13;
  constexpr double kRate = 0.1;
  RunEverywhere([&](TestDevice& device) {
    const ItemFrequencyState state = Fresh(device, kBuckets);
    std::map<int32_t, double> last, interval;
    std::vector<float> all;
    for (uint64_t step = 1; step <= 60; ++step) {
      std::vector<int32_t> buckets;
      for (uint64_t i = 0; i < 5; ++i) {
        const double u = double{RandomUniform(RandomKey{step}, i)};
        buckets.push_back(static_cast<int32_t>(u * u * kBuckets));  // Small ones more often.
      }
      const double now = static_cast<double>(step);
      for (int32_t b : buckets) {
        if (last.count(b) == 0) {
          interval[b] = now;
        } else if (last[b] < now) {
          interval[b] = (1.0 - kRate) * interval[b] + kRate * (now - last[b]);
        }
        last[b] = now;
      }
      const std::vector<float> log_q = Run(device, buckets, static_cast<float>(kRate), true, state);
      for (size_t i = 0; i < buckets.size(); ++i) {
        REQUIRE(log_q[i] == Approx(-std::log(std::max(interval[buckets[i]], 1.0))).margin(2e-6));
      }
      all.insert(all.end(), log_q.begin(), log_q.end());
    }
    return all;
  });
}

TEST_CASE("an item of every n-th batch settles at an interval of n") {
  TestDevice device;
  const ItemFrequencyState state = Fresh(device, 2);
  float log_q = 0.0f;
  for (int step = 1; step <= 2000; ++step) {
    const bool held = step % 8 == 0;
    const float got = Run(device, {held ? 1 : 0}, 0.05f, true, state)[0];
    if (held) log_q = got;
  }
  REQUIRE(log_q == Approx(-std::log(8.0)).epsilon(1e-3));
}

TEST_CASE("without update nothing moves, and an item never seen counts as seen once") {
  TestDevice device;
  const ItemFrequencyState state = Fresh(device, 3);
  REQUIRE(Run(device, {2}, 0.5f, false, state) == std::vector<float>{0.0f});
  for (int step = 0; step < 4; ++step) Run(device, {0}, 0.5f, true, state);
  const std::vector<float> before = device.Download(state.interval);
  REQUIRE(Run(device, {0, 1}, 0.5f, false, state)[1] == Approx(-std::log(4.0)));
  REQUIRE(device.Download(state.step) == std::vector<float>{4.0f});
  REQUIRE(device.Download(state.interval) == before);
  REQUIRE(Run(device, {}, 0.5f, true, state).empty());
  REQUIRE(device.Download(state.step) == std::vector<float>{5.0f});
}

TEST_CASE("ItemFrequency refuses what does not fit, and changes nothing") {
  TestDevice device;
  const ItemFrequencyState state = Fresh(device, 2);
  const Tensor out = device.Upload<float>({0, 0}, {2});
  const auto refused = [&](const std::vector<int32_t>& buckets, float rate,
                           const std::string& word) {
    const Tensor ids = device.Upload(buckets, {static_cast<int64_t>(buckets.size())});
    RequireInvalid(ItemFrequency(*device.ctx, ids, rate, true, state, out), word);
    REQUIRE(device.Download(state.step) == std::vector<float>{0.0f});
  };
  refused({0, 1}, 0.0f, "rate");
  refused({0, 1}, 1.5f, "rate");
  refused({0}, 0.5f, "log_q");
  if (GpuUnderTest()) {  // Only the device sees the value: NaN, and no other bucket changes.
    const Tensor ids = device.Upload(std::vector<int32_t>{0, 2}, {2});
    REQUIRE(ItemFrequency(*device.ctx, ids, 0.5f, true, state, out).ok());
    CHECK(std::isnan(device.Download(out)[1]));
    CHECK(device.Download(state.last_step) == std::vector<float>{1.0f, 0.0f});
    return;
  }
  refused({0, 2}, 0.5f, "out of range");
  refused({-1, 0}, 0.5f, "out of range");
}

}  // namespace
}  // namespace pagoda
