#include "embedding_store/rocks_tier.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_checksum.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "embedding_store/rocks_file_system.h"

namespace pagoda {
namespace {

constexpr char kChecksumName[] = "pagoda.xxh3";
// Longer than any row's key and above all of them.
const std::string kMetaKey(kRowKeyBytes + 1, '\xff');
const std::string kStepsKey(kRowKeyBytes + 2, '\xff');

// Six bytes ff, table u32, part u16: tables end at 65,535, so that no row begins like
// this, and that the keys above come later.
constexpr size_t kStateKeyBytes = 6 + 4 + 2;

std::string StateKey(uint32_t table, uint32_t part) {
  std::string key(6, '\xff');
  for (int shift = 24; shift >= 0; shift -= 8) key.push_back(static_cast<char>(table >> shift));
  for (int shift = 8; shift >= 0; shift -= 8) key.push_back(static_cast<char>(part >> shift));
  return key;
}

bool DecodeStateKey(absl::string_view bytes, uint32_t* table, uint32_t* part) {
  if (bytes.size() != kStateKeyBytes) return false;
  *table = *part = 0;
  for (size_t i = 6; i < 10; ++i) *table = *table << 8 | static_cast<uint8_t>(bytes[i]);
  for (size_t i = 10; i < 12; ++i) *part = *part << 8 | static_cast<uint8_t>(bytes[i]);
  return true;
}
constexpr char kMetaVersion = 1;
constexpr char kMetaVersionClients = 2;  // With the number of tables and clients' windows.

// One sorted run should be one file (each file of level 0 is looked into by every
// read), but indexes and filters are built in memory.
constexpr uint64_t kRunFileBytesMax = uint64_t{512} << 20;
constexpr size_t kReadBatch = 256;

// Adding runs faster than they can be merged would make every read look into
// more and more files.
constexpr uint64_t kLevel0FilesMax = 16;
constexpr int kCompactionWaitSeconds = 120;

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

class Xxh3Generator final : public rocksdb::FileChecksumGenerator {
 public:
  void Update(const char* data, size_t n) override { checksum_.Update({data, n}); }
  void Finalize() override {
    const uint64_t digest = checksum_.Digest();
    text_.assign(reinterpret_cast<const char*>(&digest), sizeof(digest));
  }
  std::string GetChecksum() const override { return text_; }
  const char* Name() const override { return kChecksumName; }

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

rocksdb::Options MakeOptions(const RocksTierOptions& options, rocksdb::Env* env) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(static_cast<size_t>(options.cache_bytes),
                                           CacheShardBits(options.cache_bytes));
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

