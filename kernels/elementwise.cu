// Bound by memory: 4 bytes an operand and element. Maps and SumRows are gpu_map.h's and
// gpu_column_sum.h's; SumColumns and DotRows give a warp to each row; SumAll sums pieces,
// which one thread adds in order.
#include "kernels/elementwise_gpu.h"

#include "kernels/chunks.h"
#include "kernels/gpu_column_sum.h"
#include "kernels/gpu_map.h"
#include "kernels/gpu_math.h"
#include "kernels/gpu_reduce.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

struct Scaled {
  float alpha;
  __device__ float operator()(const float (&x)[1]) const { return alpha * x[0]; }
};
struct Sum {
  __device__ float operator()(const float (&x)[2]) const { return x[0] + x[1]; }
};
struct Product {
  __device__ float operator()(const float (&x)[2]) const { return x[0] * x[1]; }
};

struct Quotient {
  float alpha;
  __device__ float operator()(const float (&x)[2]) const { return alpha * x[0] * Reciprocal(x[1]); }
};
struct Exponential {
  __device__ float operator()(const float (&x)[1]) const { return expf(x[0]); }
};
struct Logarithm {
  __device__ float operator()(const float (&x)[1]) const { return logf(x[0]); }
};
struct AffineOf {
  float scale, shift;
  __device__ float operator()(const float (&x)[1]) const { return scale * x[0] + shift; }
};
struct Clipped {
  float low, high;
  __device__ float operator()(const float (&x)[1]) const {
    const float raised = x[0] < low ? low : x[0];
    return raised > high ? high : raised;
  }
};
// x[0], the input of Clipped; x[1], the slope of its output.
struct ClippedSlope {
  float low, high;
  __device__ float operator()(const float (&x)[2]) const {
    return x[0] >= low && x[0] <= high ? x[1] : 0.0f;
  }
};

// out[i] = beta * out[i] + alpha, or alpha * *factor where there is one.
template <int kPack>
__global__ void __launch_bounds__(kGpuThreads)
    FillKernel(float alpha, const float* factor, float beta, float* out, int64_t n) {
  FloatPack<kPack> value;
  GPU_UNROLL
  for (int k = 0; k < kPack; ++k) value.v[k] = factor == nullptr ? alpha : alpha * *factor;
  const int64_t step = int64_t{gridDim.x} * blockDim.x * kPack;
  for (int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kPack; i < n; i += step) {
    AccumulatePack(beta, value, out + i);
  }
}

absl::Status FillWith(Context& ctx, const char* name, float alpha, const float* factor, float beta,
                      const Tensor& out) {
  if (out.size() == 0) return absl::OkStatus();
  const bool by_four = RowsMoveByFour(out.size(), {out.raw()});
  return LaunchKernel(ctx, name, by_four ? FillKernel<4> : FillKernel<1>,
                      GpuBlocks(out.size(), kGpuThreads * (by_four ? 4 : 1)), kGpuThreads, 0, alpha,
                      factor, beta, out.data<float>(), out.size());
}

// out[i, j] = x[i, j] + v[j], or x[i, j] * v[i].
template <bool kOfColumn, int kPack>
__global__ void __launch_bounds__(kGpuThreads)
    WithVectorKernel(const float* x, const float* v, float* out, int64_t n, int64_t d,
                     unsigned group) {
  ForRowPacks<kPack>(n, d, group, [&](int64_t i, int64_t c) {
    FloatPack<kPack> value = LoadPack<kPack>(x + i * d + c);
    FloatPack<kPack> other = {};
    if constexpr (kOfColumn) other = LoadPack<kPack>(v + c);
    const float scale = kOfColumn ? 1.0f : v[i];
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) value.v[k] = value.v[k] * scale + other.v[k];
    StorePack(value, out + i * d + c);
  });
}

