// Random draws of generated worlds. A `Draws` is a place in a stream: whatever is drawn
// belongs to a key (of a user, an item, a row) and to the number of draws before it, so
// that any user or row can be drawn alone, in any order, on any thread.
//
//   Draws day(seed_key.Derive(user).Derive(day));
//   if (day.Chance(drive)) ...
//
// Threads: a Draws is used by one; the others here do not change.
#pragma once

#include <cstdint>
#include <vector>

#include "base/random.h"

namespace pagoda {

class Draws {
 public:
  explicit Draws(RandomKey key) : key_(key) {}

  // In (0, 1): never 0, so that its logarithm is finite.
  double Uniform() {
    constexpr double kScale = 1.0 / 9007199254740992.0;  // 2^-53
    return (static_cast<double>(RandomBits(key_, counter_++) >> 11) + 0.5) * kScale;
  }
  // REQUIRES: bound > 0. In [0, bound).
  int64_t Below(int64_t bound) {
    return static_cast<int64_t>(RandomBelow(key_, counter_++, static_cast<uint64_t>(bound)));
  }
  bool Chance(double probability) { return Uniform() < probability; }
  double Normal();       // Mean 0, variance 1.
  double Exponential();  // Mean 1.
  // By Joehnk's method: pairs (U^(1/a), V^(1/b)) until their sum is at most 1.
  //   REQUIRES: a, b in (0, 5]; at 5, 5 one pair in 252 is taken.
  double Beta(double a, double b);

 private:
  RandomKey key_;
  uint64_t counter_ = 0;
};

// One draw of a key of its own: N(0, 1).
double NormalOf(RandomKey key);

// 1 / (1 + exp(-x)), for any x.
double Sigmoid(double x);

// A permutation of [0, size) that is computed, not stored: a Feistel network over the
// next power of two, walked until it falls inside.
class Permutation {
 public:
  // REQUIRES: 1 <= size <= 2^62.
  Permutation(RandomKey key, int64_t size);

  int64_t size() const { return size_; }
  // REQUIRES: 0 <= index < size(). Inverse(At(i)) == i. Two steps on average at most.
  int64_t At(int64_t index) const;
  int64_t Inverse(int64_t value) const;

 private:
  uint64_t Mix(int round, uint64_t half) const;

  RandomKey key_;
  int64_t size_;
  int low_bits_;  // The halves of an index: low, and high.
  int high_bits_;
};

// Draws of [0, n) with given weights, by bisection in their running sum.
class WeightedDraw {
 public:
  // REQUIRES: at least one weight; none negative, one positive.
  explicit WeightedDraw(const std::vector<double>& weights);

  int64_t At(double uniform) const;  // For `uniform` in [0, 1).
  double Probability(int64_t index) const;

 private:
  std::vector<double> sums_;  // Inclusive.
};

}  // namespace pagoda
