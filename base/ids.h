// The words for identity that every folder shares.
#pragma once

#include <cstdint>

namespace pagoda {

// A key in a table. Any 64-bit value is legal; raw strings become ids through
// HashFeature() (base/hash.h), integers may pass as they are.
using FeatureId = uint64_t;

// One global training step. The first step of a job is 1; 0 means "before any".
using Step = int64_t;

// Buckets are the fixed hash ranges that move between servers. The number is
// part of the on-disk key, so it never changes: at 1e12 ids and 640 servers a
// server still holds 102 of them, enough to balance to 1 %.
inline constexpr uint32_t kNumBuckets = 65536;

}  // namespace pagoda
