#include "embedding_store/memory_budget.h"

#include <algorithm>
#include <catch2/catch.hpp>

namespace pagoda {
namespace {

TEST_CASE("shares of memory leave a sixteenth for what has none") {
  for (const int64_t mib : {16, 17, 256, 12288, 1 << 20}) {
    CAPTURE(mib);
    const int64_t bytes = (mib << 20) + 12345;
    const MemoryShares shares = DivideMemory(bytes);
    for (const int64_t share :
         {shares.rows, shares.cache, shares.filter, shares.keys, shares.segment, shares.batch}) {
      CHECK(share > 0);
    }
    const int64_t held = shares.rows + shares.cache + shares.filter + shares.keys;
    CHECK(held <= bytes - bytes / 16);
    CHECK(held <= bytes - std::min(int64_t{10} << 20, bytes / 8));
    CHECK(shares.rows >= bytes / 2);
  }
}

TEST_CASE("the least budget has room for buffers of fixed size") {
  const MemoryShares shares = DivideMemory(kMemoryBytesMin);
  CHECK(shares.rows >= int64_t{4} << 20);
  CHECK(shares.cache >= int64_t{1} << 20);
  CHECK(shares.keys >= 4096 * 16);
}

}  // namespace
}  // namespace pagoda
