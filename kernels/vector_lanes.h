// Vectors of floats of a width chosen at run time, for the CPU operators (release
// builds do not use -march=native). For *_cpu.cc files only.
//
// An operator writes its inner loop once, as a template over the vector width,
// and asks for the compiled versions:
//
//   template <int kLanes>
//   PAGODA_INLINE void ScaleRange(const ScaleArgs& args, int64_t begin, int64_t end) {
//     for (int64_t i = begin; i < end; i += kLanes) {
//       *At<kLanes>(args.y + i) = *At<kLanes>(args.x + i) * args.scale;
//     }
//   }
//   PAGODA_VECTOR_VERSIONS(ScaleRange, ScaleArgs)   // Defines RunScaleRange(args, b, e).
//
// (GCC's target_clones would save the macro, but its resolvers run before the
// runtime of ThreadSanitizer is up, and crash.)
//
// What the template calls must be PAGODA_INLINE too: a function that is not
// inlined is compiled for the oldest instruction set. Vectors must not be
// parameters or results of a function that is not inlined, for the same reason.
//
// Floating-point contraction is off in this project and each lane is its own sum,
// so element-wise loops give the same bits on every instruction set; sums across
// lanes may differ between instruction sets, never between runs or thread counts.
#pragma once

#include <cstdint>
#include <cstdlib>

#define PAGODA_INLINE inline __attribute__((always_inline))
// Before a loop over an array of sums, with a constant count of at most 16: keeps
// the sums in registers.
#define PAGODA_UNROLL _Pragma("GCC unroll 16")

namespace pagoda {

template <int kLanes>
struct FloatLanes;
template <>
struct FloatLanes<16> {
  typedef float Type __attribute__((vector_size(64), aligned(4), may_alias));
};
template <>
struct FloatLanes<8> {
  typedef float Type __attribute__((vector_size(32), aligned(4), may_alias));
};
template <>
struct FloatLanes<4> {
  typedef float Type __attribute__((vector_size(16), aligned(4), may_alias));
};
template <>
struct FloatLanes<1> {
  typedef float Type;
};
// kLanes floats at any address: unaligned, and allowed to alias float.
template <int kLanes>
using Lanes = typename FloatLanes<kLanes>::Type;

// The kLanes floats that start at `p`, to read or to assign.
template <int kLanes>
PAGODA_INLINE const Lanes<kLanes>* At(const float* p) {
  return reinterpret_cast<const Lanes<kLanes>*>(p);
}
template <int kLanes>
PAGODA_INLINE Lanes<kLanes>* At(float* p) {
  return reinterpret_cast<Lanes<kLanes>*>(p);
}

// The sum of all lanes, in lane order pairs: ((0 + 8) + (4 + 12)) + ...
template <int kLanes>
PAGODA_INLINE float SumOfLanes(const Lanes<kLanes>& v) {
  if constexpr (kLanes == 1) {
    return v;
  } else {
    float lane[kLanes];
    *At<kLanes>(lane) = v;
    for (int width = kLanes / 2; width >= 1; width /= 2) {
      for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
    }
    return lane[0];
  }
}

// to = beta * to + value; with beta == 0, `to` is not read.
template <int kLanes>
PAGODA_INLINE void Accumulate(float beta, const Lanes<kLanes>& value, float* to) {
  if (beta == 0.0f) {
    *At<kLanes>(to) = value;
  } else {
    *At<kLanes>(to) = *At<kLanes>(to) * beta + value;
  }
}

// to[c * to_stride + r] = from[r * from_stride + c] for r, c < 4, by shuffles.
PAGODA_INLINE void TransposeFour(const float* from, int64_t from_stride, float* to,
                                 int64_t to_stride) {
  using Four = Lanes<4>;
  const Four a = *At<4>(from);
  const Four b = *At<4>(from + from_stride);
  const Four c = *At<4>(from + 2 * from_stride);
  const Four d = *At<4>(from + 3 * from_stride);
  const Four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Four ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Four cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Four cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  *At<4>(to) = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
  *At<4>(to + to_stride) = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
  *At<4>(to + 2 * to_stride) = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
  *At<4>(to + 3 * to_stride) = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

template <int kLanes>
struct LaneCount {
  static constexpr int value = kLanes;
};

// Calls block(LaneCount<n>{}, column) for consecutive blocks of n columns that
// cover [begin, end): as wide as possible first, then 8, 4 and single ones.
template <int kLanes, typename Block>
PAGODA_INLINE void ForEachColumnBlock(int64_t begin, int64_t end, const Block& block) {
  int64_t column = begin;
  for (; column + kLanes <= end; column += kLanes) block(LaneCount<kLanes>{}, column);
  if constexpr (kLanes > 8) {
    for (; column + 8 <= end; column += 8) block(LaneCount<8>{}, column);
  }
  if constexpr (kLanes > 4) {
    for (; column + 4 <= end; column += 4) block(LaneCount<4>{}, column);
  }
  for (; column < end; ++column) block(LaneCount<1>{}, column);
}

// Lanes of the widest vectors this processor has: 16 (AVX-512), 8 (AVX2) or 4. The
// environment variable PAGODA_VECTOR_LANES lowers it, to get on one machine the
// bits of another, and to test every width.
inline int VectorLanes() {
  static const int lanes = [] {
#if defined(__x86_64__)
    const bool has_avx512 =
        __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
    const int widest = has_avx512 ? 16 : __builtin_cpu_supports("avx2") ? 8 : 4;
#else
    const int widest = 4;
#endif
    const char* wanted = std::getenv("PAGODA_VECTOR_LANES");
    const int limit = wanted == nullptr ? widest : std::atoi(wanted);
    return limit >= widest ? widest : limit >= 8 ? 8 : 4;
  }();
  return lanes;
}

}  // namespace pagoda

#if defined(__x86_64__)
// What every server processor with AVX-512 has (Skylake-SP and later, Zen 4).
#define PAGODA_AVX512 "avx512f,avx512vl,avx512dq,avx512bw"
#define PAGODA_VECTOR_VERSIONS(Loop, Args)                                                        \
  __attribute__((target(PAGODA_AVX512))) void Loop##Avx512(const Args& args, int64_t begin,       \
                                                           int64_t end) {                         \
    Loop<16>(args, begin, end);                                                                   \
  }                                                                                               \
  __attribute__((target("avx2"))) void Loop##Avx2(const Args& args, int64_t begin, int64_t end) { \
    Loop<8>(args, begin, end);                                                                    \
  }                                                                                               \
  void Run##Loop(const Args& args, int64_t begin, int64_t end) {                                  \
    switch (VectorLanes()) {                                                                      \
      case 16: return Loop##Avx512(args, begin, end);                                             \
      case 8: return Loop##Avx2(args, begin, end);                                                \
      default: return Loop<4>(args, begin, end);                                                  \
    }                                                                                             \
  }
#else
#define PAGODA_VECTOR_VERSIONS(Loop, Args)                       \
  void Run##Loop(const Args& args, int64_t begin, int64_t end) { \
    Loop<4>(args, begin, end);                                   \
  }
#endif