  rocksdb::Options o;
  if (env != nullptr) o.env = env;
  o.create_if_missing = options.create;
  o.paranoid_checks = true;
  o.compression = rocksdb::kNoCompression;  // Trained weights do not compress.
  o.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  o.write_buffer_size = size_t{1} << 20;  // Memtables stay empty: rows come as runs.
  o.target_file_size_base = uint64_t{64} << 20;
  o.max_bytes_for_level_base = uint64_t{512} << 20;
  o.level0_file_num_compaction_trigger = 4;
  o.level_compaction_dynamic_level_bytes = true;
  o.max_background_jobs = 2;
  o.max_open_files = 512;  // Each open file costs memory for its reader.
  o.file_checksum_gen_factory = std::make_shared<Xxh3Factory>();
  o.info_log = std::make_shared<ErrorLogger>();
  o.stats_dump_period_sec = 0;
  o.stats_persist_period_sec = 0;
  return o;
}

std::string EncodeMeta(const RocksMeta& meta) {
  const bool clients = meta.clients != nullptr && !meta.clients->empty();
  std::string bytes(1, clients ? kMetaVersionClients : kMetaVersion);
  auto append = [&](uint64_t v) { bytes.append(reinterpret_cast<const char*>(&v), sizeof(v)); };
  append(meta.flushed_sequence);
  append(meta.highest_sequence);
  if (clients) append(meta.rows.size());
  for (uint64_t rows : meta.rows) append(rows);
  if (clients) bytes.append(*meta.clients);
  return bytes;
}

absl::StatusOr<RocksMeta> DecodeMeta(absl::string_view bytes, const std::string& directory) {
  constexpr size_t kFixedBytes = 1 + 2 * sizeof(uint64_t);
  const bool clients = !bytes.empty() && bytes[0] == kMetaVersionClients;
  if (!bytes.empty() && bytes[0] != kMetaVersion && !clients) {
    return absl::FailedPreconditionError(absl::StrCat(
        directory, " has row format version ", static_cast<int>(bytes[0]), ", this build reads ",
        static_cast<int>(kMetaVersion), " and ", static_cast<int>(kMetaVersionClients)));
  }
  if (bytes.size() < kFixedBytes || (bytes.size() - kFixedBytes) % sizeof(uint64_t) != 0) {
    return absl::DataLossError(absl::StrCat(directory, ": the meta record is damaged"));
  }
  RocksMeta meta;
  auto take = [&](size_t at) {
    uint64_t v = 0;
    std::memcpy(&v, bytes.data() + at, sizeof(v));
    return v;
  };
  meta.flushed_sequence = take(1);
  meta.highest_sequence = take(1 + sizeof(uint64_t));
  size_t at = kFixedBytes;
  size_t rows_end = bytes.size();
  if (clients) {
    const uint64_t tables = bytes.size() >= at + sizeof(uint64_t) ? take(at) : bytes.size();
    at += sizeof(uint64_t);
    if (tables > (bytes.size() - std::min(at, bytes.size())) / sizeof(uint64_t)) {
      return absl::DataLossError(absl::StrCat(directory, ": the meta record is damaged"));
    }
    rows_end = at + tables * sizeof(uint64_t);
    meta.clients = std::make_shared<const std::string>(bytes.substr(rows_end));
  }
  for (; at < rows_end; at += sizeof(uint64_t)) meta.rows.push_back(take(at));
  return meta;
}

class RocksTierImpl final : public RocksTier {
 public:
  RocksTierImpl(const RocksTierOptions& options, std::shared_ptr<rocksdb::Env> env)
      : options_(options),
        fs_(options.file_system != nullptr ? options.file_system : FileSystem::Real()),
        env_(std::move(env)),
        rocks_options_(MakeOptions(options, env_.get())) {}

  absl::Status Start();

  RocksMeta meta() const override {
    std::lock_guard<std::mutex> lock(mutex_);
    return meta_;
  }
  absl::Status Read(std::span<const RowKey> keys, const OnValue& on_row) override;
  absl::Status Scan(const Visit& visit) override { return ScanBuckets(0, kNumBuckets, visit); }
  absl::Status ScanBuckets(uint32_t begin, uint32_t end, const Visit& visit) override;
  std::unique_ptr<Cursor> NewCursor() override;
  absl::Status ScanStates(uint32_t begin, uint32_t end, const VisitState& visit) override;
  absl::StatusOr<std::unique_ptr<RunWriter>> NewRun() override;
  absl::Status Compact() override;
  absl::StatusOr<std::map<std::string, uint64_t>> Checkpoint(const std::string& directory) override;
  int64_t bytes_on_disk() const override {
    uint64_t bytes = 0;
    db_->GetIntProperty(rocksdb::DB::Properties::kTotalSstFilesSize, &bytes);
    return static_cast<int64_t>(bytes);
  }

  FileSystem* file_system() const { return fs_; }
  const rocksdb::Options& rocks_options() const { return rocks_options_; }
  std::string NextRunPath() {
    return absl::StrCat(options_.run_directory, "/run-", next_run_++, ".sst");
  }
  absl::Status AddRuns(const std::vector<std::string>& files,
                       const std::vector<std::string>& checksums, const RocksMeta& meta);

 private:
  absl::Status ReadMeta();
  absl::Status WaitForCompaction();

  const RocksTierOptions options_;
  FileSystem* const fs_;
  const std::shared_ptr<rocksdb::Env> env_;  // Null: RocksDB's own.
  const rocksdb::Options rocks_options_;
  std::unique_ptr<rocksdb::DB> db_;
  int next_run_ = 0;
  mutable std::mutex mutex_;
  RocksMeta meta_;
};

class CursorImpl final : public RocksTier::Cursor {
 public:
  explicit CursorImpl(std::unique_ptr<rocksdb::Iterator> row) : row_(std::move(row)) {}

