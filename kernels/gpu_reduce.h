// Sums in a fixed order for .cu files: within a warp by a butterfly of shuffles, within a
// block by warps in order. Never atomics, so results do not depend on timing.
#pragma once

#include <cstdint>

#include "kernels/gpu.h"
#include "kernels/gpu_vector.h"

namespace pagoda {

inline constexpr unsigned kAllLanes = 0xffffffffu;
inline constexpr int kWarp = 32;

// The sum over the lanes of a full warp, in every lane.
template <typename T>
__device__ inline T WarpSum(T value) {
  GPU_UNROLL
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, lanes);
  }
  return value;
}

// The same over each `group` neighbouring lanes; a power of two.
__device__ inline float GroupSum(float value, unsigned group) {
  for (unsigned lanes = group / 2; lanes > 0; lanes /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, static_cast<int>(lanes));
  }
  return value;
}

template <typename T>
__device__ inline T WarpMax(T value) {
  GPU_UNROLL
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, value, lanes);
    value = other > value ? other : value;
  }
  return value;
}

// <p, q> of d elements, in every lane of the warp.
template <int kPack>
__device__ inline float RowDot(const float* p, const float* q, int64_t d, int lane) {
  float sum = 0.0f;
  GPU_UNROLL_BY_TWO
  for (int64_t c = int64_t{lane} * kPack; c < d; c += int64_t{kWarp} * kPack) {
    const FloatPack<kPack> u = LoadPack<kPack>(p + c);
    const FloatPack<kPack> v = LoadPack<kPack>(q + c);
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) sum += u.v[k] * v.v[k];
  }
  return WarpSum(sum);
}

// body(i, lane) for rows i in [0, n), a warp a row; all lanes of a warp are in it together.
template <typename Body>
__device__ inline void ForWarpRows(int64_t n, const Body& body) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t warps = blockDim.x / kWarp;
  for (int64_t i = int64_t{blockIdx.x} * warps + threadIdx.x / kWarp; i < n;
       i += int64_t{gridDim.x} * warps) {
    body(i, lane);
  }
}

// The sum over a block of whole warps, in thread 0. `part` has a place for each warp and
// may be used again after the next __syncthreads.
template <typename T>
__device__ inline T BlockSum(T value, T* part) {
  value = WarpSum(value);
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned warp = threadIdx.x / kWarp;
  if (lane == 0) part[warp] = value;
  __syncthreads();
  T sum = T();
  if (threadIdx.x == 0) {
    for (unsigned w = 0; w < blockDim.x / kWarp; ++w) sum += part[w];
  }
  return sum;
}

}  // namespace pagoda
