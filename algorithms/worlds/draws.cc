#include "algorithms/worlds/draws.h"

#include <algorithm>
#include <cmath>

#include "base/status_macros.h"

namespace pagoda {
namespace {

// Rounds of the network, each of which changes both halves: 4 make every output bit depend
// on every input bit several times over.
constexpr int kRounds = 4;

uint64_t Mask(int bits) {
  return (uint64_t{1} << bits) - 1;
}

}  // namespace

double Draws::Normal() {
  const double radius = std::sqrt(-2.0 * std::log(Uniform()));
  return radius * std::cos(6.283185307179586 * Uniform());
}

double Draws::Exponential() {
  return -std::log(Uniform());
}

double Draws::Beta(double a, double b) {
  while (true) {
    const double x = std::pow(Uniform(), 1.0 / a);
    const double y = std::pow(Uniform(), 1.0 / b);
    // Both can be 0 by underflow when a and b are tiny.
    if (x + y <= 1.0 && x + y > 0.0) return x / (x + y);
  }
}

double NormalOf(RandomKey key) {
  return Draws(key).Normal();
}

double Sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}

Permutation::Permutation(RandomKey key, int64_t size) : key_(key), size_(size) {
  PAGODA_CHECK(size >= 1 && size <= int64_t{1} << 62);
  int bits = 2;
  while (int64_t{1} << bits < size) ++bits;
  low_bits_ = bits / 2;
  high_bits_ = bits - low_bits_;
}

uint64_t Permutation::Mix(int round, uint64_t half) const {
  return RandomBits(key_.Derive(static_cast<uint64_t>(round)), half);
}

int64_t Permutation::At(int64_t index) const {
  uint64_t value = static_cast<uint64_t>(index);
  do {
    uint64_t low = value & Mask(low_bits_);
    uint64_t high = value >> low_bits_;
    for (int round = 0; round < kRounds; ++round) {
      low ^= Mix(2 * round, high) & Mask(low_bits_);
      high ^= Mix(2 * round + 1, low) & Mask(high_bits_);
    }
    value = high << low_bits_ | low;
  } while (value >= static_cast<uint64_t>(size_));
  return static_cast<int64_t>(value);
}

int64_t Permutation::Inverse(int64_t index) const {
  uint64_t value = static_cast<uint64_t>(index);
  do {
    uint64_t low = value & Mask(low_bits_);
    uint64_t high = value >> low_bits_;
    for (int round = kRounds - 1; round >= 0; --round) {
      high ^= Mix(2 * round + 1, low) & Mask(high_bits_);
      low ^= Mix(2 * round, high) & Mask(low_bits_);
    }
    value = high << low_bits_ | low;
  } while (value >= static_cast<uint64_t>(size_));
  return static_cast<int64_t>(value);
}

WeightedDraw::WeightedDraw(const std::vector<double>& weights) {
  double sum = 0.0;
  for (const double weight : weights) sums_.push_back(sum += weight);
  PAGODA_CHECK(sum > 0.0);
}

int64_t WeightedDraw::At(double uniform) const {
  const double target = uniform * sums_.back();
  const auto found = std::upper_bound(sums_.begin(), sums_.end(), target);
  // A product may round up to the whole sum.
  return std::min<int64_t>(found - sums_.begin(), static_cast<int64_t>(sums_.size()) - 1);
}

double WeightedDraw::Probability(int64_t index) const {
  const size_t i = static_cast<size_t>(index);
  return (sums_[i] - (i == 0 ? 0.0 : sums_[i - 1])) / sums_.back();
}

}  // namespace pagoda