  absl::Status Seek(const RowKey& key) override {
    valid_ = false;
    if (key.bucket >= kNumBuckets) return absl::OkStatus();  // Behind every row.
    char bytes[kRowKeyBytes];
    EncodeRowKey(key, bytes);
    row_->Seek({bytes, kRowKeyBytes});
    return TakeKey();
  }
  absl::Status SeekToLast() override {
    row_->SeekForPrev(StateKey(0, 0).substr(0, 6));  // Behind all rows, before tables' states.
    return TakeKey();
  }
  absl::Status Next() override {
    row_->Next();
    return TakeKey();
  }
  bool valid() const override { return valid_; }
  const RowKey& key() const override { return key_; }
  absl::string_view value() const override { return {row_->value().data(), row_->value().size()}; }

 private:
  absl::Status TakeKey() {
    valid_ = row_->Valid() && DecodeRowKey({row_->key().data(), row_->key().size()}, &key_);
    return row_->Valid() ? absl::OkStatus() : FromRocks(row_->status(), "reading rows in order");
  }

  const std::unique_ptr<rocksdb::Iterator> row_;
  RowKey key_;
  bool valid_ = false;
};

class RunWriterImpl final : public RocksTier::RunWriter {
 public:
  explicit RunWriterImpl(RocksTierImpl* tier) : tier_(tier) {}

  ~RunWriterImpl() override {
    writer_.reset();
    // An added run was moved away; what is left over is removed at the next opening.
    for (const std::string& path : paths_) (void)tier_->file_system()->Remove(path);
  }

  absl::Status Add(const RowKey& key, absl::string_view value) override {
    char bytes[kRowKeyBytes];
    EncodeRowKey(key, bytes);
    return Put({bytes, kRowKeyBytes}, value);
  }

  absl::Status Remove(const RowKey& key) override {
    char bytes[kRowKeyBytes];
    EncodeRowKey(key, bytes);
    PAGODA_RETURN_IF_ERROR(MakeRoom());
    return FromRocks(writer_->Delete({bytes, kRowKeyBytes}), "writing a run");
  }

  absl::Status AddState(uint32_t table, uint32_t part, absl::string_view value) override {
    return Put(StateKey(table, part), value);
  }

  absl::Status Commit(const RocksMeta& meta) override {
    PAGODA_RETURN_IF_ERROR(Put(kMetaKey, EncodeMeta(meta)));
    if (meta.steps != nullptr) PAGODA_RETURN_IF_ERROR(Put(kStepsKey, *meta.steps));
    PAGODA_RETURN_IF_ERROR(FinishFile());
    return tier_->AddRuns(paths_, checksums_, meta);
  }

 private:
  // A file to write to.
  absl::Status MakeRoom() {
    if (writer_ != nullptr && writer_->FileSize() >= kRunFileBytesMax) {
      PAGODA_RETURN_IF_ERROR(FinishFile());
    }
    if (writer_ == nullptr) {
      paths_.push_back(tier_->NextRunPath());
      // What was just flushed is likely to be read again: it may stay in the page cache.
      writer_ = std::make_unique<rocksdb::SstFileWriter>(
          rocksdb::EnvOptions(), tier_->rocks_options(), nullptr, /*invalidate_page_cache=*/false);
      PAGODA_RETURN_IF_ERROR(FromRocks(writer_->Open(paths_.back()), "starting a run"));
    }
    return absl::OkStatus();
  }

  absl::Status Put(absl::string_view key, absl::string_view value) {
    PAGODA_RETURN_IF_ERROR(MakeRoom());
    return FromRocks(writer_->Put({key.data(), key.size()}, {value.data(), value.size()}),
                     "writing a run");
  }

  absl::Status FinishFile() {
    rocksdb::ExternalSstFileInfo info;
    PAGODA_RETURN_IF_ERROR(FromRocks(writer_->Finish(&info), "finishing a run"));
    checksums_.push_back(info.file_checksum);
    writer_.reset();
    return absl::OkStatus();
  }

