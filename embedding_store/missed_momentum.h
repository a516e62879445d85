// What the heavy ball does to a row while the row gets no gradient: a linear map of
// (weight, velocity), the product of one matrix a step.
//
// Steps are cut into blocks of 1,024. For each start there is the product up to the end
// of its block, and for each whole block the product from its end until now: a step costs
// one multiplication for each start in the current block and for each block before it, and
// a row one multiplication, however long it was away. Memory: 32 bytes a step.
//
// Threads: none of its own; Advance excludes all others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/ids.h"

namespace pagoda {

class MissedMomentum {
 public:
  // w' = ww w + wv v; v' = vw w + vv v.
  struct Map {
    double ww = 1, wv = 0, vw = 0, vv = 1;
  };

  // The next step. `map`: what it does to a row without a gradient.
  void Advance(const Map& map);

  // The steps last + 1 .. now as one map.   REQUIRES: 0 <= last < steps so far.
  Map Between(Step last) const;

 private:
  static constexpr size_t kBlock = 1024;

  std::vector<Map> to_block_end_;  // By start: to the end of its block, or until now.
  std::vector<Map> since_block_;   // By whole block: from its end until now.
};

}  // namespace pagoda
