// Bound by memory: 8 bytes a candidate forward, 8 or 12 backward; shared lists stay in the cache.
#include "kernels/sampled_softmax_logits.h"

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/sampled_softmax_logits_gpu.h"

namespace pagoda {
namespace {

// The ids and the shapes that they set: n samples with m candidates each.
struct Sizes {
  int64_t n = 0;
  int64_t m = 0;
  int64_t stride = 0;  // From a sample's candidates to the next one's; 0: one list for all.
};

Sizes CheckIds(ArgumentCheck& check, const SampledCandidateIds& ids, float temperature,
               int64_t width) {
  Sizes sizes;
  check.Rank("positive ids", ids.positive, 1, DType::kI64)
      .Present("negative ids", ids.negative, DType::kI64)
      .That(temperature > 0.0f, "temperature must be above 0");
  if (!check.ok()) return sizes;
  sizes.n = ids.positive.dim(0);
  sizes.m = width;
  const bool shared = ids.negative.rank() == 1;
  sizes.stride = shared ? 0 : sizes.m;
  check.Has("negative ids", ids.negative, shared ? Shape{sizes.m} : Shape{sizes.n, sizes.m},
            DType::kI64);
  return sizes;
}

}  // namespace

absl::Status SampledSoftmaxLogitsForward(Context& ctx, const Tensor& positives,
                                         const Tensor& negatives, const SampledCandidateIds& ids,
                                         const SampledLogQ& log_q, float temperature,
                                         const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SampledSoftmaxLogitsForward");
  if (!check.Rank("negatives", negatives, 2).ok()) return check.status();
  const auto [n, m, stride] = CheckIds(check, ids, temperature, negatives.dim(1));
  if (!check.ok()) return check.status();
  check.Has("positives", positives, {n})
      .Has("negatives", negatives, {n, m})
      .HasOrAbsent("positive log_q", log_q.positive, {n})
      .HasOrAbsent("negative log_q", log_q.negative, ids.negative.shape())
      .That(log_q.positive.absent() == log_q.negative.absent(), "one log_q is missing")
      .Has("out", out, {n, 1 + m});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(
      ctx, SampledSoftmaxLogitsForwardGpu(ctx, positives, negatives, ids, log_q, temperature, out));
  const int64_t* own = ids.positive.data<int64_t>();
  const float* own_log_q = log_q.positive.data<float>();
  const float scale = 1.0f / temperature;
  ForChunks(ctx, n, RowsPerChunk(m + 1),
            [&, m = m, stride = stride](int64_t, int64_t begin, int64_t end) {
              for (int64_t i = begin; i < end; ++i) {
                const int64_t* candidates = ids.negative.data<int64_t>() + i * stride;
                const float* taken =
                    own_log_q == nullptr ? nullptr : log_q.negative.data<float>() + i * stride;
                const float* in = negatives.data<float>() + i * m;
                float* to = out.data<float>() + i * (m + 1);
                const float mine = positives.data<float>()[i] * scale;
                to[0] = own_log_q == nullptr ? mine : mine - own_log_q[i];
                for (int64_t j = 0; j < m; ++j) {
                  const float logit = (candidates[j] == own[i] ? kHitScore : in[j]) * scale;
                  to[1 + j] = taken == nullptr ? logit : logit - taken[j];
                }
              }
            });
  return absl::OkStatus();
}

absl::Status SampledSoftmaxLogitsBackward(Context& ctx, const Tensor& dout,
                                          const SampledCandidateIds& ids, float temperature,
                                          float beta, const Tensor& dpositives,
                                          const Tensor& dnegatives) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SampledSoftmaxLogitsBackward");
  check.Rank("dout", dout, 2);
  if (!check.ok() || !check.That(dout.dim(1) > 0, "dout has no columns").ok()) {
    return check.status();
  }
  const auto [n, m, stride] = CheckIds(check, ids, temperature, dout.dim(1) - 1);
  if (!check.ok()) return check.status();
  check.Has("dout", dout, {n, 1 + m})
      .HasOrAbsent("dpositives", dpositives, {n})
      .HasOrAbsent("dnegatives", dnegatives, {n, m});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, SampledSoftmaxLogitsBackwardGpu(ctx, dout, ids, temperature, beta, dpositives,
                                                     dnegatives));
  const int64_t* own = ids.positive.data<int64_t>();
  const float scale = 1.0f / temperature;
  const auto write = [beta](float slope, float* to) {
    *to = beta == 0.0f ? slope : beta * *to + slope;
  };
  ForChunks(ctx, n, RowsPerChunk(m + 1),
            [&, m = m, stride = stride](int64_t, int64_t begin, int64_t end) {
              for (int64_t i = begin; i < end; ++i) {
                const int64_t* candidates = ids.negative.data<int64_t>() + i * stride;
                const float* from = dout.data<float>() + i * (m + 1);
                if (!dpositives.absent()) write(from[0] * scale, dpositives.data<float>() + i);
                if (dnegatives.absent()) continue;
                float* to = dnegatives.data<float>() + i * m;
                for (int64_t j = 0; j < m; ++j) {
                  write(candidates[j] == own[i] ? 0.0f : from[1 + j] * scale, to + j);
                }
              }
            });
  return absl::OkStatus();
}

}  // namespace pagoda
