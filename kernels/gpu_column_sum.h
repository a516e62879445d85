// Sums over the rows of matrices, for .cu files: column sums in pieces of rows, which a
// second kernel adds in order. So their bits do not depend on timing.
//
//    sum[k, j] = sum over rows i of term_k(i, j),  k < kSums
//
// Terms: __device__ void operator()(int64_t i, int64_t j, T (&values)[kSums]) const.
#pragma once

#include <cstdint>

#include "kernels/chunks.h"
#include "kernels/gpu_stream.h"

namespace pagoda {

namespace gpu_column_sum {

// A thread a column: neighbours read neighbouring elements of each row.
template <int kSums, typename T, typename Terms>
__global__ void __launch_bounds__(kGpuThreads)
    PiecesKernel(const Terms terms, T* partial, int64_t n, int64_t d, int64_t piece_rows) {
  const int64_t j = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (j >= d) return;
  for (int64_t piece = blockIdx.y; piece * piece_rows < n; piece += gridDim.y) {
    const int64_t begin = piece * piece_rows;
    const int64_t end = begin + piece_rows < n ? begin + piece_rows : n;
    T sum[kSums] = {};
    for (int64_t i = begin; i < end; ++i) {
      T values[kSums];
      terms(i, j, values);
      GPU_UNROLL
      for (int k = 0; k < kSums; ++k) sum[k] += values[k];
    }
    GPU_UNROLL
    for (int k = 0; k < kSums; ++k) partial[(piece * kSums + k) * d + j] = sum[k];
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
// sums of 0.
template <int kSums, typename T, typename Terms, typename Use>
absl::Status SumColumnsOnGpu(Context& ctx, const char* name, int64_t n, int64_t d,
                             const Terms& terms, const Use& use) {
  if (d == 0) return absl::OkStatus();
  constexpr int64_t kGridMax = 65535;
  const int64_t pieces = NumChunks(n, kReduceRows);
  PAGODA_ASSIGN_OR_RETURN(const Tensor memory, ctx.Empty({std::max<int64_t>(pieces, 1) * kSums * d *
                                                          static_cast<int64_t>(sizeof(T) / 4)}));
  T* const partial = static_cast<T*>(memory.raw());
  const auto columns = static_cast<unsigned>((d + kGpuThreads - 1) / kGpuThreads);
  if (pieces > 0) {
    const dim3 grid(columns, static_cast<unsigned>(std::min(pieces, kGridMax)));
    PAGODA_RETURN_IF_ERROR(LaunchKernel(ctx, name, gpu_column_sum::PiecesKernel<kSums, T, Terms>,
                                        grid, kGpuThreads, 0, terms, partial, n, d, kReduceRows));
  }
  return LaunchKernel(ctx, name, gpu_column_sum::FinishKernel<kSums, T, Use>, columns, kGpuThreads,
                      0, partial, pieces, d, use);
}

}  // namespace pagoda
