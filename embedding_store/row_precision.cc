#include "embedding_store/row_precision.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace pagoda {
namespace {

constexpr uint64_t kRoundingLabel = 0x726f756e64;  // "round"
constexpr float kF16Max = 65504.0f;
constexpr float kInt8Max = 127.0f;
constexpr float kInt8ScaleMax = 0x1.fep120f;  // 8 significant bits; 127 times it is finite.

// The smallest exponent field of f32 that is a normal f16 (2^-14): numbers below have
// the spacing of those at it.
constexpr uint32_t kF16LowestExponent = 127 - 14;

// A denormal of f32 has the bits of f16 moved up; scaling makes it the number.
inline float FromF16(uint16_t half) {
  const float magnitude = std::bit_cast<float>((half & 0x7fffu) << 13) * 0x1p112f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) |
                              (static_cast<uint32_t>(half & 0x8000u) << 16));
}

// |x| in units of its f16 spacing (below 2048, exact), rounded by `round`, as f16 bits.
template <typename Round>
inline uint16_t ToF16(float x, const Round& round) {
  const uint32_t sign = std::bit_cast<uint32_t>(x) & 0x80000000u;
  const float a = std::fabs(x);
  const float held = a < kF16Max ? a : kF16Max;
  uint32_t exponent = std::bit_cast<uint32_t>(held) >> 23;
  exponent = exponent > kF16LowestExponent ? exponent : kF16LowestExponent;
  const float per_unit = std::bit_cast<float>((127 + 10 + 127 - exponent) << 23);
  const auto units = static_cast<uint32_t>(static_cast<int32_t>(round(held * per_unit)));
  // A carry out of the 10 bits is the next exponent, as the fields lie side by side.
  return static_cast<uint16_t>((sign >> 16) | (((exponent - kF16LowestExponent) << 10) + units));
}

inline uint16_t ToBF16(float x, uint32_t added) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) {  // Inf, NaN (made quiet).
    return static_cast<uint16_t>((bits >> 16) | ((bits & 0x007fffffu) != 0 ? 0x40u : 0u));
  }
  const uint32_t rounded = (bits + added) >> 16;
  // Past the largest finite number: held there.
  return static_cast<uint16_t>((rounded & 0x7fffu) == 0x7f80u ? rounded - 1 : rounded);
}

// The f32 whose upper half this is.
inline float FromUpper(uint16_t upper) {
  return std::bit_cast<float>(static_cast<uint32_t>(upper) << 16);
}

// 16 random bits for column c.
inline uint32_t RandomBits16(RandomKey key, int64_t c) {
  return static_cast<uint32_t>(RandomBits(key, static_cast<uint64_t>(c >> 2)) >> (16 * (c & 3))) &
         0xffffu;
}

template <typename Convert>
void StoreEach(const float* from, int64_t dim, char* weights, const Convert& convert) {
  for (int64_t c = 0; c < dim; ++c) {
    const uint16_t half = convert(from[c], c);
    std::memcpy(weights + 2 * c, &half, sizeof(half));
  }
}

}  // namespace

void LoadWeights(RowPrecision precision, const char* weights, int64_t dim, float* to) {
  if (WeightBytes(precision) == sizeof(float)) {
    std::memcpy(to, weights, static_cast<size_t>(dim) * sizeof(float));
    return;
  }
  const auto half = [&](int64_t c) {
    uint16_t bits = 0;
    std::memcpy(&bits, weights + 2 * c, sizeof(bits));
    return bits;
  };
  if (precision == RowPrecision::kF16) {
    for (int64_t c = 0; c < dim; ++c) to[c] = FromF16(half(c));
  } else {
    for (int64_t c = 0; c < dim; ++c) {
      to[c] = std::bit_cast<float>(static_cast<uint32_t>(half(c)) << 16);
    }
  }
}

