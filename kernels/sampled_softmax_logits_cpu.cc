// Bound by memory: 8 bytes a candidate forward, 8 or 12 backward; shared lists stay in the cache.
#include "kernels/sampled_softmax_logits.h"

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/sampled_softmax_logits_gpu.h"
#include "kernels/vector_math.h"

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

struct Operands {
  Sizes sizes;
  const int64_t* own = nullptr;         // [n]
  const int64_t* candidates = nullptr;  // [m] or [n, m], as Sizes::stride says
  float scale = 1.0f;                   // 1 / temperature
  // Forward.
  const float* positives = nullptr;
  const float* negatives = nullptr;
  const float* own_log_q = nullptr;  // Null: no log_q.
  const float* log_q = nullptr;
  float* out = nullptr;
  // Backward.
  const float* dout = nullptr;
  float beta = 0.0f;
  float* dpositives = nullptr;  // Null: not wanted.
  float* dnegatives = nullptr;
};

template <int kLanes>
PAGODA_INLINE void LogitRows(const Operands& o, int64_t begin, int64_t end) {
  const int64_t m = o.sizes.m;
  const float scale = o.scale;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t own = o.own[i];
    const int64_t* candidates = o.candidates + i * o.sizes.stride;
    const float* in = o.negatives + i * m;
    float* out = o.out + i * (m + 1);
    *out++ = o.positives[i] * scale - (o.own_log_q == nullptr ? 0.0f : o.own_log_q[i]);
    PAGODA_IVDEP
    for (int64_t j = 0; j < m; ++j) out[j] = (candidates[j] == own ? kHitScore : in[j]) * scale;
    if (o.own_log_q == nullptr) continue;
    const float* log_q = o.log_q + i * o.sizes.stride;
    PAGODA_IVDEP
    for (int64_t j = 0; j < m; ++j) out[j] -= log_q[j];
  }
}
PAGODA_VECTOR_VERSIONS(LogitRows, Operands)

template <int kLanes>
PAGODA_INLINE void SlopeRows(const Operands& o, int64_t begin, int64_t end) {
  const int64_t m = o.sizes.m;
  const float scale = o.scale, beta = o.beta;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t own = o.own[i];
    const int64_t* candidates = o.candidates + i * o.sizes.stride;
    const float* dout = o.dout + i * (m + 1);
    if (o.dpositives != nullptr) Accumulate<1>(beta, dout[0] * scale, o.dpositives + i);
    if (o.dnegatives == nullptr) continue;
    float* to = o.dnegatives + i * m;
    ++dout;
    if (beta == 0.0f) {
      PAGODA_IVDEP
      for (int64_t j = 0; j < m; ++j) to[j] = candidates[j] == own ? 0.0f : dout[j] * scale;
    } else {
      PAGODA_IVDEP
      for (int64_t j = 0; j < m; ++j) {
        to[j] = beta * to[j] + (candidates[j] == own ? 0.0f : dout[j] * scale);
      }
    }
  }
}
PAGODA_VECTOR_VERSIONS(SlopeRows, Operands)

using Loop = void (*)(const Operands&, int64_t begin, int64_t end);

absl::Status RunRows(Context& ctx, Loop loop, const Operands& operands) {
  ForChunks(ctx, operands.sizes.n, RowsPerChunk(operands.sizes.m + 1),
            [&](int64_t, int64_t begin, int64_t end) { loop(operands, begin, end); });
  return absl::OkStatus();
}

}  // namespace

absl::Status SampledSoftmaxLogitsForward(Context& ctx, const Tensor& positives,
                                         const Tensor& negatives, const SampledCandidateIds& ids,
                                         const SampledLogQ& log_q, float temperature,
                                         const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SampledSoftmaxLogitsForward");
  if (!check.Rank("negatives", negatives, 2).ok()) return check.status();
  const Sizes sizes = CheckIds(check, ids, temperature, negatives.dim(1));
  if (!check.ok()) return check.status();
  const auto [n, m, stride] = sizes;
  check.Has("positives", positives, {n})
      .Has("negatives", negatives, {n, m})
      .HasOrAbsent("positive log_q", log_q.positive, {n})
      .HasOrAbsent("negative log_q", log_q.negative, ids.negative.shape())
      .That(log_q.positive.absent() == log_q.negative.absent(), "one log_q is missing")
      .Has("out", out, {n, 1 + m});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(
      ctx, SampledSoftmaxLogitsForwardGpu(ctx, positives, negatives, ids, log_q, temperature, out));
  return RunRows(ctx, RunLogitRows,
                 {.sizes = sizes,
                  .own = ids.positive.data<int64_t>(),
                  .candidates = ids.negative.data<int64_t>(),
                  .scale = 1.0f / temperature,
                  .positives = positives.data<float>(),
                  .negatives = negatives.data<float>(),
                  .own_log_q = log_q.positive.data<float>(),
                  .log_q = log_q.negative.data<float>(),
                  .out = out.data<float>()});
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
  const Sizes sizes = CheckIds(check, ids, temperature, dout.dim(1) - 1);
  if (!check.ok()) return check.status();
  const auto [n, m, stride] = sizes;
  check.Has("dout", dout, {n, 1 + m})
      .HasOrAbsent("dpositives", dpositives, {n})
      .HasOrAbsent("dnegatives", dnegatives, {n, m});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, SampledSoftmaxLogitsBackwardGpu(ctx, dout, ids, temperature, beta, dpositives,
                                                     dnegatives));
  return RunRows(ctx, RunSlopeRows,
                 {.sizes = sizes,
                  .own = ids.positive.data<int64_t>(),
                  .candidates = ids.negative.data<int64_t>(),
                  .scale = 1.0f / temperature,
                  .dout = dout.data<float>(),
                  .beta = beta,
                  .dpositives = dpositives.data<float>(),
                  .dnegatives = dnegatives.data<float>()});
}

}  // namespace pagoda
