// The CUDA kernel language on the CPU: what kernels/*.cu may use, for g++ and clang.
// Included by kernels/gpu.h alone.
//
// A block's CUDA threads are fibers on one host thread (scheduler.h); blocks run one
// after another. A warp operation completes when every lane of its mask that has not
// returned is at the same operation with the same mask; a shuffle from a lane that takes
// no part gives a NaN pattern. Memory is sequentially consistent: a missing
// __threadfence is not seen here.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/gpu_emulation/scheduler.h"

// ---- keywords ---------------------------------------------------------------------
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define GPU_UNROLL
#define GPU_UNROLL_BY_TWO

// ---- built-in variables -----------------------------------------------------------
#define threadIdx (::gpu::emulation::current->thread_index)
#define blockIdx (::gpu::emulation::current->block_index)
#define blockDim (::gpu::emulation::current->block_dim)
#define gridDim (::gpu::emulation::current->grid_dim)
constexpr int warpSize = 32;

// ---- vectors ----------------------------------------------------------------------
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) {
  return {x, y};
}
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}

// ---- shared memory ----------------------------------------------------------------
// Of its exact size between red zones, filled with 0xff (NaN) for each block, and no
// better aligned than its type, so that a cast to a wider one is reported.
#define GPU_SHARED(type, name, dims)                                                              \
  using gpu_type_##name = std::remove_reference_t<decltype(*static_cast<type(*) dims>(nullptr))>; \
  static const char gpu_key_##name = 0;                                                           \
  gpu_type_##name& name = *static_cast<gpu_type_##name*>(::gpu::emulation::StaticShared(          \
      &gpu_key_##name, sizeof(gpu_type_##name), alignof(gpu_type_##name)))
#define GPU_DYNAMIC_SHARED(type, name) \
  type* name = static_cast<type*>(::gpu::emulation::DynamicShared(alignof(type)))

// ---- synchronisation --------------------------------------------------------------
// Each remembers where it was called, for messages.
#define GPU_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(GPU_PLACE) {
  gpu::emulation::SyncThreads(0, {file, line});
}
inline int __syncthreads_count(int predicate, GPU_PLACE) {
  return gpu::emulation::SyncThreads(predicate, {file, line});
}
inline int __syncthreads_or(int predicate, GPU_PLACE) {
  return gpu::emulation::SyncThreads(predicate, {file, line}) != 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, GPU_PLACE) {
  gpu::emulation::WarpOperation({gpu::emulation::WarpOp::kSync, mask, 0, 32, 0}, 0, {file, line});
}

namespace gpu::emulation {

template <typename T>
T Shuffle(WarpOp op, unsigned mask, T value, int argument, int width, Place place) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = WarpOperation({op, mask, argument, width, sizeof(T)}, bits, place);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// Adds or exchanges with the memory's own atomics, as host threads may run kernels too.
template <typename T, typename Change>
T ReadModifyWrite(T* at, const Change& change) {
  MaybeYield();
  T before;
  __atomic_load(at, &before, __ATOMIC_RELAXED);
  T after = change(before);
  while (
      !__atomic_compare_exchange(at, &before, &after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    after = change(before);
  }
  return before;
}

}  // namespace gpu::emulation

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, GPU_PLACE) {
  return gpu::emulation::Shuffle(gpu::emulation::WarpOp::kShuffle, mask, value, source, width,
                                 {file, line});
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, GPU_PLACE) {
  return gpu::emulation::Shuffle(gpu::emulation::WarpOp::kShuffleUp, mask, value,
                                 static_cast<int>(delta), width, {file, line});
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, GPU_PLACE) {
  return gpu::emulation::Shuffle(gpu::emulation::WarpOp::kShuffleDown, mask, value,
                                 static_cast<int>(delta), width, {file, line});
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, GPU_PLACE) {
  return gpu::emulation::Shuffle(gpu::emulation::WarpOp::kShuffleXor, mask, value, lanes, width,
                                 {file, line});
}
inline unsigned __ballot_sync(unsigned mask, int predicate, GPU_PLACE) {
  return static_cast<unsigned>(gpu::emulation::WarpOperation(
      {gpu::emulation::WarpOp::kBallot, mask, 0, 32, 4}, predicate != 0, {file, line}));
}
inline int __any_sync(unsigned mask, int predicate, GPU_PLACE) {
  return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, GPU_PLACE) {
  return __ballot_sync(mask, predicate == 0, file, line) == 0;
}

// ---- atomics ----------------------------------------------------------------------
inline int atomicAdd(int* at, int value) {
  return gpu::emulation::ReadModifyWrite(at, [=](int before) {
    return static_cast<int>(static_cast<unsigned>(before) + static_cast<unsigned>(value));
  });
}
inline unsigned atomicAdd(unsigned* at, unsigned value) {
  return gpu::emulation::ReadModifyWrite(at, [=](unsigned before) { return before + value; });
}
inline unsigned long long atomicAdd(unsigned long long* at, unsigned long long value) {
  return gpu::emulation::ReadModifyWrite(at,
                                         [=](unsigned long long before) { return before + value; });
}
inline int atomicMin(int* at, int value) {
  return gpu::emulation::ReadModifyWrite(at, [=](int before) { return std::min(before, value); });
}
inline int atomicMax(int* at, int value) {
  return gpu::emulation::ReadModifyWrite(at, [=](int before) { return std::max(before, value); });
}
inline int atomicOr(int* at, int value) {
  return gpu::emulation::ReadModifyWrite(at, [=](int before) { return before | value; });
}
inline int atomicCAS(int* at, int compare, int value) {
  return gpu::emulation::ReadModifyWrite(
      at, [=](int before) { return before == compare ? value : before; });
}
inline unsigned long long atomicCAS(unsigned long long* at, unsigned long long compare,
                                    unsigned long long value) {
  return gpu::emulation::ReadModifyWrite(
      at, [=](unsigned long long before) { return before == compare ? value : before; });
}
inline float atomicExch(float* at, float value) {
  return gpu::emulation::ReadModifyWrite(at, [=](float) { return value; });
}
inline void __threadfence() {}

// ---- numbers ----------------------------------------------------------------------
template <typename T>
T __ldg(const T* at) {
  return *at;
}
// Estimates, as on the device: off by a unit in the last place.
inline float rsqrtf(float x) {
  return std::nextafter(1.0f / std::sqrt(x), 0.0f);
}
inline float __fdividef(float x, float y) {
  return std::nextafter(x / y, 0.0f);
}
inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline int __clz(int x) {
  return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x));
}
inline int __float_as_int(float x) {
  int bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}
inline float __int_as_float(int bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}
inline unsigned __float_as_uint(float x) {
  return static_cast<unsigned>(__float_as_int(x));
}
inline float __uint_as_float(unsigned bits) {
  return __int_as_float(static_cast<int>(bits));
}
using std::max;
using std::min;
