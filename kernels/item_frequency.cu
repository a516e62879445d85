// A few thousand items: bound by three launches. Buckets repeat, so estimates are made from
// the state as it was, all alike for one bucket, and written after all were made.
#include "kernels/item_frequency_gpu.h"

#include "kernels/gpu_stream.h"

namespace pagoda {
namespace {

struct Items {
  const int32_t* buckets;
  float rate;
  bool update;
  const float* step;
  float* last_step;
  float* interval;
  float* made;  // [n]: new intervals.
  float* log_q;
  int64_t n;
  int64_t num_buckets;
};

__global__ void CountStepKernel(float* step) {
  *step += 1.0f;
}

__global__ void __launch_bounds__(kGpuThreads) EstimateKernel(const Items a) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  const float now = *a.step;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < a.n; i += step) {
    const int32_t b = a.buckets[i];
    if (b < 0 || b >= a.num_buckets) {
      a.log_q[i] = NAN;
      continue;
    }
    const float last = a.last_step[b];
    const bool seen = last > 0.0f;
    float steps = a.interval[b];
    if (a.update && last < now) {
      const float gap = now - last;
      const float mixed = seen ? (1.0f - a.rate) * steps + a.rate * gap : gap;
      steps = mixed > 1.0f ? mixed : 1.0f;
    } else if (!a.update && !seen) {
      steps = now > 1.0f ? now : 1.0f;
    }
    a.made[i] = steps;
    a.log_q[i] = -logf(steps);
  }
}

__global__ void __launch_bounds__(kGpuThreads) WriteKernel(const Items a) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  const float now = *a.step;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < a.n; i += step) {
    const int32_t b = a.buckets[i];
    if (b < 0 || b >= a.num_buckets) continue;
    // Items of one bucket write the same.
    atomicExch(a.interval + b, a.made[i]);
    atomicExch(a.last_step + b, now);
  }
}

}  // namespace

absl::Status ItemFrequencyGpu(Context& ctx, const Tensor& buckets, float rate, bool update,
                              const ItemFrequencyState& state, const Tensor& log_q) {
  const int64_t n = buckets.dim(0);
  PAGODA_ASSIGN_OR_RETURN(const Tensor made, ctx.Empty({n}));
  const Items items = {buckets.data<int32_t>(),
                       rate,
                       update,
                       state.step.data<float>(),
                       state.last_step.data<float>(),
                       state.interval.data<float>(),
                       made.data<float>(),
                       log_q.data<float>(),
                       n,
                       state.last_step.dim(0)};
  if (update) {
    PAGODA_RETURN_IF_ERROR(
        LaunchKernel(ctx, "ItemFrequency", CountStepKernel, 1, 1, 0, state.step.data<float>()));
  }
  if (n == 0) return absl::OkStatus();
  PAGODA_RETURN_IF_ERROR(LaunchKernel(ctx, "ItemFrequency", EstimateKernel,
                                      GpuBlocks(n, kGpuThreads), kGpuThreads, 0, items));
  if (!update) return absl::OkStatus();
  return LaunchKernel(ctx, "ItemFrequency", WriteKernel, GpuBlocks(n, kGpuThreads), kGpuThreads, 0,
                      items);
}

}  // namespace pagoda