void StoreNearest(RowPrecision precision, const float* from, int64_t dim, char* weights) {
  switch (precision) {
    case RowPrecision::kF32:
    case RowPrecision::kInt8:
      std::memcpy(weights, from, static_cast<size_t>(dim) * sizeof(float));
      return;
    case RowPrecision::kF16:
      return StoreEach(from, dim, weights, [](float x, int64_t) {
        return ToF16(x, [](float units) { return std::nearbyint(units); });
      });
    case RowPrecision::kBF16:
      return StoreEach(from, dim, weights, [](float x, int64_t) {
        return ToBF16(x, 0x7fffu + ((std::bit_cast<uint32_t>(x) >> 16) & 1u));
      });
  }
}

void StoreRandomly(RowPrecision precision, const float* from, int64_t dim, RandomKey key,
                   char* weights) {
  switch (precision) {
    case RowPrecision::kF32:
    case RowPrecision::kInt8:
      std::memcpy(weights, from, static_cast<size_t>(dim) * sizeof(float));
      return;
    case RowPrecision::kF16:
      // Units and a multiple of 2^-13 below 1 have 24 bits together: the sum is exact.
      return StoreEach(from, dim, weights, [&](float x, int64_t c) {
        const float part = static_cast<float>(RandomBits16(key, c) >> 3) * 0x1p-13f;
        return ToF16(x, [&](float units) { return units + part; });
      });
    case RowPrecision::kBF16:
      return StoreEach(from, dim, weights,
                       [&](float x, int64_t c) { return ToBF16(x, RandomBits16(key, c)); });
  }
}

void RoundToInt8(float* weights, int64_t dim, RandomKey key) {
  float largest = 0.0f;
  for (int64_t c = 0; c < dim; ++c) {
    if (std::fabs(weights[c]) > largest) largest = std::fabs(weights[c]);
  }
  largest = std::min(largest, kInt8Max * kInt8ScaleMax);
  // Random bits of the scale are those of a column that no row has.
  const float scale = FromUpper(std::min(
      ToBF16(largest / kInt8Max, RandomBits16(key, kTableDimMax)), ToBF16(kInt8ScaleMax, 0)));
  if (scale == 0.0f) {
    std::fill(weights, weights + dim, 0.0f);
    return;
  }
  for (int64_t c = 0; c < dim; ++c) {
    const float a = std::fabs(weights[c]);
    // The largest is 127 units whichever way the scale was rounded; so is NaN.
    float units = kInt8Max;
    if (a < largest) {
      const float part = static_cast<float>(RandomBits16(key, c)) * 0x1p-16f;
      units = std::min(std::floor(a / scale + part), kInt8Max);
    }
    // Adding 0 makes -0 the 0 that it will be read as.
    weights[c] = std::copysign(units * scale, weights[c]) + 0.0f;
  }
}

void PackInt8(const float* weights, int64_t dim, char* packed) {
  float largest = 0.0f;
  for (int64_t c = 0; c < dim; ++c) largest = std::max(largest, std::fabs(weights[c]));
  const float scale = largest / kInt8Max;  // Exact.
  const auto upper = static_cast<uint16_t>(std::bit_cast<uint32_t>(scale) >> 16);
  std::memcpy(packed, &upper, sizeof(upper));
  auto* const to = reinterpret_cast<int8_t*>(packed + sizeof(upper));
  for (int64_t c = 0; c < dim; ++c) {
    to[c] = scale == 0.0f ? 0 : static_cast<int8_t>(weights[c] / scale);
  }
}

bool UnpackInt8(const char* packed, int64_t dim, float* weights) {
  uint16_t upper = 0;
  std::memcpy(&upper, packed, sizeof(upper));
  const float scale = FromUpper(upper);
  if (std::signbit(scale) || !(scale <= kInt8ScaleMax)) return false;
  const auto* const from = reinterpret_cast<const int8_t*>(packed + sizeof(upper));
  for (int64_t c = 0; c < dim; ++c) weights[c] = static_cast<float>(from[c]) * scale;
  return true;
}

RandomKey RoundingKey(RandomKey initial_key) {
  return initial_key.Derive(kRoundingLabel);
}

}  // namespace pagoda
