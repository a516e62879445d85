// Bound by memory: 12 to 20 bytes a sample, of which there are few.
#include "kernels/sigmoid_cross_entropy_gpu.h"

#include "kernels/gpu_stream.h"

namespace pagoda {
namespace {

struct Samples {
  const float* logits;
  const float* labels;
  const float* weights;  // Null: ones.
  const float* dloss;    // Backward.
  float* out;
  int64_t n;
};

__global__ void __launch_bounds__(kGpuThreads) LossKernel(const Samples s) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < s.n; i += step) {
    const float z = s.logits[i];
    const float weight = s.weights == nullptr ? 1.0f : s.weights[i];
    // NaN goes through: z < 0 is false for it.
    s.out[i] = weight * ((z < 0.0f ? 0.0f : z) - z * s.labels[i] + log1pf(expf(-fabsf(z))));
  }
}

__global__ void __launch_bounds__(kGpuThreads) SlopeKernel(const Samples s) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < s.n; i += step) {
    const float probability = 1.0f / (1.0f + expf(-s.logits[i]));
    const float weight = s.weights == nullptr ? 1.0f : s.weights[i];
    s.out[i] += s.dloss[i] * weight * (probability - s.labels[i]);
  }
}

}  // namespace

absl::Status SigmoidCrossEntropyForwardGpu(Context& ctx, const Tensor& logits, const Tensor& labels,
                                           const Tensor& weights, const Tensor& loss) {
  if (logits.size() == 0) return absl::OkStatus();
  const Samples samples = {logits.data<float>(),  labels.data<float>(),
                           weights.data<float>(), nullptr,
                           loss.data<float>(),    logits.size()};
  return LaunchKernel(ctx, "SigmoidCrossEntropyForward", LossKernel,
                      GpuBlocks(samples.n, kGpuThreads), kGpuThreads, 0, samples);
}

absl::Status SigmoidCrossEntropyBackwardGpu(Context& ctx, const Tensor& logits,
                                            const Tensor& labels, const Tensor& weights,
                                            const Tensor& dloss, const Tensor& dlogits) {
  if (logits.size() == 0) return absl::OkStatus();
  const Samples samples = {logits.data<float>(), labels.data<float>(),  weights.data<float>(),
                           dloss.data<float>(),  dlogits.data<float>(), logits.size()};
  return LaunchKernel(ctx, "SigmoidCrossEntropyBackward", SlopeKernel,
                      GpuBlocks(samples.n, kGpuThreads), kGpuThreads, 0, samples);
}

}  // namespace pagoda
