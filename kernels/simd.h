// Loops for several instruction sets in one binary, and elementary functions
// that the compiler can vectorise.
//
// A function marked PAGODA_SIMD_CLONES is compiled for AVX-512, AVX2 and the
// baseline, and the loader picks by CPU. It must be a plain function (no
// template, no lambda inside its hot loop) of namespace scope. Sanitizer builds
// get the baseline only: the selection runs before their runtime is ready.
//
// Functions here have no branches and no library calls, so that a loop over
// them becomes vector code. Error bounds are checked in tests/kernels/simd_test.cc.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define PAGODA_SIMD_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define PAGODA_SIMD_CLONES
#endif

#define PAGODA_ALWAYS_INLINE inline __attribute__((always_inline))

namespace pagoda {

// Floats in the widest vector register; partial sums are kept in this many
// lanes and added in lane order, whatever the machine has.
inline constexpr int kLanes = 16;

// Sum of the lanes of a partial sum, in a fixed tree.
PAGODA_ALWAYS_INLINE float AddLanes(const float* lanes) {
  float eight[8];
  for (int i = 0; i < 8; ++i) eight[i] = lanes[i] + lanes[i + 8];
  return ((eight[0] + eight[4]) + (eight[2] + eight[6])) +
         ((eight[1] + eight[5]) + (eight[3] + eight[7]));
}

// e^x within 2 ulp, denormal results included; NaN stays NaN, the ends are 0 and inf.
// x = n ln 2 + r, |r| <= ln 2 / 2, and e^r by the polynomial of Cephes' expf.
PAGODA_ALWAYS_INLINE float VectorExp(float x) {
  constexpr float kLowest = -104.0f;        // e^x rounds to 0 below
  constexpr float kHighest = 88.8f;         // e^x is inf above
  constexpr float kRound = 12582912.0f;     // 1.5 * 2^23: adding it rounds to an integer
  constexpr float kLn2High = 0.693359375f;  // few bits, so that n * kLn2High is exact
  constexpr float kLn2Low = -2.12194440e-4f;
  float t = x < kLowest ? kLowest : x;
  t = t > kHighest ? kHighest : t;
  const float shifted = t * 1.44269504088896341f + kRound;
  const float n = shifted - kRound;
  const float r = (t - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * (r * r) + r) + 1.0f;
  // 2^n in two factors, as n reaches past both ends of the exponent.
  const uint32_t exponent = std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kRound);
  const uint32_t half = static_cast<uint32_t>(static_cast<int32_t>(exponent) >> 1);
  const float scale1 = std::bit_cast<float>((half + 127u) << 23);
  const float scale2 = std::bit_cast<float>((exponent - half + 127u) << 23);
  return p * scale1 * scale2;
}

// 1 / (1 + e^-x).
PAGODA_ALWAYS_INLINE float VectorSigmoid(float x) {
  return 1.0f / (1.0f + VectorExp(-x));
}

// tanh within 3 ulp: Cephes' tanhf, both branches evaluated.
PAGODA_ALWAYS_INLINE float VectorTanh(float x) {
  const float a = std::fabs(x);
  const float z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float small = p * z * x + x;
  const float large = std::copysign(1.0f - 2.0f / (VectorExp(2.0f * a) + 1.0f), x);
  return a < 0.625f ? small : large;
}

}  // namespace pagoda
