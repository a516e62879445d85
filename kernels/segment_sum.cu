// Bound by memory: 4 * d * (n + s) bytes in each direction. Backward finds the segment of
// a row by bisection of the offsets, which stay in L2.
#include "kernels/segment_sum_gpu.h"

#include "kernels/gpu_math.h"
#include "kernels/gpu_row_sum.h"

namespace pagoda {
namespace {

__device__ inline float ScaleOf(SegmentPooling pooling, int64_t count) {
  if (pooling == SegmentPooling::kSum || count < 2) return 1.0f;
  return pooling == SegmentPooling::kMean ? MeanScale(count) : SqrtNScale(count);
}

struct SegmentTerms {
  const float* x;
  const int32_t* offsets;
  float* to;
  int64_t d;
  SegmentPooling pooling;
  __device__ int64_t begin(int64_t s) const { return offsets[s]; }
  __device__ int64_t end(int64_t s) const { return offsets[s + 1]; }
  __device__ const float* row(int64_t i) const { return x + i * d; }
  __device__ float scale(int64_t) const { return 1.0f; }
  __device__ float factor(int64_t s) const { return ScaleOf(pooling, end(s) - begin(s)); }
  __device__ float* out(int64_t s) const { return to + s * d; }
};

// A sum of one term: the gradient of row i's segment.
struct SegmentGradientTerms {
  const float* dout;
  const int32_t* offsets;
  float* dx;
  int64_t num_segments;
  int64_t d;
  SegmentPooling pooling;
  __device__ int64_t begin(int64_t i) const { return i; }
  __device__ int64_t end(int64_t i) const { return i + 1; }
  __device__ const float* row(int64_t i) const {
    return dout + SegmentOf(offsets, num_segments, i) * d;
  }
  __device__ float scale(int64_t i) const {
    const int64_t s = SegmentOf(offsets, num_segments, i);
    return ScaleOf(pooling, offsets[s + 1] - offsets[s]);
  }
  __device__ float factor(int64_t) const { return 1.0f; }
  __device__ float* out(int64_t i) const { return dx + i * d; }
};

}  // namespace

absl::Status SegmentSumForwardGpu(Context& ctx, const Tensor& x, const Tensor& offsets,
                                  SegmentPooling pooling, float beta, const Tensor& out) {
  const SegmentTerms terms = {x.data<float>(), offsets.data<int32_t>(), out.data<float>(),
                              out.dim(1), pooling};
  return SumRowsOnGpu(ctx, "SegmentSumForward", terms, out.dim(0), out.dim(1), beta,
                      RowsMoveByFour(out.dim(1), {terms.x, terms.to}), x.dim(0) > kLongSum);
}

absl::Status SegmentSumBackwardGpu(Context& ctx, const Tensor& dout, const Tensor& offsets,
                                   SegmentPooling pooling, float beta, const Tensor& dx) {
  const SegmentGradientTerms terms = {dout.data<float>(), offsets.data<int32_t>(),
                                      dx.data<float>(),   dout.dim(0),
                                      dx.dim(1),          pooling};
  return SumFewRowsOnGpu(ctx, "SegmentSumBackward", terms, dx.dim(0), dx.dim(1), beta,
                         RowsMoveByFour(dx.dim(1), {terms.dout, terms.dx}));
}

}  // namespace pagoda
