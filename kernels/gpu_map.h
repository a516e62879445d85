// Element-wise kernels for .cu files: out[i] = beta * out[i] + f(inputs at i), with
// 16-byte accesses where all operands allow it, and one by one at the end and elsewhere.
// Bound by memory: (inputs + 1, or + 2 with beta) * 4 * n bytes.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "absl/status/status.h"
#include "kernels/gpu_stream.h"

namespace pagoda {

inline bool AlignedFor16(const void* at) {
  return reinterpret_cast<uintptr_t>(at) % 16 == 0;
}

namespace gpu_map {

template <int kInputs, typename F>
struct MapArguments {
  const float* inputs[kInputs];
  float* out;
  float beta;
  int64_t n;
  int64_t quads;  // So many groups of four are read and written as one.
  F f;
};

// Inputs may be `out` itself: an element is read before it is written, by one thread.
template <int kInputs, typename F>
__global__ void __launch_bounds__(kGpuThreads) MapKernel(const MapArguments<kInputs, F> a) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  const int64_t first = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (int64_t q = first; q < a.quads; q += step) {
    float4 in[kInputs];
    GPU_UNROLL
    for (int k = 0; k < kInputs; ++k) in[k] = reinterpret_cast<const float4*>(a.inputs[k])[q];
    float x[4][kInputs];
    GPU_UNROLL
    for (int k = 0; k < kInputs; ++k) {
      x[0][k] = in[k].x;
      x[1][k] = in[k].y;
      x[2][k] = in[k].z;
      x[3][k] = in[k].w;
    }
    float4* const to = reinterpret_cast<float4*>(a.out) + q;
    float4 y = make_float4(a.f(x[0]), a.f(x[1]), a.f(x[2]), a.f(x[3]));
    if (a.beta != 0.0f) {
      const float4 before = *to;
      y = make_float4(a.beta * before.x + y.x, a.beta * before.y + y.y, a.beta * before.z + y.z,
                      a.beta * before.w + y.w);
    }
    *to = y;
  }
  for (int64_t i = a.quads * 4 + first; i < a.n; i += step) {
    float x[kInputs];
    GPU_UNROLL
    for (int k = 0; k < kInputs; ++k) x[k] = a.inputs[k][i];
    const float y = a.f(x);
    a.out[i] = a.beta == 0.0f ? y : a.beta * a.out[i] + y;
  }
}

}  // namespace gpu_map

// F has `__device__ float operator()(const float (&x)[kInputs]) const`.
template <int kInputs, typename F>
absl::Status MapOnGpu(Context& ctx, const char* name, const float* const (&inputs)[kInputs],
                      int64_t n, float beta, float* out, const F& f) {
  if (n == 0) return absl::OkStatus();
  gpu_map::MapArguments<kInputs, F> arguments = {};
  bool aligned = AlignedFor16(out);
  for (int k = 0; k < kInputs; ++k) {
    arguments.inputs[k] = inputs[k];
    aligned = aligned && AlignedFor16(inputs[k]);
  }
  arguments.out = out;
  arguments.beta = beta;
  arguments.n = n;
  arguments.quads = aligned ? n / 4 : 0;
  arguments.f = f;
  const unsigned blocks = GpuBlocks(n, kGpuThreads * int64_t{4});
  return LaunchKernel(ctx, name, gpu_map::MapKernel<kInputs, F>, blocks, kGpuThreads, 0, arguments);
}

}  // namespace pagoda
