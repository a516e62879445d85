// Counter-based random numbers: a value is a pure function of (key, counter),
// so any thread, shard or device may draw any of them in any order and all
// agree. There is no generator state to save in a checkpoint.
//
// Header-only and free of the host library in RandomBits, so that a kernel may
// include it. Threads: everything here is a pure function.
#pragma once

#include <cmath>
#include <cstdint>

#include "base/hash.h"

namespace pagoda {

// Names an independent stream of random numbers.
struct RandomKey {
  uint64_t value = 0;

  // A key for a sub-stream: Derive(a).Derive(b) differs from Derive(b).Derive(a).
  constexpr RandomKey Derive(uint64_t label) const {
    return RandomKey{MixBits(value ^ MixBits(label + 0x632be59bd9b4e019ULL))};
  }
};

// 64 well-mixed bits for position `counter` of the stream.
constexpr uint64_t RandomBits(RandomKey key, uint64_t counter) {
  return MixBits(MixBits(key.value + counter * 0x9e3779b97f4a7c15ULL) ^ key.value);
}

// Uniform in [0, 1), a multiple of 2^-24: exact in float.
constexpr float RandomUniform(RandomKey key, uint64_t counter) {
  return static_cast<float>(RandomBits(key, counter) >> 40) * (1.0f / 16777216.0f);
}

// Standard normal by Box-Muller in double, rounded to float once.
inline float RandomNormal(RandomKey key, uint64_t counter) {
  constexpr double kScale = 1.0 / 9007199254740992.0;  // 2^-53
  const double u = (static_cast<double>(RandomBits(key, 2 * counter) >> 11) + 0.5) * kScale;
  const double v = static_cast<double>(RandomBits(key, 2 * counter + 1) >> 11) * kScale;
  return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v));
}

// Uniform integer in [0, bound). Bias is below bound / 2^64.
//   REQUIRES: bound > 0.
constexpr uint64_t RandomBelow(RandomKey key, uint64_t counter, uint64_t bound) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(RandomBits(key, counter)) * bound) >>
                               64);
}

}  // namespace pagoda
