// Elementary functions that the compiler can turn into vector code, and sums
// over a row in a fixed order. For *_cpu.cc files, inside templates that
// PAGODA_VECTOR_VERSIONS (vector_lanes.h) compiles for each instruction set.
//
// The functions have no branches and no library calls. Their error bounds are
// checked against double in tests/kernels/vector_math_test.cc.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/vector_lanes.h"

// Before a loop whose output may be the very same memory as an input: element i
// is read before it is written, so there is no dependence between iterations,
// which the compiler cannot see by itself.
#define PAGODA_IVDEP _Pragma("GCC ivdep")

namespace pagoda {

// e^x within 2 ulp, denormal results included; NaN stays NaN, the ends are 0 and
// inf. x = n ln 2 + r, |r| <= ln 2 / 2, and e^r by the polynomial of Cephes' expf.
PAGODA_INLINE float VectorExp(float x) {
  constexpr float kLowest = -104.0f;        // e^x rounds to 0 below,
  constexpr float kHighest = 88.8f;         // and is inf above.
  constexpr float kRound = 12582912.0f;     // 1.5 * 2^23: adding it rounds to an integer.
  constexpr float kLn2High = 0.693359375f;  // Few bits, so that n * kLn2High is exact.
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

// 1 / (1 + e^-x) within 4 ulp.
PAGODA_INLINE float VectorSigmoid(float x) {
  return 1.0f / (1.0f + VectorExp(-x));
}

// tanh within 4 ulp: Cephes' tanhf with both of its branches evaluated.
PAGODA_INLINE float VectorTanh(float x) {
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

// log(1 + t) within 4 ulp for 0 <= t <= 1: 2 atanh(s) at s = t / (2 + t) <= 1/3,
// as a series in s^2 whose first term left out is below 2^-27 of the sum.
PAGODA_INLINE float VectorLog1pUnit(float t) {
  const float s = t / (2.0f + t);
  const float z = s * s;
  float p = 1.0f / 17.0f;
  p = p * z + 1.0f / 15.0f;
  p = p * z + 1.0f / 13.0f;
  p = p * z + 1.0f / 11.0f;
  p = p * z + 1.0f / 9.0f;
  p = p * z + 1.0f / 7.0f;
  p = p * z + 1.0f / 5.0f;
  p = p * z + 1.0f / 3.0f;
  return 2.0f * s + 2.0f * s * (p * z);
}

// The sum over the columns [0, d) of what add(LaneCount<k>, c, sum) adds to `sum`,
// a Lanes<k>, for the columns [c, c + k).
template <int kLanes, typename Add>
PAGODA_INLINE float SumOver(int64_t d, const Add& add) {
  Lanes<kLanes> sum = {};
  int64_t c = 0;
  for (; c + kLanes <= d; c += kLanes) add(LaneCount<kLanes>{}, c, sum);
  float total = SumOfLanes<kLanes>(sum);
  for (; c < d; ++c) add(LaneCount<1>{}, c, total);
  return total;
}

template <int kLanes>
PAGODA_INLINE float SumOf(const float* x, int64_t d) {
  return SumOver<kLanes>(
      d, [&](auto lanes, int64_t c, auto& sum) __attribute__((always_inline)) {
        constexpr int k = decltype(lanes)::value;
        sum += *At<k>(x + c);
      });
}

template <int kLanes>
PAGODA_INLINE float DotOf(const float* a, const float* b, int64_t d) {
  return SumOver<kLanes>(
      d, [&](auto lanes, int64_t c, auto& sum) __attribute__((always_inline)) {
        constexpr int k = decltype(lanes)::value;
        sum += *At<k>(a + c) * *At<k>(b + c);
      });
}

// The sum of (x[c] - mean)^2.
template <int kLanes>
PAGODA_INLINE float SquaredDeviationOf(const float* x, float mean, int64_t d) {
  return SumOver<kLanes>(
      d, [&](auto lanes, int64_t c, auto& sum) __attribute__((always_inline)) {
        constexpr int k = decltype(lanes)::value;
        const Lanes<k> deviation = *At<k>(x + c) - mean;
        sum += deviation * deviation;
      });
}

// The greatest of x [d], -inf for d = 0. NaNs do not count.
template <int kLanes>
PAGODA_INLINE float MaxOf(const float* x, int64_t d) {
  float greatest = -INFINITY;
  Lanes<kLanes> lanes = Lanes<kLanes>{} + greatest;
  int64_t c = 0;
  for (; c + kLanes <= d; c += kLanes) {
    const Lanes<kLanes> v = *At<kLanes>(x + c);
    lanes = v > lanes ? v : lanes;
  }
  float lane[kLanes];
  *At<kLanes>(lane) = lanes;
  for (float v : lane) greatest = v > greatest ? v : greatest;
  for (; c < d; ++c) greatest = x[c] > greatest ? x[c] : greatest;
  return greatest;
}

template <int kLanes>
struct DoubleLanes;
template <>
struct DoubleLanes<16> {
  typedef double Type __attribute__((vector_size(128)));
};
template <>
struct DoubleLanes<8> {
  typedef double Type __attribute__((vector_size(64)));
};
template <>
struct DoubleLanes<4> {
  typedef double Type __attribute__((vector_size(32)));
};

// The sum of x[c] or x[c]^2 in double.
template <int kLanes, bool kSquared>
PAGODA_INLINE double DoubleSumOf(const float* x, int64_t d) {
  typename DoubleLanes<kLanes>::Type sum = {};
  int64_t c = 0;
  for (; c + kLanes <= d; c += kLanes) {
    const auto v = __builtin_convertvector(*At<kLanes>(x + c), typename DoubleLanes<kLanes>::Type);
    sum += kSquared ? v * v : v;
  }
  double total = 0.0;
  for (int lane = 0; lane < kLanes; ++lane) total += sum[lane];
  for (; c < d; ++c) {
    const double v = static_cast<double>(x[c]);
    total += kSquared ? v * v : v;
  }
  return total;
}

}  // namespace pagoda
