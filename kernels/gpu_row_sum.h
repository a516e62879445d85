// Sums of rows that lie anywhere, for .cu files: what gathering, pooling and their
// gradients share.
//
//    out(s) = beta * out(s) + factor(s) * (sum of scale(i) * row(i) over i in [begin(s), end(s)))
//
// A group of lanes of a warp, 1 to 32 of them, has one sum: each lane takes columns, and
// adds the rows in order. So a sum's bits do not depend on timing. Sums of more than
// kLongSum rows are left to a second kernel, where a block has one sum: its groups take
// pieces of the rows, and the pieces are added in order.
//
// Bound by memory: 4 * width bytes a row, and as much a sum.
//
// Terms:  __device__ int64_t begin(int64_t s) const, end(s);
//         __device__ const float* row(int64_t i) const;  __device__ float scale(int64_t i) const;
//         __device__ float factor(int64_t s) const;      __device__ float* out(int64_t s) const;
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "kernels/gpu_reduce.h"
#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {

inline constexpr int64_t kLongSum = 256;

// Which of the segments [offsets[s], offsets[s + 1]) holds i, by bisection. REQUIRES: one does.
__device__ inline int64_t SegmentOf(const int32_t* offsets, int64_t num_segments, int64_t i) {
  int64_t low = 0, high = num_segments;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (offsets[middle] <= i) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

namespace gpu_row_sum {

template <typename Terms>
struct Sums {
  Terms terms;
  int64_t count;
  int64_t width;
  int group;  // Lanes; a power of two.
  float beta;
};

// Columns [c, c + kPack) of the rows [begin, end).
template <int kPack, typename Terms>
__device__ inline FloatPack<kPack> SumColumns(const Terms& terms, int64_t begin, int64_t end,
                                              int64_t c) {
  FloatPack<kPack> sum = {};
  GPU_UNROLL_BY_TWO
  for (int64_t i = begin; i < end; ++i) {
    const FloatPack<kPack> row = LoadPack<kPack>(terms.row(i) + c);
    const float scale = terms.scale(i);
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) sum.v[k] += row.v[k] * scale;
  }
  return sum;
}

template <int kPack>
__device__ inline FloatPack<kPack> Times(FloatPack<kPack> pack, float factor) {
  GPU_UNROLL
  for (int k = 0; k < kPack; ++k) pack.v[k] *= factor;
  return pack;
}

template <int kPack, typename Terms>
__global__ void __launch_bounds__(kGpuThreads, 4) ShortSumsKernel(const Sums<Terms> a) {
  const int64_t groups = int64_t{gridDim.x} * (blockDim.x / a.group);
  const int lane = static_cast<int>(threadIdx.x) % a.group;
  for (int64_t s = int64_t{blockIdx.x} * (blockDim.x / a.group) + threadIdx.x / a.group;
       s < a.count; s += groups) {
    const int64_t begin = a.terms.begin(s);
    const int64_t end = a.terms.end(s);
    if (end - begin > kLongSum) continue;
    const float factor = a.terms.factor(s);
    for (int64_t c = int64_t{lane} * kPack; c < a.width; c += int64_t{a.group} * kPack) {
      AccumulatePack(a.beta, Times(SumColumns<kPack>(a.terms, begin, end, c), factor),
                     a.terms.out(s) + c);
    }
  }
}

// Shared memory: a pack for each thread.
template <int kPack, typename Terms>
__global__ void __launch_bounds__(kGpuThreads, 4) LongSumsKernel(const Sums<Terms> a) {
  GPU_SHARED(float, part, [kGpuThreads][kPack]);
  const int groups = kGpuThreads / a.group;
  const int lane = static_cast<int>(threadIdx.x) % a.group;
  const int group = static_cast<int>(threadIdx.x) / a.group;
  for (int64_t s = blockIdx.x; s < a.count; s += gridDim.x) {
    const int64_t begin = a.terms.begin(s);
    const int64_t end = a.terms.end(s);
    if (end - begin <= kLongSum) continue;
    const int64_t piece = (end - begin + groups - 1) / groups;
    const int64_t first = begin + piece * group;  // The last groups may have nothing.
    const int64_t last = min(first + piece, end);
    for (int64_t step = 0; step < a.width; step += int64_t{a.group} * kPack) {
      const int64_t c = step + int64_t{lane} * kPack;
      FloatPack<kPack> sum = {};
      if (c < a.width) sum = SumColumns<kPack>(a.terms, first, last, c);
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) part[threadIdx.x][k] = sum.v[k];
      __syncthreads();
      if (group == 0 && c < a.width) {
        GPU_UNROLL_BY_TWO
        for (int g = 1; g < groups; ++g) {
          GPU_UNROLL
          for (int k = 0; k < kPack; ++k) sum.v[k] += part[g * a.group + lane][k];
        }
        AccumulatePack(a.beta, Times(sum, a.terms.factor(s)), a.terms.out(s) + c);
      }
      __syncthreads();
    }
  }
}

}  // namespace gpu_row_sum

// Sums of at most kLongSum rows. `by_four`: see RowsMoveByFour.
template <typename Terms>
absl::Status SumFewRowsOnGpu(Context& ctx, const char* name, const Terms& terms, int64_t count,
                             int64_t width, float beta, bool by_four) {
  if (count == 0 || width == 0) return absl::OkStatus();
  const int group = static_cast<int>(RowGroup(by_four ? width / 4 : width, kWarp));
  const gpu_row_sum::Sums<Terms> sums = {terms, count, width, group, beta};
  const auto kernel =
      by_four ? gpu_row_sum::ShortSumsKernel<4, Terms> : gpu_row_sum::ShortSumsKernel<1, Terms>;
  return LaunchKernel(ctx, name, kernel, GpuBlocks(count, kGpuThreads / group), kGpuThreads, 0,
                      sums);
}

// `long_sums`: whether any may be of more than kLongSum rows.
template <typename Terms>
absl::Status SumRowsOnGpu(Context& ctx, const char* name, const Terms& terms, int64_t count,
                          int64_t width, float beta, bool by_four, bool long_sums) {
  PAGODA_RETURN_IF_ERROR(SumFewRowsOnGpu(ctx, name, terms, count, width, beta, by_four));
  if (count == 0 || width == 0 || !long_sums) return absl::OkStatus();
  const int group = static_cast<int>(RowGroup(by_four ? width / 4 : width, kWarp));
  const gpu_row_sum::Sums<Terms> sums = {terms, count, width, group, beta};
  constexpr int64_t kLongBlocks = 1024;  // They look at `count` lengths, and most do nothing.
  const auto kernel =
      by_four ? gpu_row_sum::LongSumsKernel<4, Terms> : gpu_row_sum::LongSumsKernel<1, Terms>;
  return LaunchKernel(ctx, name, kernel, GpuBlocks(std::min(count, kLongBlocks), 1), kGpuThreads, 0,
                      sums);
}

}  // namespace pagoda
