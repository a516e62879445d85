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
// Every function is pure and gives the same bits with any instruction set. Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/random.h"
#include "embedding_store/table_options.h"

namespace pagoda {

// Bytes of one weight.
constexpr size_t WeightBytes(RowPrecision precision) {
  return precision == RowPrecision::kF32 ? 4 : 2;
}

// weights [dim] as kept -> f32.
void LoadWeights(RowPrecision precision, const char* weights, int64_t dim, float* to);

// f32 -> as kept, to nearest, ties to even: initial values.
void StoreNearest(RowPrecision precision, const float* from, int64_t dim, char* weights);

// f32 -> as kept, rounded at random by `key`. NaN becomes the largest f16; bf16 keeps it.
void StoreRandomly(RowPrecision precision, const float* from, int64_t dim, RandomKey key,
                   char* weights);

// The key of a table's roundings, and of one row's update number `updates` (from 1).
RandomKey RoundingKey(RandomKey initial_key);
inline RandomKey RoundingKeyOf(RandomKey table_key, FeatureId id, uint32_t updates) {
  return table_key.Derive(id).Derive(updates);
}

}  // namespace pagoda
