#include "embedding_store/memory_budget.h"

#include <algorithm>

#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr int64_t kFixedBytes = int64_t{10} << 20;

}  // namespace

MemoryShares DivideMemory(int64_t memory_bytes) {
  PAGODA_CHECK(memory_bytes >= kMemoryBytesMin);
  memory_bytes -= std::min(kFixedBytes, memory_bytes / 8);
  MemoryShares shares;
  shares.rows = memory_bytes / 4 * 3;
  shares.cache = memory_bytes / 8;
  shares.filter = memory_bytes / 32;
  shares.keys = memory_bytes / 32;
  shares.segment = memory_bytes / 64;
  shares.batch = memory_bytes / 256;
  return shares;
}

}  // namespace pagoda
