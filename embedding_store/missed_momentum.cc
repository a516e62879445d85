#include "embedding_store/missed_momentum.h"

#include <cmath>

namespace pagoda {
namespace {

// Keeps powers of the momentum from becoming denormal numbers, which are slow.
double Settle(double x) {
  return std::fabs(x) < 1e-60 ? 0.0 : x;
}

// `a` after `b`.
MissedMomentum::Map Product(const MissedMomentum::Map& a, const MissedMomentum::Map& b) {
  return {Settle(a.ww * b.ww + a.wv * b.vw), Settle(a.ww * b.wv + a.wv * b.vv),
          Settle(a.vw * b.ww + a.vv * b.vw), Settle(a.vw * b.wv + a.vv * b.vv)};
}

}  // namespace

void MissedMomentum::Advance(const Map& map) {
  to_block_end_.emplace_back();
  for (size_t start = since_block_.size() * kBlock; start < to_block_end_.size(); ++start) {
    to_block_end_[start] = Product(map, to_block_end_[start]);
  }
  for (Map& since : since_block_) since = Product(map, since);
  if (to_block_end_.size() % kBlock == 0) since_block_.emplace_back();
}

MissedMomentum::Map MissedMomentum::Between(Step last) const {
  const auto start = static_cast<size_t>(last);
  const size_t block = start / kBlock;
  if (block >= since_block_.size()) return to_block_end_[start];
  return Product(since_block_[block], to_block_end_[start]);
}

}  // namespace pagoda
