// How a row's weights are kept: f32, or 16 bits that are rounded at random, so that
// many small updates add up where rounding to nearest would lose each of them.
//
//   f16   11 significant bits, magnitude at most 65504 (larger values are held there)
//   bf16  8 significant bits, the range of f32
//
// Stochastic rounding takes the neighbour above with the probability of the way to it,
// so its expected value is exact. The random bits are a function of a key (the table's
// seed, the id and the row's number of updates; DESIGN ruling 5): the same bits on any
// layout and at replay.
//
// int8 is for the disk: a row's weights are its scale s times q in [-127, 127]. When a row
// is written it takes the values that it will be read back with, so that memory and disk
// never disagree; between two writes it is f32. The largest weight is 127 s and s has 8
// significant bits, so 127 s is exact: a row already on its grid stays as it is. What a
// row is rounded to depends on when it is written, hence on timing.
//
// Every function is pure and gives the same bits with any instruction set. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/random.h"
#include "embedding_store/table_options.h"

namespace pagoda {

// Bytes of one weight in memory.
constexpr size_t WeightBytes(RowPrecision precision) {
  return precision == RowPrecision::kF16 || precision == RowPrecision::kBF16 ? 2 : 4;
}

// weights [dim] as kept in memory -> f32.
void LoadWeights(RowPrecision precision, const char* weights, int64_t dim, float* to);

// f32 -> as kept, to nearest, ties to even: initial values.
void StoreNearest(RowPrecision precision, const float* from, int64_t dim, char* weights);

// f32 -> as kept, rounded at random by `key`. NaN becomes the largest f16; bf16 keeps it.
void StoreRandomly(RowPrecision precision, const float* from, int64_t dim, RandomKey key,
                   char* weights);

// Moves weights [dim] to the int8 grid of the row: scale and weights rounded at random by
// `key`. Infinity becomes the largest that fits, NaN the row's largest.
void RoundToInt8(float* weights, int64_t dim, RandomKey key);
// Bytes of a packed row: the scale as the upper half of an f32, then int8 [dim].
constexpr size_t PackedInt8Bytes(int64_t dim) {
  return 2 + static_cast<size_t>(dim);
}
//   REQUIRES: RoundToInt8 was called on the weights.
void PackInt8(const float* weights, int64_t dim, char* packed);
// False when the scale is not one.
bool UnpackInt8(const char* packed, int64_t dim, float* weights);

// The key of a table's roundings, and of one row's update number `updates` (from 1).
RandomKey RoundingKey(RandomKey initial_key);
inline RandomKey RoundingKeyOf(RandomKey table_key, FeatureId id, uint32_t updates) {
  return table_key.Derive(id).Derive(updates);
}

}  // namespace pagoda
