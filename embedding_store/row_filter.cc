#include "embedding_store/row_filter.h"

#include <atomic>

#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr int kBits = 3;
constexpr int kBitShift = 9;  // 2^9 bits a block.

uint64_t BitsOf(const RowKey& key) {
  return MixBits(MixBits(key.id) ^ (uint64_t{key.table} + 1) * 0x9e3779b97f4a7c15);
}

}  // namespace

RowFilter::RowFilter(int64_t bytes) : num_blocks_(static_cast<uint64_t>(bytes / kBlockBytes)) {
  PAGODA_CHECK(num_blocks_ > 0);
  // Zeroed pages that the system need not give before they are written.
  void* words = std::calloc(num_blocks_ * kWordsPerBlock, sizeof(uint64_t));
  PAGODA_CHECK(words != nullptr);
  words_.reset(static_cast<uint64_t*>(words));
}

void RowFilter::Add(const RowKey& key) {
  uint64_t* block = words_.get() + WordOf(key);
  uint64_t bits = BitsOf(key);
  for (int i = 0; i < kBits; ++i, bits >>= kBitShift) {
    std::atomic_ref<uint64_t> word(block[(bits >> 6) % kWordsPerBlock]);
    const uint64_t bit = uint64_t{1} << (bits & 63);
    if ((word.load(std::memory_order_relaxed) & bit) == 0) {
      word.fetch_or(bit, std::memory_order_relaxed);
    }
  }
}

bool RowFilter::MayHold(const RowKey& key) const {
  uint64_t* block = words_.get() + WordOf(key);
  uint64_t bits = BitsOf(key);
  for (int i = 0; i < kBits; ++i, bits >>= kBitShift) {
    const std::atomic_ref<uint64_t> word(block[(bits >> 6) % kWordsPerBlock]);
    if ((word.load(std::memory_order_relaxed) >> (bits & 63) & 1) == 0) return false;
  }
  return true;
}

}  // namespace pagoda
