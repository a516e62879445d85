// Maps are bound by memory: 4 bytes an operand and element. SumRows reads x once and
// writes a partial sum for each piece of rows, which a second kernel adds in order;
// SumColumns and DotRows give a warp to each row.
#include "kernels/elementwise_gpu.h"

#include "kernels/chunks.h"
#include "kernels/gpu_map.h"
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

__global__ void __launch_bounds__(kGpuThreads) FillKernel(float value, float* out, int64_t n) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += step) {
    out[i] = value;
  }
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

// partial[p, j] = sum of x[i, j] over the rows i of piece p; a thread a column.
__global__ void __launch_bounds__(kGpuThreads)
    SumPiecesKernel(const float* x, float* partial, int64_t n, int64_t d, int64_t piece_rows) {
  const int64_t j = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (j >= d) return;
  const int64_t begin = int64_t{blockIdx.y} * piece_rows;
  const int64_t end = begin + piece_rows < n ? begin + piece_rows : n;
  float sum = 0.0f;
  for (int64_t i = begin; i < end; ++i) sum += x[i * d + j];
  partial[int64_t{blockIdx.y} * d + j] = sum;
}

__global__ void __launch_bounds__(kGpuThreads)
    AddPiecesKernel(const float* partial, float* out, int64_t pieces, int64_t d, float beta) {
  const int64_t j = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (j >= d) return;
  float sum = 0.0f;
  for (int64_t p = 0; p < pieces; ++p) sum += partial[p * d + j];
  out[j] = beta == 0.0f ? sum : beta * out[j] + sum;
}

// out[i] = beta * out[i] + sum over j of a[i, j] (* b[i, j]); a warp a row.
template <bool kDot>
__global__ void __launch_bounds__(kGpuThreads)
    RowSumsKernel(const float* a, const float* b, float* out, int64_t n, int64_t d, float beta) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t step = int64_t{gridDim.x} * (blockDim.x / kWarp);
  for (int64_t i = int64_t{blockIdx.x} * (blockDim.x / kWarp) + threadIdx.x / kWarp; i < n;
       i += step) {
    float sum = 0.0f;
    for (int64_t j = lane; j < d; j += kWarp) {
      sum += kDot ? a[i * d + j] * b[i * d + j] : a[i * d + j];
    }
    sum = WarpSum(sum);
    if (lane == 0) out[i] = beta == 0.0f ? sum : beta * out[i] + sum;
  }
}

__global__ void __launch_bounds__(kGpuThreads)
    SumAllPiecesKernel(const float* x, double* partial, int64_t n, int64_t piece) {
  GPU_SHARED(double, part, [kGpuThreads / kWarp]);
  const int64_t begin = int64_t{blockIdx.x} * piece;
  const int64_t end = begin + piece < n ? begin + piece : n;
  double sum = 0.0;
  for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) sum += double{x[i]};
  sum = BlockSum(sum, part);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void AddAllPiecesKernel(const double* partial, int64_t pieces, float* out) {
  double sum = 0.0;
  for (int64_t p = 0; p < pieces; ++p) sum += partial[p];
  *out = static_cast<float>(sum);
}

__global__ void __launch_bounds__(kGpuThreads)
    BroadcastKernel(float alpha, const float* s, float beta, float* out, int64_t n) {
  const float value = alpha * *s;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += step) {
    out[i] = beta == 0.0f ? value : beta * out[i] + value;
  }
}

template <bool kDot>
absl::Status RowSums(Context& ctx, const char* name, const Tensor& a, const float* b, float beta,
                     const Tensor& out) {
  if (out.size() == 0) return absl::OkStatus();
  return LaunchKernel(ctx, name, RowSumsKernel<kDot>, GpuBlocks(a.dim(0), kGpuThreads / kWarp),
                      kGpuThreads, 0, a.data<float>(), b, out.data<float>(), a.dim(0), a.dim(1),
                      beta);
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

absl::Status FillGpu(Context& ctx, float value, const Tensor& out) {
  if (out.size() == 0) return absl::OkStatus();
  return LaunchKernel(ctx, "Fill", FillKernel, GpuBlocks(out.size(), kGpuThreads), kGpuThreads, 0,
                      value, out.data<float>(), out.size());
}

absl::Status AddRowVectorGpu(Context& ctx, const Tensor& x, const Tensor& v, const Tensor& out) {
  return WithVector<true>(ctx, "AddRowVector", x, v, out);
}
absl::Status ScaleRowsGpu(Context& ctx, const Tensor& x, const Tensor& s, const Tensor& out) {
  return WithVector<false>(ctx, "ScaleRows", x, s, out);
}

absl::Status SumRowsGpu(Context& ctx, const Tensor& x, float beta, const Tensor& out) {
  const int64_t n = x.dim(0), d = x.dim(1);
  if (d == 0) return absl::OkStatus();
  // At least one piece, so that no rows give zeros.
  const int64_t pieces = std::max<int64_t>(NumChunks(n, kReduceRows), 1);
  PAGODA_ASSIGN_OR_RETURN(const Tensor partial, ctx.Empty({pieces, d}));
  const unsigned columns = static_cast<unsigned>((d + kGpuThreads - 1) / kGpuThreads);
  PAGODA_RETURN_IF_ERROR(LaunchKernel(ctx, "SumRows", SumPiecesKernel,
                                      dim3(columns, static_cast<unsigned>(pieces)), kGpuThreads, 0,
                                      x.data<float>(), partial.data<float>(), n, d, kReduceRows));
  return LaunchKernel(ctx, "SumRows", AddPiecesKernel, columns, kGpuThreads, 0,
                      partial.data<float>(), out.data<float>(), pieces, d, beta);
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
    PAGODA_RETURN_IF_ERROR(LaunchKernel(ctx, "SumAll", SumAllPiecesKernel,
                                        static_cast<unsigned>(pieces), kGpuThreads, 0,
                                        x.data<float>(), sums, x.size(), kPiece));
  }
  return LaunchKernel(ctx, "SumAll", AddAllPiecesKernel, 1, 1, 0, sums, pieces, out.data<float>());
}

absl::Status BroadcastScalarGpu(Context& ctx, float alpha, const Tensor& s, float beta,
                                const Tensor& out) {
  if (out.size() == 0) return absl::OkStatus();
  return LaunchKernel(ctx, "BroadcastScalar", BroadcastKernel, GpuBlocks(out.size(), kGpuThreads),
                      kGpuThreads, 0, alpha, s.data<float>(), beta, out.data<float>(), out.size());
}

}  // namespace pagoda