template <bool kOfColumn>
absl::Status WithVector(Context& ctx, const char* name, const Tensor& x, const Tensor& v,
                        const Tensor& out) {
  if (x.size() == 0) return absl::OkStatus();
  const int64_t n = x.dim(0), d = x.dim(1);
  const bool by_four = RowsMoveByFour(d, {x.raw(), out.raw(), kOfColumn ? v.raw() : nullptr});
  const unsigned group = RowGroup(d / (by_four ? 4 : 1), kGpuThreads);
  return LaunchKernel(ctx, name,
                      by_four ? WithVectorKernel<kOfColumn, 4> : WithVectorKernel<kOfColumn, 1>,
                      GpuBlocks(n, kGpuThreads / group), kGpuThreads, 0, x.data<float>(),
                      v.data<float>(), out.data<float>(), n, d, group);
}

// out[i] = beta * out[i] + sum over j of a[i, j] (* b[i, j]); a warp a row.
template <bool kDot, int kPack>
__global__ void __launch_bounds__(kGpuThreads)
    RowSumsKernel(const float* a, const float* b, float* out, int64_t n, int64_t d, float beta) {
  ForWarpRows(n, [&](int64_t i, int lane) {
    float sum = 0.0f;
    if constexpr (kDot) {
      sum = RowDot<kPack>(a + i * d, b + i * d, d, lane);
    } else {
      GPU_UNROLL_BY_TWO
      for (int64_t j = int64_t{lane} * kPack; j < d; j += int64_t{kWarp} * kPack) {
        const FloatPack<kPack> v = LoadPack<kPack>(a + i * d + j);
        GPU_UNROLL
        for (int k = 0; k < kPack; ++k) sum += v.v[k];
      }
      sum = WarpSum(sum);
    }
    if (lane == 0) out[i] = beta == 0.0f ? sum : beta * out[i] + sum;
  });
}

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads)
    SumAllPiecesKernel(const float* x, double* partial, int64_t n, int64_t piece) {
  GPU_SHARED(double, part, [kGpuThreads / kWarp]);
  const int64_t begin = int64_t{blockIdx.x} * piece;
  const int64_t end = begin + piece < n ? begin + piece : n;
  double sum = 0.0;
  for (int64_t i = begin + int64_t{threadIdx.x} * kPack; i < end;
       i += int64_t{blockDim.x} * kPack) {
    const FloatPack<kPack> v = LoadPack<kPack>(x + i);
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) sum += double{v.v[k]};
  }
  sum = BlockSum(sum, part);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void AddAllPiecesKernel(const double* partial, int64_t pieces, float* out) {
  double sum = 0.0;
  for (int64_t p = 0; p < pieces; ++p) sum += partial[p];
  *out = static_cast<float>(sum);
}

template <bool kDot>
absl::Status RowSums(Context& ctx, const char* name, const Tensor& a, const float* b, float beta,
                     const Tensor& out) {
  if (out.size() == 0) return absl::OkStatus();
  const bool by_four = RowsMoveByFour(a.dim(1), {a.raw(), b});
  return LaunchKernel(ctx, name, by_four ? RowSumsKernel<kDot, 4> : RowSumsKernel<kDot, 1>,
                      GpuBlocks(a.dim(0), kGpuThreads / kWarp), kGpuThreads, 0, a.data<float>(), b,
                      out.data<float>(), a.dim(0), a.dim(1), beta);
}

}  // namespace

absl::Status AxpByGpu(Context& ctx, float alpha, const Tensor& x, float beta, const Tensor& out) {
  return MapOnGpu<1>(ctx, "AxpBy", {x.data<float>()}, x.size(), beta, out.data<float>(),
                     Scaled{alpha});
}
absl::Status AddGpu(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& out) {
  return MapOnGpu<2>(ctx, "Add", {a.data<float>(), b.data<float>()}, a.size(), 0.0f,
                     out.data<float>(), Sum());
}
absl::Status MultiplyGpu(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& out) {
  return MapOnGpu<2>(ctx, "Multiply", {a.data<float>(), b.data<float>()}, a.size(), 0.0f,
                     out.data<float>(), Product());
}
absl::Status MultiplyAddGpu(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& out) {
  return MapOnGpu<2>(ctx, "MultiplyAdd", {a.data<float>(), b.data<float>()}, a.size(), 1.0f,
                     out.data<float>(), Product());
}

