#include "embedding_store/rocks_options.h"

#include <rocksdb/cache.h>
#include <rocksdb/file_checksum.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/table_properties_collectors.h>
#include <rocksdb/write_buffer_manager.h>

#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <system_error>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/log.h"

namespace pagoda {
namespace {

namespace stdfs = std::filesystem;

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

// A merge that never gets room would never give any: after so long it goes on.
constexpr int kRoomLooks = 500;
constexpr auto kRoomLook = std::chrono::milliseconds(10);

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

// 0 when it is gone.
int64_t FileBytes(const stdfs::path& path) {
  std::error_code gone;
  const auto bytes = stdfs::file_size(path, gone);
  return gone ? 0 : static_cast<int64_t>(bytes);
}

class SignalListener final : public rocksdb::EventListener {
 public:
  explicit SignalListener(RocksSignals* signals) : signals_(signals) {}

  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status*) override {
    signals_->stopped.store(true);
  }

  void OnCompactionCompleted(rocksdb::DB*, const rocksdb::CompactionJobInfo& merge) override {
    const std::set<std::string> kept(merge.output_files.begin(), merge.output_files.end());
    for (const std::string& file : merge.input_files) {
      if (kept.contains(file)) continue;  // Moved to another level.
      const std::string path = std::string(stdfs::path(file).lexically_normal());
      signals_->replaced.Add(path, FileBytes(path));
      if (FileBytes(path) == 0) signals_->replaced.Remove(path);  // Gone before it was added.
    }
  }

  void OnTableFileDeleted(const rocksdb::TableFileDeletionInfo& file) override {
    if (!file.status.ok()) return;
    signals_->replaced.Remove(std::string(stdfs::path(file.file_path).lexically_normal()));
  }

  // In the thread that is about to merge.
  void OnCompactionBegin(rocksdb::DB* db, const rocksdb::CompactionJobInfo& merge) override {
    const int64_t bytes_max = signals_->bytes_max.load();
    if (bytes_max == 0) return;
    int64_t input = 0;
    for (const std::string& file : merge.input_files) input += FileBytes(file);
    for (int i = 0; i < kRoomLooks && signals_->replaced.bytes() > 0; ++i) {
      int64_t files = 0;
      std::error_code gone;
      for (auto entry = stdfs::directory_iterator(db->GetName(), gone);
           !gone && entry != stdfs::directory_iterator(); entry.increment(gone)) {
        files += FileBytes(entry->path());
      }
      if (files + input <= bytes_max) return;
      RemoveObsoleteFiles(db);
      std::this_thread::sleep_for(kRoomLook);
    }
  }

 private:
  RocksSignals* const signals_;
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

void ReplacedFiles::Add(const std::string& path, int64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (files_.emplace(path, bytes).second) bytes_ += bytes;
}

void ReplacedFiles::Remove(const std::string& path) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = files_.find(path);
  if (found == files_.end()) return;
  bytes_ -= found->second;
  files_.erase(found);
}

int64_t ReplacedFiles::bytes() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return bytes_;
}

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
  o.target_file_size_base = RocksFileBytes(settings.run_bytes);
  // Small: a flush may write far less than run_bytes, and four of them are merged with a
  // whole level. RocksDB raises it by itself where runs are larger.
  o.max_bytes_for_level_base = uint64_t{512} << 20;
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
  if (settings.signals != nullptr) {
    o.listeners.push_back(std::make_shared<SignalListener>(settings.signals));
  }
  o.stats_dump_period_sec = 0;
  o.stats_persist_period_sec = 0;
  return o;
}

void RemoveObsoleteFiles(rocksdb::DB* db) {
  // Taking up deletions again looks through the directory.
  if (db->DisableFileDeletions().ok()) (void)db->EnableFileDeletions(/*force=*/false);
}

}  // namespace pagoda
