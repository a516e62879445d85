// One thread: a batch is a few thousand items, and buckets repeat.
#include "kernels/item_frequency.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "kernels/dispatch.h"
#include "kernels/item_frequency_gpu.h"

namespace pagoda {
namespace {

bool AllWithin(const Tensor& buckets, int64_t num_buckets) {
  const int32_t* bucket = buckets.data<int32_t>();
  return std::all_of(bucket, bucket + buckets.size(),
                     [&](int32_t b) { return b >= 0 && b < num_buckets; });
}

}  // namespace

absl::Status ItemFrequency(Context& ctx, const Tensor& buckets, float rate, bool update,
                           const ItemFrequencyState& state, const Tensor& log_q) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "ItemFrequency");
  check.That(rate > 0.0f && rate <= 1.0f, "rate must be in (0, 1]");
  check.Rank("buckets", buckets, 1, DType::kI32).Rank("last_step", state.last_step, 1);
  if (!check.ok()) return check.status();
  check.Has("interval", state.interval, state.last_step.shape());
  check.Has("step", state.step, {1}).Has("log_q", log_q, buckets.shape());
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, ItemFrequencyGpu(ctx, buckets, rate, update, state, log_q));
  check.That(AllWithin(buckets, state.last_step.dim(0)), "a bucket is out of range");
  if (!check.ok()) return check.status();
  float* last_step = state.last_step.data<float>();
  float* interval = state.interval.data<float>();
  if (update) *state.step.data<float>() += 1.0f;
  const float now = *state.step.data<float>();
  for (int64_t i = 0; i < buckets.dim(0); ++i) {
    const int32_t b = buckets.data<int32_t>()[i];
    const bool seen = last_step[b] > 0.0f;
    if (update && last_step[b] < now) {
      const float gap = now - last_step[b];
      interval[b] = std::max(seen ? (1.0f - rate) * interval[b] + rate * gap : gap, 1.0f);
      last_step[b] = now;
    }
    const float steps = update || seen ? interval[b] : std::max(now, 1.0f);
    log_q.data<float>()[i] = -std::log(steps);
  }
  return absl::OkStatus();
}

}  // namespace pagoda
