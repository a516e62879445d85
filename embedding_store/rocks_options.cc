#include "embedding_store/rocks_options.h"

#include <rocksdb/cache.h>
#include <rocksdb/file_checksum.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/table_properties_collectors.h>
#include <rocksdb/write_buffer_manager.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/log.h"

namespace pagoda {
namespace {

// Never written to but for the one that every database has.
constexpr size_t kMemtableBytes = size_t{1} << 20;

// Each open file costs memory for its reader, and a descriptor of the usual 1,024.
constexpr int kOpenFilesMax = 512;
constexpr uint64_t kFileBytes = uint64_t{64} << 20;
constexpr uint64_t kFileBytesLarge = uint64_t{256} << 20;
constexpr int64_t kLargeRunBytes = int64_t{1} << 30;

// A file of which so many of any so many rows are tombstones is merged further down, so
// that evicted rows give their room back.
constexpr size_t kTombstoneWindow = 4096;
constexpr size_t kTombstonesInWindow = 2048;

class Xxh3Generator final : public rocksdb::FileChecksumGenerator {
 public:
  void Update(const char* data, size_t n) override { checksum_.Update({data, n}); }
  void Finalize() override {
    const uint64_t digest = checksum_.Digest();
    text_.assign(reinterpret_cast<const char*>(&digest), sizeof(digest));
  }
  std::string GetChecksum() const override { return text_; }
  const char* Name() const override { return kRocksChecksumName; }

 private:
  HashStream checksum_;
  std::string text_;
};

class Xxh3Factory final : public rocksdb::FileChecksumGenFactory {
 public:
  std::unique_ptr<rocksdb::FileChecksumGenerator> CreateFileChecksumGenerator(
      const rocksdb::FileChecksumGenContext&) override {
    return std::make_unique<Xxh3Generator>();
  }
  const char* Name() const override { return "pagoda.xxh3.factory"; }
};

// Errors go to our log; and RocksDB then writes no LOG file of its own, which
// would change a directory that is only read.
class ErrorLogger final : public rocksdb::Logger {
 public:
  ErrorLogger() : rocksdb::Logger(rocksdb::InfoLogLevel::ERROR_LEVEL) {}
  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    char line[1024];
    std::vsnprintf(line, sizeof(line), format, arguments);
    PAGODA_LOG_WARNING("RocksDB: {}", line);
  }
  void LogHeader(const char*, va_list) override {}
};

// One lock a shard, and at least 8 MiB in each.
int CacheShardBits(int64_t cache_bytes) {
  int bits = 0;
  while (bits < 6 && (cache_bytes >> bits) > (int64_t{16} << 20)) ++bits;
  return bits;
}

// Says when RocksDB has stopped.
class StopListener final : public rocksdb::EventListener {
 public:
  explicit StopListener(std::atomic<bool>* stopped) : stopped_(stopped) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status*) override {
    stopped_->store(true);
  }

 private:
  std::atomic<bool>* const stopped_;
};

rocksdb::BlockBasedTableOptions MakeTableOptions(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  // What RocksDB would otherwise hold beside the cache comes out of it.
  for (const rocksdb::CacheEntryRole role :
       {rocksdb::CacheEntryRole::kFilterConstruction,
        rocksdb::CacheEntryRole::kBlockBasedTableReader, rocksdb::CacheEntryRole::kFileMetadata}) {
    table.cache_usage_options.options_overrides[role].charged =
        rocksdb::CacheEntryRoleOptions::Decision::kEnabled;
  }
  // Indexes and filters grow with the table; in the cache they have a ceiling. They
  // are cut into small blocks, since one larger than a shard of the cache would be
  // read again for every lookup.
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.partition_filters = true;
  table.pin_top_level_index_and_filter = true;
  table.metadata_block_size = size_t{16} << 10;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10, false));
  table.block_size = 4096;
  table.checksum = rocksdb::kXXH3;
  table.format_version = 5;
  return table;
}

}  // namespace

absl::Status FromRocks(const rocksdb::Status& status, absl::string_view action) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = absl::StrCat("RocksDB, ", action, ": ", status.ToString());
  if (status.IsCorruption()) return absl::DataLossError(message);
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(message);
  if (status.IsPathNotFound()) return absl::DataLossError(message);
  if (status.IsInvalidArgument() && message.find("does not exist") != std::string::npos) {
    return absl::DataLossError(message);
  }
  if (status.IsIOError()) {
    if (message.find("lock") != std::string::npos) return absl::FailedPreconditionError(message);
    if (message.find("No such file") != std::string::npos) return absl::DataLossError(message);
    return absl::UnavailableError(message);
  }
  return absl::InternalError(message);
}

uint64_t RocksFileBytes(int64_t run_bytes) {
  return run_bytes >= kLargeRunBytes ? kFileBytesLarge : kFileBytes;
}

rocksdb::Options MakeRocksOptions(const RocksSettings& settings) {
  const auto cache = rocksdb::NewLRUCache(static_cast<size_t>(settings.cache_bytes),
                                          CacheShardBits(settings.cache_bytes));
  rocksdb::Options o;
  if (settings.env != nullptr) o.env = settings.env;
  o.create_if_missing = settings.create;
  o.paranoid_checks = true;
  o.compression = rocksdb::kNoCompression;  // Trained weights do not compress.
  o.table_factory.reset(rocksdb::NewBlockBasedTableFactory(MakeTableOptions(cache)));
  o.write_buffer_size = kMemtableBytes;  // Memtables stay empty: rows come as runs.
  o.write_buffer_manager = std::make_shared<rocksdb::WriteBufferManager>(4 * kMemtableBytes, cache);
  // Larger runs: larger files, and a first level that holds some runs, so that rows are
  // merged fewer times on their way down.
  o.target_file_size_base = RocksFileBytes(settings.run_bytes);
  o.max_bytes_for_level_base =
      std::max(uint64_t{512} << 20, uint64_t{4} * static_cast<uint64_t>(settings.run_bytes));
  o.level0_file_num_compaction_trigger = 4;
  o.level_compaction_dynamic_level_bytes = true;
  o.max_compaction_bytes = kMergeFilesMax * o.target_file_size_base;
  o.max_background_jobs = 2;
  o.max_open_files = kOpenFilesMax;
  o.max_manifest_file_size = uint64_t{16} << 20;
  o.allow_fallocate = false;  // A file takes what it holds: disk budgets count that.
  o.table_properties_collector_factories.push_back(
      rocksdb::NewCompactOnDeletionCollectorFactory(kTombstoneWindow, kTombstonesInWindow));
  o.file_checksum_gen_factory = std::make_shared<Xxh3Factory>();
  o.info_log = std::make_shared<ErrorLogger>();
  if (settings.stopped != nullptr) {
    o.listeners.push_back(std::make_shared<StopListener>(settings.stopped));
  }
  o.stats_dump_period_sec = 0;
  o.stats_persist_period_sec = 0;
  return o;
}

}  // namespace pagoda
