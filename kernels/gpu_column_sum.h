// Sums over the rows of matrices, for .cu files: column sums in pieces of rows, which a
// second kernel adds in order. So their bits do not depend on timing.
//
//    sum[k, j] = sum over rows i of term_k(i, j),  k < kSums
//
// Terms, for the columns [j, j + kPack):
//    template <int kPack>
//    __device__ void operator()(int64_t i, int64_t j, T (&values)[kSums][kPack]) const;
//
// Bound by memory: what the terms read.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/chunks.h"
#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {

namespace gpu_column_sum {

// A thread a pack of columns: neighbours read neighbouring elements of each row.
template <int kPack, int kSums, typename T, typename Terms>
__global__ void __launch_bounds__(kGpuThreads)
    PiecesKernel(const Terms terms, T* partial, int64_t n, int64_t d, int64_t piece_rows) {
  const int64_t j = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kPack;
  if (j >= d) return;
  for (int64_t piece = blockIdx.y; piece * piece_rows < n; piece += gridDim.y) {
    const int64_t begin = piece * piece_rows;
    const int64_t end = begin + piece_rows < n ? begin + piece_rows : n;
    T sum[kSums][kPack] = {};
    for (int64_t i = begin; i < end; ++i) {
      T values[kSums][kPack];
      terms.template operator()<kPack>(i, j, values);
      GPU_UNROLL
      for (int k = 0; k < kSums; ++k) {
        GPU_UNROLL
        for (int c = 0; c < kPack; ++c) sum[k][c] += values[k][c];
      }
    }
    GPU_UNROLL
    for (int k = 0; k < kSums; ++k) {
      GPU_UNROLL
      for (int c = 0; c < kPack; ++c) partial[(piece * kSums + k) * d + j + c] = sum[k][c];
    }
  }
}

// use(j, sums) has what to do with a column's sums.
template <int kSums, typename T, typename Use>
__global__ void __launch_bounds__(kGpuThreads)
    FinishKernel(const T* partial, int64_t pieces, int64_t d, const Use use) {
  const int64_t j = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (j >= d) return;
  T sum[kSums] = {};
  for (int64_t p = 0; p < pieces; ++p) {
    GPU_UNROLL
    for (int k = 0; k < kSums; ++k) sum[k] += partial[(p * kSums + k) * d + j];
  }
  use(j, sum);
}

}  // namespace gpu_column_sum

// Use: __device__ void operator()(int64_t j, const T (&sums)[kSums]) const. No rows give
// sums of 0. `by_four`: see RowsMoveByFour.
template <int kSums, typename T, typename Terms, typename Use>
absl::Status SumColumnsOnGpu(Context& ctx, const char* name, int64_t n, int64_t d, bool by_four,
                             const Terms& terms, const Use& use) {
  if (d == 0) return absl::OkStatus();
  constexpr int64_t kGridMax = 65535;
  const int64_t pieces = NumChunks(n, kReduceRows);
  PAGODA_ASSIGN_OR_RETURN(const Tensor memory, ctx.Empty({std::max<int64_t>(pieces, 1) * kSums * d *
                                                          static_cast<int64_t>(sizeof(T) / 4)}));
  T* const partial = static_cast<T*>(memory.raw());
  if (pieces > 0) {
    constexpr int64_t kWarpThreads = 32;
    const int64_t packs = by_four ? d / 4 : d;
    const int64_t threads =
        std::min<int64_t>(NumChunks(packs, kWarpThreads) * kWarpThreads, kGpuThreads);
    const dim3 grid(static_cast<unsigned>(NumChunks(packs, threads)),
                    static_cast<unsigned>(std::min(pieces, kGridMax)));
    const auto kernel = by_four ? gpu_column_sum::PiecesKernel<4, kSums, T, Terms>
                                : gpu_column_sum::PiecesKernel<1, kSums, T, Terms>;
    PAGODA_RETURN_IF_ERROR(LaunchKernel(ctx, name, kernel, grid, static_cast<unsigned>(threads), 0,
                                        terms, partial, n, d, kReduceRows));
  }
  const auto columns = static_cast<unsigned>(NumChunks(d, kGpuThreads));
  return LaunchKernel(ctx, name, gpu_column_sum::FinishKernel<kSums, T, Use>, columns, kGpuThreads,
                      0, partial, pieces, d, use);
}

// The column sums of a plain matrix: out[j] = beta * out[j] + sum over i of x[i, j].
struct MatrixTerms {
  const float* x;
  int64_t d;
  template <int kPack>
  __device__ void operator()(int64_t i, int64_t j, float (&values)[1][kPack]) const {
    const FloatPack<kPack> v = LoadPack<kPack>(x + i * d + j);
    GPU_UNROLL
    for (int c = 0; c < kPack; ++c) values[0][c] = v.v[c];
  }
};
struct AddColumnSum {
  float* out;
  float beta;
  __device__ void operator()(int64_t j, const float (&sums)[1]) const {
    out[j] = beta == 0.0f ? sums[0] : beta * out[j] + sums[0];
  }
};
inline absl::Status SumMatrixColumnsOnGpu(Context& ctx, const char* name, const float* x, int64_t n,
                                          int64_t d, float beta, float* out) {
  return SumColumnsOnGpu<1, float>(ctx, name, n, d, RowsMoveByFour(d, {x}), MatrixTerms{x, d},
                                   AddColumnSum{out, beta});
}

}  // namespace pagoda
