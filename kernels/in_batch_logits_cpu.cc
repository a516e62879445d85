// Bound by memory: 8 bytes per element forward, 8 or 12 backward.
#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/in_batch_logits.h"
#include "kernels/in_batch_logits_gpu.h"

namespace pagoda {
namespace {

ArgumentCheck CheckOperands(Context& ctx, const char* op, const Tensor& matrix, const Tensor& items,
                            float temperature) {
  ArgumentCheck check(ctx, op);
  check.Rank("items", items, 1, DType::kI32);
  check.That(temperature > 0.0f, "temperature must be above 0");
  if (check.ok()) check.Has("matrix", matrix, {items.dim(0), items.dim(0)});
  return check;
}

}  // namespace

absl::Status InBatchLogitsForward(Context& ctx, const Tensor& scores, const Tensor& items,
                                  const Tensor& log_q, float temperature, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check = CheckOperands(ctx, "InBatchLogitsForward", scores, items, temperature);
  if (!check.ok()) return check.status();
  const int64_t n = items.dim(0);
  check.HasOrAbsent("log_q", log_q, {n}).Has("out", out, {n, n});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, InBatchLogitsForwardGpu(ctx, scores, items, log_q, temperature, out));
  const int32_t* item = items.data<int32_t>();
  const float* correction = log_q.data<float>();
  const float scale = 1.0f / temperature;
  ForChunks(ctx, n, RowsPerChunk(n), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* in = scores.data<float>() + i * n;
      float* to = out.data<float>() + i * n;
      for (int64_t j = 0; j < n; ++j) {
        const float logit = in[j] * scale - (correction != nullptr ? correction[j] : 0.0f);
        to[j] = item[j] == item[i] && j != i ? kMaskedLogit : logit;
      }
    }
  });
  return absl::OkStatus();
}

absl::Status InBatchLogitsBackward(Context& ctx, const Tensor& dout, const Tensor& items,
                                   float temperature, float beta, const Tensor& dscores) {
  KernelScope scope(ctx);
  ArgumentCheck check = CheckOperands(ctx, "InBatchLogitsBackward", dout, items, temperature);
  if (!check.ok()) return check.status();
  const int64_t n = items.dim(0);
  check.Has("dscores", dscores, {n, n});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, InBatchLogitsBackwardGpu(ctx, dout, items, temperature, beta, dscores));
  const int32_t* item = items.data<int32_t>();
  const float scale = 1.0f / temperature;
  ForChunks(ctx, n, RowsPerChunk(n), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* from = dout.data<float>() + i * n;
      float* to = dscores.data<float>() + i * n;
      for (int64_t j = 0; j < n; ++j) {
        const float gradient = item[j] == item[i] && j != i ? 0.0f : from[j] * scale;
        to[j] = beta == 0.0f ? gradient : beta * to[j] + gradient;
      }
    }
  });
  return absl::OkStatus();
}

}  // namespace pagoda
