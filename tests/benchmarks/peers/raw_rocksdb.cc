#include "tests/benchmarks/peers/raw_rocksdb.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "embedding_store/row_format.h"
#include "embedding_store/sparse_optimizer.h"

namespace pagoda {
namespace {

constexpr size_t kReadPart = 512;  // Keys of one thread at a time.
constexpr size_t kReadBatch = 256;

void Require(const rocksdb::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "raw RocksDB: %s\n", status.ToString().c_str());
  std::exit(1);
}

// As the store sets it up (embedding_store/rocks_tier.cc).
rocksdb::Options MakeOptions(int64_t cache_bytes) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(static_cast<size_t>(cache_bytes));
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.partition_filters = true;
  table.pin_top_level_index_and_filter = true;
  table.metadata_block_size = size_t{16} << 10;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10, false));
  table.checksum = rocksdb::kXXH3;
  table.format_version = 5;
  rocksdb::Options options;
  options.create_if_missing = true;
  options.compression = rocksdb::kNoCompression;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.max_open_files = 512;
  return options;
}

class RawRocksdbImpl final : public RawRocksdb {
 public:
  RawRocksdbImpl(rocksdb::DB* db, const rocksdb::Options& options, ThreadPool* pool)
      : db_(db), options_(options), pool_(pool) {}

  int64_t Read(std::span<const FeatureId> ids) override {
    Sort(ids);
    std::atomic<int64_t> found{0};
    const size_t parts = (keys_.size() + kReadPart - 1) / kReadPart;
    pool_->ParallelFor(static_cast<int64_t>(parts), [&](int64_t part) {
      const size_t begin = static_cast<size_t>(part) * kReadPart;
      int64_t here = 0;
      Get(begin, std::min(begin + kReadPart, keys_.size()),
          [&](size_t, const rocksdb::Slice& value) {
            char bytes[64] = {};
            std::memcpy(bytes, value.data(), std::min(sizeof(bytes), value.size()));
            here += bytes[0] != 0 || !value.empty() ? 1 : 0;
          });
      found += here;
    });
    return found.load();
  }

  void PushAdagrad(std::span<const FeatureId> ids, const float* gradients, int64_t dim) override {
    Sort(ids);
    const auto width = static_cast<size_t>(dim);
    rocksdb::WriteBatch batch;
    std::vector<float> row(2 * width);
    RowUpdateSettings settings;
    Get(0, keys_.size(), [&](size_t i, const rocksdb::Slice& value) {
      std::fill(row.begin(), row.end(), 0.0f);
      std::memcpy(row.data(), value.data(), std::min(value.size(), row.size() * sizeof(float)));
      float* floats = row.data();
      const float* gradient = gradients + i * width;
      UpdateRows(SparseOptimizerKind::kAdagrad, settings, dim, {&floats, 1}, {&gradient, 1});
      char key[kRowKeyBytes];
      EncodeRowKey(keys_[i], key);
      Require(batch.Put({key, kRowKeyBytes},
                        {reinterpret_cast<const char*>(floats), row.size() * sizeof(float)}));
    });
    rocksdb::WriteOptions write;
    write.disableWAL = true;
    Require(db_->Write(write, &batch));
  }

  void IngestSorted(int64_t count, size_t value_bytes, const std::string& scratch) override {
    // Buckets rise with the keys; ids need not, within one.
    const std::string path = scratch + "/sorted.sst";
    rocksdb::SstFileWriter writer(rocksdb::EnvOptions(), options_);
    Require(writer.Open(path));
    std::string value(value_bytes, '\1');
    for (int64_t i = 0; i < count; ++i) {
      RowKey key;
      key.bucket = static_cast<uint32_t>(i * int64_t{kNumBuckets} / count);
      key.id = static_cast<FeatureId>(i);
      char bytes[kRowKeyBytes];
      EncodeRowKey(key, bytes);
      std::memcpy(value.data(), &i, sizeof(i));
      Require(writer.Put({bytes, kRowKeyBytes}, value));
    }
    Require(writer.Finish());
    rocksdb::IngestExternalFileOptions ingest;
    ingest.move_files = true;
    Require(db_->IngestExternalFile({path}, ingest));
  }

 private:
  void Sort(std::span<const FeatureId> ids) {
    keys_.clear();
    for (const FeatureId id : ids) keys_.push_back(RowKey::Of(0, id));
    std::sort(keys_.begin(), keys_.end());
  }

  template <typename Visit>
  void Get(size_t begin, size_t end, const Visit& visit) {
    std::array<std::array<char, kRowKeyBytes>, kReadBatch> bytes;
    std::array<rocksdb::Slice, kReadBatch> slices;
    std::vector<rocksdb::PinnableSlice> values(kReadBatch);
    std::vector<rocksdb::Status> statuses(kReadBatch);
    for (; begin < end; begin += kReadBatch) {
      const size_t count = std::min(kReadBatch, end - begin);
      for (size_t i = 0; i < count; ++i) {
        EncodeRowKey(keys_[begin + i], bytes[i].data());
        slices[i] = rocksdb::Slice(bytes[i].data(), kRowKeyBytes);
        values[i].Reset();
      }
      db_->MultiGet(rocksdb::ReadOptions(), db_->DefaultColumnFamily(), count, slices.data(),
                    values.data(), statuses.data(), /*sorted_input=*/true);
      for (size_t i = 0; i < count; ++i) {
        if (!statuses[i].IsNotFound()) Require(statuses[i]);
        visit(begin + i, statuses[i].ok() ? rocksdb::Slice(values[i]) : rocksdb::Slice());
      }
    }
  }

  const std::unique_ptr<rocksdb::DB> db_;
  const rocksdb::Options options_;
  ThreadPool* const pool_;
  std::vector<RowKey> keys_;
};

}  // namespace

std::unique_ptr<RawRocksdb> RawRocksdb::OpenStore(const std::string& directory, int64_t cache_bytes,
                                                  ThreadPool* pool) {
  const rocksdb::Options options = MakeOptions(cache_bytes);
  rocksdb::DB* db = nullptr;
  Require(rocksdb::DB::OpenForReadOnly(options, directory, &db));
  return std::make_unique<RawRocksdbImpl>(db, options, pool);
}

std::unique_ptr<RawRocksdb> RawRocksdb::Create(const std::string& directory, int64_t cache_bytes,
                                               ThreadPool* pool) {
  const rocksdb::Options options = MakeOptions(cache_bytes);
  rocksdb::DB* db = nullptr;
  Require(rocksdb::DB::Open(options, directory, &db));
  return std::make_unique<RawRocksdbImpl>(db, options, pool);
}

}  // namespace pagoda
