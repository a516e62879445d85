// Bound by memory: 8 bytes an element forward, 8 or 12 backward; items and log_q stay in L1.
#include "kernels/in_batch_logits_gpu.h"

#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

struct Logits {
  const float* in;  // Scores, or dout.
  const int32_t* items;
  const float* log_q;  // Null: zeros.
  float* out;
  float scale;
  float beta;
  int64_t n;
  unsigned group;
};

template <bool kForward, int kPack>
__global__ void __launch_bounds__(kGpuThreads) LogitsKernel(const Logits a) {
  ForRowPacks<kPack>(a.n, a.n, a.group, [&](int64_t i, int64_t j) {
    const int32_t mine = a.items[i];
    FloatPack<kPack> value = LoadPack<kPack>(a.in + i * a.n + j);
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) {
      const bool masked = a.items[j + k] == mine && j + k != i;
      if constexpr (kForward) {
        const float correction = a.log_q == nullptr ? 0.0f : a.log_q[j + k];
        value.v[k] = masked ? kMaskedLogit : value.v[k] * a.scale - correction;
      } else {
        value.v[k] = masked ? 0.0f : value.v[k] * a.scale;
      }
    }
    AccumulatePack(a.beta, value, a.out + i * a.n + j);
  });
}

template <bool kForward>
absl::Status Launch(Context& ctx, const char* name, Logits logits) {
  if (logits.n == 0) return absl::OkStatus();
  const bool by_four = RowsMoveByFour(logits.n, {logits.in, logits.out});
  logits.group = RowGroup(logits.n / (by_four ? 4 : 1), kGpuThreads);
  return LaunchKernel(ctx, name, by_four ? LogitsKernel<kForward, 4> : LogitsKernel<kForward, 1>,
                      GpuBlocks(logits.n, kGpuThreads / logits.group), kGpuThreads, 0, logits);
}

}  // namespace

absl::Status InBatchLogitsForwardGpu(Context& ctx, const Tensor& scores, const Tensor& items,
                                     const Tensor& log_q, float temperature, const Tensor& out) {
  return Launch<true>(ctx, "InBatchLogitsForward",
                      {scores.data<float>(), items.data<int32_t>(), log_q.data<float>(),
                       out.data<float>(), 1.0f / temperature, 0.0f, items.dim(0), 1});
}

absl::Status InBatchLogitsBackwardGpu(Context& ctx, const Tensor& dout, const Tensor& items,
                                      float temperature, float beta, const Tensor& dscores) {
  return Launch<false>(ctx, "InBatchLogitsBackward",
                       {dout.data<float>(), items.data<int32_t>(), nullptr, dscores.data<float>(),
                        1.0f / temperature, beta, items.dim(0), 1});
}

}  // namespace pagoda
