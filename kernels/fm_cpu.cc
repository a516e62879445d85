// The FM second-order term on the host. Contract: fm.h.
//
// One pass over a sample's rows; the two sums of a column block stay in
// registers. Forward is memory-bound (4 * f * d bytes a sample). Backward reads a
// sample twice, the second time from cache, and reads and writes dx.
#include "kernels/fm.h"

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/fm_gpu.h"
#include "kernels/vector_lanes.h"

namespace pagoda {
namespace {

struct FmArgs {
  const float* x;  // [n, f, d]
  float* out;      // [n]; the gradient in backward
  float* dx;       // [n, f, d]; backward only
  int64_t f;
  int64_t d;
  float beta;  // Of dx.
};

template <int kLanes>
PAGODA_INLINE void FmForwardSamples(const FmArgs& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* x = a.x + i * a.f * a.d;
    float total = 0.0f;
    ForEachColumnBlock<kLanes>(
        0, a.d, [&](auto lanes, int64_t c) __attribute__((always_inline)) {
          constexpr int kWidth = decltype(lanes)::value;
          Lanes<kWidth> sum = {};
          Lanes<kWidth> squares = {};
          for (int64_t f = 0; f < a.f; ++f) {
            const Lanes<kWidth> value = *At<kWidth>(x + f * a.d + c);
            sum += value;
            squares += value * value;
          }
          total += SumOfLanes<kWidth>(sum * sum - squares);
        });
    a.out[i] = 0.5f * total;
  }
}
PAGODA_VECTOR_VERSIONS(FmForwardSamples, FmArgs)

template <int kLanes>
PAGODA_INLINE void FmBackwardSamples(const FmArgs& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* x = a.x + i * a.f * a.d;
    float* dx = a.dx + i * a.f * a.d;
    const float gradient = a.out[i];
    ForEachColumnBlock<kLanes>(
        0, a.d, [&](auto lanes, int64_t c) __attribute__((always_inline)) {
          constexpr int kWidth = decltype(lanes)::value;
          Lanes<kWidth> sum = {};
          for (int64_t f = 0; f < a.f; ++f) sum += *At<kWidth>(x + f * a.d + c);
          for (int64_t f = 0; f < a.f; ++f) {
            const Lanes<kWidth> others = sum - *At<kWidth>(x + f * a.d + c);
            Accumulate<kWidth>(a.beta, others * gradient, dx + f * a.d + c);
          }
        });
  }
}
PAGODA_VECTOR_VERSIONS(FmBackwardSamples, FmArgs)

}  // namespace

absl::Status FmForward(Context& ctx, const Tensor& x, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "FmForward");
  if (!check.Rank("x", x, 3).ok()) return check.status();
  if (!check.Has("out", out, {x.dim(0)}).ok()) return check.status();
  PAGODA_ON_GPU(ctx, FmForwardGpu(ctx, x, out));
  const FmArgs args = {.x = x.data<float>(),
                       .out = out.data<float>(),
                       .dx = nullptr,
                       .f = x.dim(1),
                       .d = x.dim(2),
                       .beta = 0.0f};
  ForChunks(ctx, x.dim(0), RowsPerChunk(args.f * args.d),
            [&](int64_t, int64_t begin, int64_t end) { RunFmForwardSamples(args, begin, end); });
  return absl::OkStatus();
}

absl::Status FmBackward(Context& ctx, const Tensor& x, const Tensor& dout, float beta,
                        const Tensor& dx) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "FmBackward");
  if (!check.Rank("x", x, 3).ok()) return check.status();
  if (!check.Has("dout", dout, {x.dim(0)}).Has("dx", dx, x.shape()).ok()) return check.status();
  PAGODA_ON_GPU(ctx, FmBackwardGpu(ctx, x, dout, beta, dx));
  const FmArgs args = {.x = x.data<float>(),
                       .out = dout.data<float>(),
                       .dx = dx.data<float>(),
                       .f = x.dim(1),
                       .d = x.dim(2),
                       .beta = beta};
  ForChunks(ctx, x.dim(0), RowsPerChunk(args.f * args.d),
            [&](int64_t, int64_t begin, int64_t end) { RunFmBackwardSamples(args, begin, end); });
  return absl::OkStatus();
}

}  // namespace pagoda
