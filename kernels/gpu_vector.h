// One or four floats that move as one, for .cu files: four where all rows begin at
// multiples of 16 bytes, else one.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "kernels/gpu.h"

namespace pagoda {

template <int kWidth>
struct FloatPack {
  float v[kWidth];
};

template <int kWidth>
__device__ inline FloatPack<kWidth> LoadPack(const float* at) {
  FloatPack<kWidth> pack;
  if constexpr (kWidth == 4) {
    const float4 four = *reinterpret_cast<const float4*>(at);
    pack.v[0] = four.x;
    pack.v[1] = four.y;
    pack.v[2] = four.z;
    pack.v[3] = four.w;
  } else {
    GPU_UNROLL
    for (int k = 0; k < kWidth; ++k) pack.v[k] = at[k];
  }
  return pack;
}

template <int kWidth>
__device__ inline void StorePack(const FloatPack<kWidth>& pack, float* at) {
  if constexpr (kWidth == 4) {
    *reinterpret_cast<float4*>(at) = make_float4(pack.v[0], pack.v[1], pack.v[2], pack.v[3]);
  } else {
    GPU_UNROLL
    for (int k = 0; k < kWidth; ++k) at[k] = pack.v[k];
  }
}

// to = beta * to + pack; with beta == 0, `to` is not read.
template <int kWidth>
__device__ inline void AccumulatePack(float beta, FloatPack<kWidth> pack, float* to) {
  if (beta != 0.0f) {
    const FloatPack<kWidth> before = LoadPack<kWidth>(to);
    GPU_UNROLL
    for (int k = 0; k < kWidth; ++k) pack.v[k] += beta * before.v[k];
  }
  StorePack(pack, to);
}

// body(i, c) for packs of columns [c, c + kPack) of the rows i of a matrix [n, d]: `group`
// threads, a power of two, move along a row. No division, as 64-bit ones are subroutines.
template <int kPack, typename Body>
__device__ inline void ForRowPacks(int64_t n, int64_t d, unsigned group, const Body& body) {
  const unsigned rows = blockDim.x / group;
  const unsigned lane = threadIdx.x & (group - 1);
  for (int64_t i = int64_t{blockIdx.x} * rows + threadIdx.x / group; i < n;
       i += int64_t{gridDim.x} * rows) {
    GPU_UNROLL_BY_TWO
    for (int64_t c = int64_t{lane} * kPack; c < d; c += int64_t{group} * kPack) body(i, c);
  }
}

// Threads that move along a row of `packs`: at most `most`, a power of two.
inline unsigned RowGroup(int64_t packs, unsigned most) {
  unsigned group = 1;
  while (group < most && group < packs) group *= 2;
  return group;
}

// Whether rows of `width` floats that begin at each of `bases` can be read four at a
// time. Null bases do not count.
inline bool RowsMoveByFour(int64_t width, std::initializer_list<const void*> bases) {
  if (width % 4 != 0) return false;
  for (const void* base : bases) {
    if (reinterpret_cast<uintptr_t>(base) % 16 != 0) return false;
  }
  return true;
}

}  // namespace pagoda
