#include "embedding_store/rocks_tier.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "embedding_store/rocks_checkpoint.h"
#include "embedding_store/rocks_file_system.h"
#include "embedding_store/rocks_options.h"
#include "embedding_store/row_filter.h"

namespace pagoda {
namespace {

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
constexpr size_t kReadBatch = 64;

// Once RocksDB's cache is full, one read of so many leaves its blocks there. Indexes and
// filters, which every read needs, get in soon enough; blocks of rows, which are seldom read
// again because the row is in memory then, push out little, and most of them cost neither
// the cache's locks nor memory that has left the processor.
constexpr uint64_t kReadsPerFill = 16;
// How often it is looked whether the cache is full: that takes all of its locks.
constexpr uint64_t kReadsPerLook = 64;

// Adding runs faster than they can be merged would make every read look into
// more and more files.
constexpr uint64_t kLevel0FilesMax = 16;
constexpr int kCompactionWaitSeconds = 120;

// Filling the filter may take what nobody else wants.
constexpr int kFillerNice = 10;

constexpr uint32_t kFilterBuckets = kNumBuckets / 64;

// How many keys ahead the filter's blocks are fetched.
constexpr size_t kFilterAhead = 24;

rocksdb::Options OptionsOf(const RocksTierOptions& options, rocksdb::Env* env,
                           RocksSignals* signals) {
  RocksSettings settings;
  settings.cache_bytes = options.cache_bytes;
  settings.run_bytes = options.run_bytes;
  settings.create = options.create;
  settings.env = env;
  settings.signals = signals;
  return MakeRocksOptions(settings);
}

std::shared_ptr<rocksdb::Cache> CacheOf(const rocksdb::Options& options) {
  return options.table_factory->GetOptions<rocksdb::BlockBasedTableOptions>()->block_cache;
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
        rocks_options_(OptionsOf(options, env_.get(), &signals_)),
        cache_(CacheOf(rocks_options_)) {
    if (options.filter_bytes > 0) filter_ = std::make_unique<RowFilter>(options.filter_bytes);
  }
  ~RocksTierImpl() override {
    closing_.store(true);
    if (filter_filler_.joinable()) filter_filler_.join();
  }

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
  absl::StatusOr<std::map<std::string, uint64_t>> Checkpoint(
      const std::string& directory) override {
    return CheckpointRocks(db_.get(), fs_, directory);
  }
  int64_t bytes_on_disk() const override {
    uint64_t bytes = 0;
    db_->GetIntProperty(rocksdb::DB::Properties::kTotalSstFilesSize, &bytes);
    return static_cast<int64_t>(bytes);
  }
  RocksDiskUse disk_use() const override;
  void RemoveReplaced() override { RemoveObsoleteFiles(db_.get()); }
  int64_t run_bytes_added() const override { return run_bytes_added_.load(); }
  int64_t rows_removed() const override { return rows_removed_.load(); }
  absl::Status Resume() override;
  void SetBytesMax(int64_t bytes) override { signals_.bytes_max.store(bytes); }
  bool filter_is_complete() const override { return filter_complete_.load(); }

  // Rows that a run adds, before it is added, and removes.
  void NoteAdded(const RowKey& key) {
    if (filter_ != nullptr) filter_->Add(key);
  }
  void NoteRemoved() { rows_removed_.fetch_add(1); }

  FileSystem* file_system() const { return fs_; }
  const rocksdb::Options& rocks_options() const { return rocks_options_; }
  std::string NextRunPath() {
    return absl::StrCat(options_.run_directory, "/run-", next_run_++, ".sst");
  }
  struct Runs {
    std::vector<std::string> files, checksums;
    int64_t bytes = 0;
  };
  absl::Status AddRuns(const Runs& runs, const RocksMeta& meta);

 private:
  absl::Status ReadMeta();
  void WaitForCompaction();
  // Makes the filter hold all rows, in a thread of its own where there are any.
  void StartFilter();
  // Whether the next read may leave blocks in the cache.
  bool FillsCache();
  absl::Status ReadBatch(std::span<const RowKey> keys, size_t first, std::span<const size_t> places,
                         const OnValue& on_row);

  const RocksTierOptions options_;
  FileSystem* const fs_;
  const std::shared_ptr<rocksdb::Env> env_;  // Null: RocksDB's own.
  RocksSignals signals_;
  const rocksdb::Options rocks_options_;
  const std::shared_ptr<rocksdb::Cache> cache_;  // Of blocks.
  std::unique_ptr<rocksdb::DB> db_;
  int next_run_ = 0;
  std::atomic<int64_t> run_bytes_added_{0};
  std::atomic<int64_t> rows_removed_{0};
  std::unique_ptr<RowFilter> filter_;  // Null: none.
  std::atomic<bool> filter_complete_{false};
  std::atomic<uint64_t> reads_{0};  // Calls of ReadBatch that asked RocksDB.
  std::atomic<bool> cache_full_{false};
  std::atomic<bool> closing_{false};
  std::thread filter_filler_;
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
    for (const std::string& path : runs_.files) (void)tier_->file_system()->Remove(path);
  }

