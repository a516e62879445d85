// Division and square root for .cu files where nvcc's own would cost registers: those call a
// subroutine for denormal numbers, and around a call registers are spilled. Here a hardware
// estimate is refined once with fused multiply-adds, which rounds to nearest for positive
// normal numbers whose significand is not all ones (P. Markstein, "Computation of elementary
// functions on the IBM RISC System/6000 processor", IBM J. Res. Dev. 34 (1), 1990).
#pragma once

#include <cstdint>

#include "kernels/gpu.h"

namespace pagoda {

__device__ inline float Reciprocal(float x) {
  const float estimate = __fdividef(1.0f, x);
  return fmaf(fmaf(-x, estimate, 1.0f), estimate, estimate);
}

__device__ inline float SquareRoot(float x) {
  const float estimate = rsqrtf(x);
  const float root = x * estimate;
  return fmaf(fmaf(-root, root, x), 0.5f * estimate, root);
}

// What the sum of `count` rows is multiplied by: 1 / count, or 1 / sqrt(count).
__device__ inline float MeanScale(int64_t count) {
  return Reciprocal(static_cast<float>(count));
}
__device__ inline float SqrtNScale(int64_t count) {
  return Reciprocal(SquareRoot(static_cast<float>(count)));
}

}  // namespace pagoda
