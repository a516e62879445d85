// RocksDB without the store around it: the limit of what is read from disk and of bulk
// loads, and a peer that updates rows in place.
//
// Threads: one at a time; `pool` splits a batch.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/ids.h"
#include "base/thread_pool.h"

namespace pagoda {

class RawRocksdb {
 public:
  // Opens the files of a store (its .../rocksdb) read-only, beside the store.
  static std::unique_ptr<RawRocksdb> OpenStore(const std::string& directory, int64_t cache_bytes,
                                               ThreadPool* pool);
  // A new database for the calls that write.
  static std::unique_ptr<RawRocksdb> Create(const std::string& directory, int64_t cache_bytes,
                                            ThreadPool* pool);
  virtual ~RawRocksdb() = default;

  // Gets the value of every row of table 0 with MultiGet, ids sorted first, and touches
  // it. Returns how many were found.
  virtual int64_t Read(std::span<const FeatureId> ids) = 0;
  // Reads rows of `dim` weights and `dim` accumulators, takes an Adagrad step, and writes
  // them back with one WriteBatch; log off. Rows that are missing start at zero.
  virtual void PushAdagrad(std::span<const FeatureId> ids, const float* gradients, int64_t dim) = 0;
  // Writes rows 0 .. count - 1 with values of `value_bytes` through SstFileWriter, keys
  // rising, and ingests the files.
  virtual void IngestSorted(int64_t count, size_t value_bytes, const std::string& scratch) = 0;
};

}  // namespace pagoda