  absl::Status Add(const RowKey& key, absl::string_view value) override {
    char bytes[kRowKeyBytes];
    EncodeRowKey(key, bytes);
    tier_->NoteAdded(key);
    return Put({bytes, kRowKeyBytes}, value);
  }

  absl::Status Remove(const RowKey& key) override {
    char bytes[kRowKeyBytes];
    EncodeRowKey(key, bytes);
    PAGODA_RETURN_IF_ERROR(MakeRoom());
    tier_->NoteRemoved();
    return FromRocks(writer_->Delete({bytes, kRowKeyBytes}), "writing a run");
  }

  absl::Status AddState(uint32_t table, uint32_t part, absl::string_view value) override {
    return Put(StateKey(table, part), value);
  }

  absl::Status Commit(const RocksMeta& meta) override {
    PAGODA_RETURN_IF_ERROR(Put(kMetaKey, EncodeMeta(meta)));
    if (meta.steps != nullptr) PAGODA_RETURN_IF_ERROR(Put(kStepsKey, *meta.steps));
    PAGODA_RETURN_IF_ERROR(FinishFile());
    return tier_->AddRuns(runs_, meta);
  }

 private:
  // A file to write to.
  absl::Status MakeRoom() {
    if (writer_ != nullptr && writer_->FileSize() >= kRunFileBytesMax) {
      PAGODA_RETURN_IF_ERROR(FinishFile());
    }
    if (writer_ == nullptr) {
      runs_.files.push_back(tier_->NextRunPath());
      // What was just flushed is likely to be read again: it may stay in the page cache.
      writer_ = std::make_unique<rocksdb::SstFileWriter>(
          rocksdb::EnvOptions(), tier_->rocks_options(), nullptr, /*invalidate_page_cache=*/false);
      PAGODA_RETURN_IF_ERROR(FromRocks(writer_->Open(runs_.files.back()), "starting a run"));
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
    runs_.checksums.push_back(info.file_checksum);
    runs_.bytes += static_cast<int64_t>(info.file_size);
    writer_.reset();
    return absl::OkStatus();
  }

  RocksTierImpl* const tier_;
  std::unique_ptr<rocksdb::SstFileWriter> writer_;
  RocksTierImpl::Runs runs_;
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
  PAGODA_RETURN_IF_ERROR(ReadMeta());
  StartFilter();
  return absl::OkStatus();
}

void RocksTierImpl::StartFilter() {
  if (filter_ == nullptr) return;
  if (std::all_of(meta_.rows.begin(), meta_.rows.end(), [](uint64_t rows) { return rows == 0; })) {
    filter_complete_.store(true);
    return;
  }
  // Runs added meanwhile enter their rows themselves.
  filter_filler_ = std::thread([this] {
    (void)::setpriority(PRIO_PROCESS, 0, kFillerNice);  // Of this thread alone.
    // Some buckets at a time: files that a merge replaces meanwhile stay no longer than one.
    absl::Status scanned;
    for (uint32_t begin = 0; begin < kNumBuckets && scanned.ok(); begin += kFilterBuckets) {
      scanned =
          ScanBuckets(begin, begin + kFilterBuckets, [this](const RowKey& key, absl::string_view) {
            filter_->Add(key);
            return !closing_.load(std::memory_order_relaxed);
          });
      if (closing_.load()) break;
    }
    if (scanned.ok() && !closing_.load()) filter_complete_.store(true);
    if (!scanned.ok()) {
      PAGODA_LOG_WARNING("{}: reads are not screened for rows that are absent: {}",
                         options_.directory, std::string(scanned.message()));
    }
  });
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
  const bool screened = filter_complete_.load();
  std::vector<size_t> places;  // Of keys that may be there, up to a batch.
  places.reserve(std::min(keys.size(), kReadBatch));
  size_t first = 0;  // Not yet answered.
  for (size_t i = 0; i < keys.size(); ++i) {
    if (screened && i + kFilterAhead < keys.size()) filter_->Prefetch(keys[i + kFilterAhead]);
    if (!screened || filter_->MayHold(keys[i])) places.push_back(i);
    if (places.size() < kReadBatch && i + 1 < keys.size()) continue;
    PAGODA_RETURN_IF_ERROR(ReadBatch(keys.first(i + 1), first, places, on_row));
    first = i + 1;
    places.clear();
  }
  return absl::OkStatus();
}

bool RocksTierImpl::FillsCache() {
  const uint64_t read = reads_.fetch_add(1, std::memory_order_relaxed);
  if (read % kReadsPerLook == 0) {
    const size_t room = cache_->GetCapacity();
    cache_full_.store(cache_->GetUsage() >= room - room / 16, std::memory_order_relaxed);
  }
  // Mixed: pulls of one size would fill with the same part of the keys each time.
  return MixBits(read) % kReadsPerFill == 0 || !cache_full_.load(std::memory_order_relaxed);
}

// Answers keys[first, end): those at `places` from RocksDB, the others as absent.
absl::Status RocksTierImpl::ReadBatch(std::span<const RowKey> keys, size_t first,
                                      std::span<const size_t> places, const OnValue& on_row) {
  std::array<std::array<char, kRowKeyBytes>, kReadBatch> bytes;
  std::array<rocksdb::Slice, kReadBatch> slices;
  std::array<rocksdb::PinnableSlice, kReadBatch> values;
  std::array<rocksdb::Status, kReadBatch> statuses;
  for (size_t i = 0; i < places.size(); ++i) {
    EncodeRowKey(keys[places[i]], bytes[i].data());
    slices[i] = rocksdb::Slice(bytes[i].data(), kRowKeyBytes);
  }
  if (!places.empty()) {
    rocksdb::ReadOptions read;
    read.fill_cache = FillsCache();
    db_->MultiGet(read, db_->DefaultColumnFamily(), places.size(), slices.data(), values.data(),
                  statuses.data(), /*sorted_input=*/true);
  }
  size_t next = first;
  for (size_t i = 0; i < places.size(); ++i) {
    for (; next < places[i]; ++next) PAGODA_RETURN_IF_ERROR(on_row(next, {}));
    if (!statuses[i].ok() && !statuses[i].IsNotFound()) {
      return FromRocks(statuses[i], absl::StrCat("reading row ", keys[next].id));
    }
    PAGODA_RETURN_IF_ERROR(
        on_row(next++, statuses[i].ok() ? absl::string_view(values[i].data(), values[i].size())
                                        : absl::string_view()));
  }
  for (; next < keys.size(); ++next) PAGODA_RETURN_IF_ERROR(on_row(next, {}));
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
  const absl::Status merged =
      FromRocks(db_->CompactRange(all, nullptr, nullptr), "merging all runs");
  RemoveObsoleteFiles(db_.get());
  return merged;
}

absl::StatusOr<std::unique_ptr<RocksTier::RunWriter>> RocksTierImpl::NewRun() {
  return std::unique_ptr<RunWriter>(std::make_unique<RunWriterImpl>(this));
}

absl::Status RocksTierImpl::Resume() {
  if (!signals_.stopped.exchange(false)) return absl::OkStatus();
  const absl::Status resumed = FromRocks(db_->Resume(), "going on after an error");
  if (!resumed.ok()) signals_.stopped.store(true);
  return resumed;
}

void RocksTierImpl::WaitForCompaction() {
  for (int i = 0; i < kCompactionWaitSeconds * 100 && !signals_.stopped.load(); ++i) {
    std::string files = "0";
    db_->GetProperty(rocksdb::DB::Properties::kNumFilesAtLevelPrefix + "0", &files);
    if (std::stoull(files) < kLevel0FilesMax) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

RocksDiskUse RocksTierImpl::disk_use() const {
  RocksDiskUse use;
  uint64_t live = 0;
  db_->GetIntProperty(rocksdb::DB::Properties::kLiveSstFilesSize, &live);
  use.files = static_cast<int64_t>(live);
  use.replaced = signals_.replaced.bytes();
  use.merge = static_cast<int64_t>(kMergeFilesMax * rocks_options_.target_file_size_base);
  rocksdb::ColumnFamilyMetaData levels;
  db_->GetColumnFamilyMetaData(&levels);
  for (const rocksdb::LevelMetaData& level : levels.levels) {
    if (level.level == 0) {
      use.level0 = static_cast<int64_t>(level.size);
    } else if (use.below == 0) {
      use.below = static_cast<int64_t>(level.size);
    }
  }
  return use;
}

absl::Status RocksTierImpl::AddRuns(const Runs& runs, const RocksMeta& meta) {
  // Asked without being told to: an error that nobody reported would end here, too.
  signals_.stopped.store(true);
  PAGODA_RETURN_IF_ERROR(Resume());
  WaitForCompaction();
  rocksdb::IngestExternalFileArg run;
  run.column_family = db_->DefaultColumnFamily();
  run.external_files = runs.files;
  run.options.move_files = true;
  run.options.write_global_seqno = false;
  run.options.verify_file_checksum = false;  // Known from writing it.
  run.files_checksums = runs.checksums;
  run.files_checksum_func_names.assign(runs.files.size(), kRocksChecksumName);
  PAGODA_RETURN_IF_ERROR(FromRocks(db_->IngestExternalFiles({run}), "adding a run"));
  run_bytes_added_.fetch_add(runs.bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  meta_ = meta;
  return absl::OkStatus();
}

}  // namespace

int64_t RocksDiskUse::MergeBytesMax(int64_t run_bytes) const {
  return std::max(level0 + run_bytes + below, std::min(files + run_bytes, merge));
}

absl::StatusOr<std::unique_ptr<RocksTier>> RocksTier::Open(const RocksTierOptions& options) {
  std::shared_ptr<rocksdb::Env> env;
  if (options.file_system != nullptr) env = MakeRocksEnv(options.file_system);
  auto tier = std::make_unique<RocksTierImpl>(options, std::move(env));
  PAGODA_RETURN_IF_ERROR(tier->Start());
  return std::unique_ptr<RocksTier>(std::move(tier));
}

}  // namespace pagoda