  RocksTierImpl* const tier_;
  std::unique_ptr<rocksdb::SstFileWriter> writer_;
  std::vector<std::string> paths_;
  std::vector<std::string> checksums_;
};

absl::Status RocksTierImpl::Start() {
  rocksdb::DB* db = nullptr;
  const std::string action = absl::StrCat("opening ", options_.directory);
  if (options_.read_only) {
    PAGODA_RETURN_IF_ERROR(
        FromRocks(rocksdb::DB::OpenForReadOnly(rocks_options_, options_.directory, &db), action));
    db_.reset(db);
    return ReadMeta();
  }
  PAGODA_RETURN_IF_ERROR(fs_->RemoveDirectory(options_.run_directory));
  PAGODA_RETURN_IF_ERROR(fs_->CreateDirectory(options_.run_directory));
  if (options_.create) PAGODA_RETURN_IF_ERROR(fs_->CreateDirectory(options_.directory));
  PAGODA_RETURN_IF_ERROR(
      FromRocks(rocksdb::DB::Open(rocks_options_, options_.directory, &db), action));
  db_.reset(db);
  return ReadMeta();
}

absl::Status RocksTierImpl::ReadMeta() {
  std::string bytes;
  const rocksdb::Status found = db_->Get(rocksdb::ReadOptions(), kMetaKey, &bytes);
  if (found.IsNotFound()) return absl::OkStatus();
  PAGODA_RETURN_IF_ERROR(FromRocks(found, "reading the meta record"));
  PAGODA_ASSIGN_OR_RETURN(meta_, DecodeMeta(bytes, options_.directory));
  std::string steps;
  const rocksdb::Status has_steps = db_->Get(rocksdb::ReadOptions(), kStepsKey, &steps);
  if (has_steps.IsNotFound()) return absl::OkStatus();
  PAGODA_RETURN_IF_ERROR(FromRocks(has_steps, "reading the steps of exact tables"));
  meta_.steps = std::make_shared<const std::string>(std::move(steps));
  return absl::OkStatus();
}

absl::Status RocksTierImpl::Read(std::span<const RowKey> keys, const OnValue& on_row) {
  std::vector<std::array<char, kRowKeyBytes>> bytes(std::min(keys.size(), kReadBatch));
  std::vector<rocksdb::Slice> slices(bytes.size());
  std::vector<rocksdb::PinnableSlice> values(bytes.size());
  std::vector<rocksdb::Status> statuses(bytes.size());
  rocksdb::ReadOptions read;
  for (size_t begin = 0; begin < keys.size(); begin += kReadBatch) {
    const size_t count = std::min(kReadBatch, keys.size() - begin);
    for (size_t i = 0; i < count; ++i) {
      EncodeRowKey(keys[begin + i], bytes[i].data());
      slices[i] = rocksdb::Slice(bytes[i].data(), kRowKeyBytes);
      values[i].Reset();
    }
    db_->MultiGet(read, db_->DefaultColumnFamily(), count, slices.data(), values.data(),
                  statuses.data(), /*sorted_input=*/true);
    for (size_t i = 0; i < count; ++i) {
      if (!statuses[i].ok() && !statuses[i].IsNotFound()) {
        return FromRocks(statuses[i], absl::StrCat("reading row ", keys[begin + i].id));
      }
      const absl::string_view value = statuses[i].ok()
                                          ? absl::string_view(values[i].data(), values[i].size())
                                          : absl::string_view();
      PAGODA_RETURN_IF_ERROR(on_row(begin + i, value));
    }
  }
  return absl::OkStatus();
}

absl::Status RocksTierImpl::ScanBuckets(uint32_t begin, uint32_t end, const Visit& visit) {
  rocksdb::ReadOptions read;
  read.fill_cache = false;
  read.readahead_size = size_t{1} << 20;
  const std::unique_ptr<rocksdb::Iterator> row(db_->NewIterator(read));
  char first[kRowKeyBytes];
  EncodeRowKey(RowKey{begin, 0, 0}, first);
  for (row->Seek({first, kRowKeyBytes}); row->Valid(); row->Next()) {
    RowKey key;
    if (!DecodeRowKey({row->key().data(), row->key().size()}, &key)) continue;
    if (key.bucket >= end) break;
    PAGODA_ASSIGN_OR_RETURN(const bool more,
                            visit(key, {row->value().data(), row->value().size()}));
    if (!more) return absl::OkStatus();
  }
  return FromRocks(row->status(), "scanning rows");
}

std::unique_ptr<RocksTier::Cursor> RocksTierImpl::NewCursor() {
  rocksdb::ReadOptions read;
  read.fill_cache = false;
  read.readahead_size = size_t{1} << 20;
  return std::make_unique<CursorImpl>(std::unique_ptr<rocksdb::Iterator>(db_->NewIterator(read)));
}

absl::Status RocksTierImpl::ScanStates(uint32_t begin, uint32_t end, const VisitState& visit) {
  rocksdb::ReadOptions read;
  read.fill_cache = false;
  const std::unique_ptr<rocksdb::Iterator> state(db_->NewIterator(read));
  for (state->Seek(StateKey(begin, 0)); state->Valid(); state->Next()) {
    uint32_t table = 0, part = 0;
    if (!DecodeStateKey({state->key().data(), state->key().size()}, &table, &part)) break;
    if (table >= end) break;
    PAGODA_RETURN_IF_ERROR(visit(table, part, {state->value().data(), state->value().size()}));
  }
  return FromRocks(state->status(), "reading tables' states");
}

absl::Status RocksTierImpl::Compact() {
  rocksdb::CompactRangeOptions all;
  all.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
  return FromRocks(db_->CompactRange(all, nullptr, nullptr), "merging all runs");
}

absl::StatusOr<std::unique_ptr<RocksTier::RunWriter>> RocksTierImpl::NewRun() {
  return std::unique_ptr<RunWriter>(std::make_unique<RunWriterImpl>(this));
}

absl::Status RocksTierImpl::WaitForCompaction() {
  for (int i = 0; i < kCompactionWaitSeconds * 100; ++i) {
    uint64_t errors = 0;
    std::string files = "0";
    db_->GetProperty(rocksdb::DB::Properties::kNumFilesAtLevelPrefix + "0", &files);
    db_->GetIntProperty(rocksdb::DB::Properties::kBackgroundErrors, &errors);
    if (std::stoull(files) < kLevel0FilesMax || errors > 0) return absl::OkStatus();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return absl::OkStatus();
}

absl::Status RocksTierImpl::AddRuns(const std::vector<std::string>& files,
                                    const std::vector<std::string>& checksums,
                                    const RocksMeta& meta) {
  PAGODA_RETURN_IF_ERROR(WaitForCompaction());
  // After running out of space RocksDB refuses writes until told to go on.
  (void)db_->Resume();
  rocksdb::IngestExternalFileArg run;
  run.column_family = db_->DefaultColumnFamily();
  run.external_files = files;
  run.options.move_files = true;
  run.options.write_global_seqno = false;
  run.options.verify_file_checksum = false;  // Known from writing it.
  run.files_checksums = checksums;
  run.files_checksum_func_names.assign(files.size(), kChecksumName);
  PAGODA_RETURN_IF_ERROR(FromRocks(db_->IngestExternalFiles({run}), "adding a run"));
  std::lock_guard<std::mutex> lock(mutex_);
  meta_ = meta;
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, uint64_t>> RocksTierImpl::Checkpoint(
    const std::string& directory) {
  rocksdb::Checkpoint* raw = nullptr;
  PAGODA_RETURN_IF_ERROR(
      FromRocks(rocksdb::Checkpoint::Create(db_.get(), &raw), "preparing a checkpoint"));
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(raw);
  // Files of before and after, because a merge may finish in between.
  std::vector<rocksdb::LiveFileMetaData> files;
  db_->GetLiveFilesMetaData(&files);
  PAGODA_RETURN_IF_ERROR(FromRocks(checkpoint->CreateCheckpoint(directory),
                                   absl::StrCat("making the checkpoint ", directory)));
  std::vector<rocksdb::LiveFileMetaData> later;
  db_->GetLiveFilesMetaData(&later);
  files.insert(files.end(), later.begin(), later.end());
  std::map<std::string, uint64_t> checksums;
  for (const rocksdb::LiveFileMetaData& file : files) {
    if (file.file_checksum_func_name != kChecksumName ||
        file.file_checksum.size() != sizeof(uint64_t)) {
      continue;
    }
    uint64_t checksum = 0;
    std::memcpy(&checksum, file.file_checksum.data(), sizeof(checksum));
    const size_t slash = file.name.find_first_not_of('/');
    checksums[file.name.substr(slash == std::string::npos ? 0 : slash)] = checksum;
  }
  return checksums;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RocksTier>> RocksTier::Open(const RocksTierOptions& options) {
  std::shared_ptr<rocksdb::Env> env;
  if (options.file_system != nullptr) env = MakeRocksEnv(options.file_system);
  auto tier = std::make_unique<RocksTierImpl>(options, std::move(env));
  PAGODA_RETURN_IF_ERROR(tier->Start());
  return std::unique_ptr<RocksTier>(std::move(tier));
}

}  // namespace pagoda
