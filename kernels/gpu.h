// The one door to CUDA, for kernels (*.cu) and for the host code that launches them.
// Three builds:
//
//   off       no toolkit: nothing includes this file, and Context refuses GPU devices
//   emulated  the same names, run on the CPU: gpu_emulation/language.h
//   cuda      nvcc, cuBLAS
//
// What kernels may use is what gpu_emulation/ has; they are written once and compiled
// in both. Three things are spelled differently from plain CUDA, for the emulation's sake:
//
//   GPU_SHARED(float, tile, [32][33]);      __shared__ float tile[32][33]
//   GPU_DYNAMIC_SHARED(float, buffer);      extern __shared__ float buffer[]
//   gpu::Launch(kernel, grid, block, shared_bytes, stream, arguments...)
//
// GPU_UNROLL unrolls a loop of constant length; GPU_UNROLL_BY_TWO a long one, which nvcc would
// by four, and then spill registers.
//
// Rules for kernels: no block waits for another; no float atomics (results must not
// depend on timing); shuffles and votes name every lane that takes part; 64-bit index
// arithmetic for whatever is multiplied by a row's width.
#pragma once

#if defined(PAGODA_GPU_EMULATED)

#include "kernels/gpu_emulation/blas.h"
#include "kernels/gpu_emulation/language.h"
#include "kernels/gpu_emulation/runtime.h"

#else

#include <cublasLt.h>
#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <cstddef>

#if defined(__CUDACC__)
#define GPU_UNROLL _Pragma("unroll")
#define GPU_UNROLL_BY_TWO _Pragma("unroll 2")
#define GPU_SHARED(type, name, dims) __shared__ type name dims
#define GPU_DYNAMIC_SHARED(type, name)                                \
  extern __shared__ __align__(16) unsigned char gpu_dynamic_shared[]; \
  type* name = reinterpret_cast<type*>(gpu_dynamic_shared)

namespace gpu {

// Starts kernel(arguments...) on `stream`. Errors: those of cudaLaunchKernelEx.
template <typename... Parameters, typename... Arguments>
cudaError_t Launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
                   cudaStream_t stream, Arguments&&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  constexpr std::size_t kSharedWithoutAsking = 48 * 1024;
  if (shared_bytes > kSharedWithoutAsking) {
    const cudaError_t allowed = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                     cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                     static_cast<int>(shared_bytes));
    if (allowed != cudaSuccess) return allowed;
  }
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

}  // namespace gpu
#endif

#endif
