// Bound by memory: 8 bytes a candidate forward, 8 or 12 backward, and 12 more where each sample
// has candidates of its own. A group of threads moves along a sample's candidates, in packs on the
// side of the scores; the logits' rows are one longer and are moved one by one.
#include "kernels/sampled_softmax_logits_gpu.h"

#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

struct Sampled {
  const float* positives;  // Forward.
  const float* negatives;
  const float* positive_log_q;  // Null: zeros.
  const float* negative_log_q;
  const float* dout;  // Backward.
  const int64_t* own;
  const int64_t* candidates;
  float* positives_to;  // out, or dpositives (null: not wanted).
  float* negatives_to;  // out, or dnegatives.
  int64_t n, m;
  int64_t stride;  // From a sample's candidates to the next one's.
  float scale;     // 1 / temperature
  float beta;
  unsigned group;
};

// For m == 0, too: the positives have a thread each.
__global__ void __launch_bounds__(kGpuThreads) PositiveLogitsKernel(const Sampled s) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < s.n; i += step) {
    const float mine = s.positives[i] * s.scale;
    s.positives_to[i * (s.m + 1)] = s.positive_log_q == nullptr ? mine : mine - s.positive_log_q[i];
  }
}

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) NegativeLogitsKernel(const Sampled s) {
  ForRowPacks<kPack>(s.n, s.m, s.group, [&](int64_t i, int64_t j) {
    const int64_t own = s.own[i];
    const int64_t* const candidates = s.candidates + i * s.stride + j;
    const FloatPack<kPack> in = LoadPack<kPack>(s.negatives + i * s.m + j);
    float* const to = s.negatives_to + i * (s.m + 1) + 1 + j;
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) {
      const float logit = (candidates[k] == own ? kHitScore : in.v[k]) * s.scale;
      to[k] = s.negative_log_q == nullptr ? logit : logit - s.negative_log_q[i * s.stride + j + k];
    }
  });
}

__global__ void __launch_bounds__(kGpuThreads) PositiveSlopesKernel(const Sampled s) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < s.n; i += step) {
    FloatPack<1> slope;
    slope.v[0] = s.dout[i * (s.m + 1)] * s.scale;
    AccumulatePack(s.beta, slope, s.positives_to + i);
  }
}

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) NegativeSlopesKernel(const Sampled s) {
  ForRowPacks<kPack>(s.n, s.m, s.group, [&](int64_t i, int64_t j) {
    const int64_t own = s.own[i];
    const int64_t* const candidates = s.candidates + i * s.stride + j;
    const float* const from = s.dout + i * (s.m + 1) + 1 + j;
    FloatPack<kPack> slope;
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) {
      slope.v[k] = candidates[k] == own ? 0.0f : from[k] * s.scale;
    }
    AccumulatePack(s.beta, slope, s.negatives_to + i * s.m + j);
  });
}

Sampled SampledOf(const SampledCandidateIds& ids, int64_t m, float temperature) {
  Sampled s = {};
  s.own = ids.positive.data<int64_t>();
  s.candidates = ids.negative.data<int64_t>();
  s.n = ids.positive.dim(0);
  s.m = m;
  s.stride = ids.negative.rank() == 1 ? 0 : m;
  s.scale = 1.0f / temperature;
  return s;
}

absl::Status LaunchPositives(Context& ctx, const char* name, void (*kernel)(const Sampled),
                             const Sampled& s) {
  return LaunchKernel(ctx, name, kernel, GpuBlocks(s.n, kGpuThreads), kGpuThreads, 0, s);
}

// `scores`: what is read or written in packs.
absl::Status LaunchNegatives(Context& ctx, const char* name, void (*by_four)(const Sampled),
                             void (*by_one)(const Sampled), const void* scores, Sampled s) {
  if (s.m == 0) return absl::OkStatus();
  const bool four = RowsMoveByFour(s.m, {scores});
  s.group = RowGroup(s.m / (four ? 4 : 1), kGpuThreads);
  return LaunchKernel(ctx, name, four ? by_four : by_one, GpuBlocks(s.n, kGpuThreads / s.group),
                      kGpuThreads, 0, s);
}

}  // namespace

absl::Status SampledSoftmaxLogitsForwardGpu(Context& ctx, const Tensor& positives,
                                            const Tensor& negatives, const SampledCandidateIds& ids,
                                            const SampledLogQ& log_q, float temperature,
                                            const Tensor& out) {
  Sampled s = SampledOf(ids, negatives.dim(1), temperature);
  if (s.n == 0) return absl::OkStatus();
  s.positives = positives.data<float>();
  s.negatives = negatives.data<float>();
  s.positive_log_q = log_q.positive.data<float>();
  s.negative_log_q = log_q.negative.data<float>();
  s.positives_to = s.negatives_to = out.data<float>();
  PAGODA_RETURN_IF_ERROR(
      LaunchPositives(ctx, "SampledSoftmaxLogitsForward", PositiveLogitsKernel, s));
  return LaunchNegatives(ctx, "SampledSoftmaxLogitsForward", NegativeLogitsKernel<4>,
                         NegativeLogitsKernel<1>, s.negatives, s);
}

absl::Status SampledSoftmaxLogitsBackwardGpu(Context& ctx, const Tensor& dout,
                                             const SampledCandidateIds& ids, float temperature,
                                             float beta, const Tensor& dpositives,
                                             const Tensor& dnegatives) {
  Sampled s = SampledOf(ids, dout.dim(1) - 1, temperature);
  if (s.n == 0) return absl::OkStatus();
  s.beta = beta;
  s.dout = dout.data<float>();
  s.positives_to = dpositives.data<float>();
  s.negatives_to = dnegatives.data<float>();
  if (s.positives_to != nullptr) {
    PAGODA_RETURN_IF_ERROR(
        LaunchPositives(ctx, "SampledSoftmaxLogitsBackward", PositiveSlopesKernel, s));
  }
  if (s.negatives_to == nullptr) return absl::OkStatus();
  return LaunchNegatives(ctx, "SampledSoftmaxLogitsBackward", NegativeSlopesKernel<4>,
                         NegativeSlopesKernel<1>, s.negatives_to, s);
}

}  // namespace pagoda
