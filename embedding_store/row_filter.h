// Tells most rows that are not on disk from those that may be, in a fixed number of bytes:
// a blocked Bloom filter over row keys. Looking for a row that does not exist costs RocksDB
// 1 to 5 us, which is what creating rows would otherwise spend most of its time on.
//
//   block  64 bytes, chosen by the id's mixed bits, highest first: keys in order lie in
//          blocks in order
//   bits   3 of the block's 512, chosen by id and table
//
// With b bits a row about (1 - exp(-3 / b))^3 of absent rows pass: 1 % at 13, 5 % at 6.7,
// 22 % at 3.2. Rows are never taken out. It is not stored: after opening it is filled
// from the rows (rocks_tier.h).
//
// Threads: any.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "embedding_store/prefetch.h"
#include "embedding_store/row_format.h"

namespace pagoda {

class RowFilter {
 public:
  // Uses at most `bytes`, of which those never written take no memory.
  // REQUIRES: bytes >= kBlockBytes.
  explicit RowFilter(int64_t bytes);
  static constexpr int64_t kBlockBytes = 64;

  void Add(const RowKey& key);
  bool MayHold(const RowKey& key) const;
  void Prefetch(const RowKey& key) const { PrefetchLine(words_.get() + WordOf(key)); }

  int64_t bytes() const { return static_cast<int64_t>(num_blocks_) * kBlockBytes; }

 private:
  static constexpr uint64_t kWordsPerBlock = kBlockBytes / sizeof(uint64_t);
  struct Free {
    void operator()(uint64_t* words) const { std::free(words); }
  };

  // Of the key's block.
  uint64_t WordOf(const RowKey& key) const {
    const auto place = static_cast<unsigned __int128>(MixBits(key.id)) * num_blocks_;
    return static_cast<uint64_t>(place >> 64) * kWordsPerBlock;
  }

  uint64_t num_blocks_ = 0;
  std::unique_ptr<uint64_t[], Free> words_;
};

}  // namespace pagoda