absl::Status DivideGpu(Context& ctx, float alpha, const Tensor& a, const Tensor& b, float beta,
                       const Tensor& out) {
  return MapOnGpu<2>(ctx, "Divide", {a.data<float>(), b.data<float>()}, a.size(), beta,
                     out.data<float>(), Quotient{alpha});
}
absl::Status ExpGpu(Context& ctx, const Tensor& x, const Tensor& out) {
  return MapOnGpu<1>(ctx, "Exp", {x.data<float>()}, x.size(), 0.0f, out.data<float>(),
                     Exponential());
}
absl::Status LogGpu(Context& ctx, const Tensor& x, const Tensor& out) {
  return MapOnGpu<1>(ctx, "Log", {x.data<float>()}, x.size(), 0.0f, out.data<float>(), Logarithm());
}
absl::Status AffineGpu(Context& ctx, float scale, const Tensor& x, float shift, const Tensor& out) {
  return MapOnGpu<1>(ctx, "Affine", {x.data<float>()}, x.size(), 0.0f, out.data<float>(),
                     AffineOf{scale, shift});
}
absl::Status ClipGpu(Context& ctx, const Tensor& x, float low, float high, const Tensor& out) {
  return MapOnGpu<1>(ctx, "Clip", {x.data<float>()}, x.size(), 0.0f, out.data<float>(),
                     Clipped{low, high});
}
absl::Status ClipBackwardGpu(Context& ctx, const Tensor& x, float low, float high, const Tensor& dy,
                             float beta, const Tensor& dx) {
  return MapOnGpu<2>(ctx, "ClipBackward", {x.data<float>(), dy.data<float>()}, x.size(), beta,
                     dx.data<float>(), ClippedSlope{low, high});
}

absl::Status FillGpu(Context& ctx, float value, const Tensor& out) {
  return FillWith(ctx, "Fill", value, nullptr, 0.0f, out);
}

absl::Status AddRowVectorGpu(Context& ctx, const Tensor& x, const Tensor& v, const Tensor& out) {
  return WithVector<true>(ctx, "AddRowVector", x, v, out);
}
absl::Status ScaleRowsGpu(Context& ctx, const Tensor& x, const Tensor& s, const Tensor& out) {
  return WithVector<false>(ctx, "ScaleRows", x, s, out);
}

absl::Status SumRowsGpu(Context& ctx, const Tensor& x, float beta, const Tensor& out) {
  return SumMatrixColumnsOnGpu(ctx, "SumRows", x.data<float>(), x.dim(0), x.dim(1), beta,
                               out.data<float>());
}
absl::Status SumColumnsGpu(Context& ctx, const Tensor& x, float beta, const Tensor& out) {
  return RowSums<false>(ctx, "SumColumns", x, nullptr, beta, out);
}
absl::Status DotRowsGpu(Context& ctx, const Tensor& a, const Tensor& b, float beta,
                        const Tensor& out) {
  return RowSums<true>(ctx, "DotRows", a, b.data<float>(), beta, out);
}

absl::Status SumAllGpu(Context& ctx, const Tensor& x, const Tensor& out) {
  constexpr int64_t kPiece = 16384;
  const int64_t pieces = NumChunks(x.size(), kPiece);
  PAGODA_ASSIGN_OR_RETURN(const Tensor partial,
                          ctx.Empty({std::max<int64_t>(pieces, 1)}, DType::kI64));
  auto* const sums = static_cast<double*>(partial.raw());
  if (pieces > 0) {
    // A pack may not reach past the end.
    const bool by_four = RowsMoveByFour(x.size(), {x.raw()});
    PAGODA_RETURN_IF_ERROR(LaunchKernel(
        ctx, "SumAll", by_four ? SumAllPiecesKernel<4> : SumAllPiecesKernel<1>,
        static_cast<unsigned>(pieces), kGpuThreads, 0, x.data<float>(), sums, x.size(), kPiece));
  }
  return LaunchKernel(ctx, "SumAll", AddAllPiecesKernel, 1, 1, 0, sums, pieces, out.data<float>());
}

absl::Status BroadcastScalarGpu(Context& ctx, float alpha, const Tensor& s, float beta,
                                const Tensor& out) {
  return FillWith(ctx, "BroadcastScalar", alpha, s.data<float>(), beta, out);
}

}  // namespace pagoda
