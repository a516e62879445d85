#include "embedding_store/shard_store.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status_macros.h"

#include "embedding_store/shard_checkpoint.h"
#include "embedding_store/sparse_optimizer.h"
#include "embedding_store/table_registry.h"

namespace pagoda {
namespace {

constexpr int64_t kLogBytesMin = int64_t{1} << 20;
constexpr int64_t kSegmentBytesMax = int64_t{64} << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<EmbeddingStore>> EmbeddingStore::Open(const StoreOptions& options) {
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<ShardStore> store, ShardStore::Open(options));
  return std::unique_ptr<EmbeddingStore>(std::move(store));
}

absl::StatusOr<StoreCut> EmbeddingStore::VerifyCut(const std::string& directory) {
  return ReadShardCut(FileSystem::Real(), directory, CutFiles::kAll);
}

ShardStore::ShardStore(const StoreOptions& options)
    : options_(options),
      shares_(DivideMemory(options.memory_bytes)),
      fs_(options.file_system != nullptr ? options.file_system : FileSystem::Real()),
      disk_bytes_max_(options.disk_bytes_max) {}

absl::StatusOr<std::unique_ptr<ShardStore>> ShardStore::Open(const StoreOptions& options) {
  if (options.path.empty()) return absl::InvalidArgumentError("StoreOptions.path is empty");
  if (options.memory_bytes < kMemoryBytesMin) {
    return absl::InvalidArgumentError(absl::StrCat("StoreOptions.memory_bytes is ",
                                                   options.memory_bytes, ", but must be at least ",
                                                   kMemoryBytesMin));
  }
  if (options.log_bytes_max < kLogBytesMin) {
    return absl::InvalidArgumentError(absl::StrCat("StoreOptions.log_bytes_max is ",
                                                   options.log_bytes_max, ", but must be at least ",
                                                   kLogBytesMin));
  }
  if (options.flush_age_seconds < 1) {
    return absl::InvalidArgumentError(absl::StrCat("StoreOptions.flush_age_seconds is ",
                                                   options.flush_age_seconds,
                                                   ", but must be at least 1"));
  }
  if (options.disk_bytes_max < 0) {
    return absl::InvalidArgumentError(absl::StrCat("StoreOptions.disk_bytes_max is ",
                                                   options.disk_bytes_max, ", but must be >= 0"));
  }
  std::unique_ptr<ShardStore> store(new ShardStore(options));
  PAGODA_ASSIGN_OR_RETURN(store->directory_,
                          StoreDirectory::Open(store->fs_, options.path, options.read_only));
  PAGODA_RETURN_IF_ERROR(store->OpenState());
  if (!options.read_only) {
    store->flusher_ = std::thread([raw = store.get()] { raw->FlusherLoop(); });
    if (options.evicts_by_policy) {
      store->evictor_ = std::thread([raw = store.get()] { raw->EvictorLoop(); });
    }
  }
  return store;
}

ShardStore::~ShardStore() {
  if (evictor_.joinable()) {
    {
      std::lock_guard<std::mutex> lock(evictor_mutex_);
      stop_evicting_ = true;
    }
    evictor_wake_.notify_all();
    evictor_.join();
  }
  if (flusher_.joinable()) {
    {
      std::lock_guard<std::mutex> lock(flusher_mutex_);
      stop_ = true;
    }
    flusher_wake_.notify_all();
    flusher_.join();
    if (rocks_ != nullptr) {
      const absl::Status flushed = Flush();
      if (!flushed.ok()) {
        PAGODA_LOG_WARNING("{}: the last flush failed ({}){}", options_.path,
                           std::string(flushed.message()),
                           options_.durability != Durability::kNone ? "; the log has it" : "");
      }
    }
  }
  CloseState();
}

void ShardStore::CloseState() {
  log_.reset();
  memory_.reset();
  rocks_.reset();
  tables_.clear();
  windows_.Clear();
  // Counters of a tier that is gone.
  disk_seen_ = DiskSeen();
  merged_run_bytes_ = merged_removals_ = -1;
}

absl::Status ShardStore::OpenState() {
  if (directory_->is_cut()) {
    PAGODA_RETURN_IF_ERROR(ReadShardCut(fs_, directory_->path(), CutFiles::kAllButRows).status());
  }
  PAGODA_ASSIGN_OR_RETURN(const std::vector<TableOptions> stored,
                          ReadTableRegistry(fs_, directory_->registry_path()));
  RocksTierOptions rocks_options;
  rocks_options.directory = directory_->rocksdb_path();
  rocks_options.run_directory = directory_->flush_path();
  rocks_options.cache_bytes = shares_.cache;
  rocks_options.filter_bytes = options_.read_only ? 0 : shares_.filter;
  rocks_options.run_bytes = shares_.rows / kDueShare;
  rocks_options.read_only = options_.read_only;
  rocks_options.file_system = options_.file_system;
  PAGODA_ASSIGN_OR_RETURN(const bool exists, fs_->Exists(rocks_options.directory + "/CURRENT"));
  // Without a table there never was a row: a crash during creation, not a loss.
  rocks_options.create = !exists && stored.empty() && !options_.read_only;
  if (!exists && stored.empty() && options_.read_only) {
    return absl::NotFoundError(
        absl::StrCat(options_.path, " holds no store yet: its creation was cut short"));
  }
  PAGODA_ASSIGN_OR_RETURN(rocks_, RocksTier::Open(rocks_options));
  PAGODA_ASSIGN_OR_RETURN(memory_, MemoryTier::Create(shares_.rows));
  const RocksMeta meta = rocks_->meta();
  if (meta.rows.size() > stored.size()) {
    return absl::DataLossError(absl::StrCat(directory_->registry_path(), " lists ", stored.size(),
                                            " tables, but there are rows of ", meta.rows.size()));
  }
  for (size_t t = 0; t < stored.size(); ++t) {
    PAGODA_RETURN_IF_ERROR(AddTable(stored[t]));
    if (t < meta.rows.size()) tables_[t]->rows.store(static_cast<int64_t>(meta.rows[t]));
  }
  PAGODA_RETURN_IF_ERROR(LoadSteps(meta));
  PAGODA_RETURN_IF_ERROR(LoadStates());
  sequence_.store(meta.flushed_sequence);
  if (meta.clients != nullptr) {
    PAGODA_RETURN_IF_ERROR_CONTEXT(windows_.Decode(*meta.clients), rocks_options.directory);
  }
  return directory_->is_cut() ? absl::OkStatus() : OpenLog(meta);
}

absl::Status ShardStore::OpenLog(const RocksMeta& meta) {
  FilePushLogOptions log_options;
  log_options.file_system = fs_;
  log_options.directory = directory_->log_path();
  log_options.segment_bytes =
      std::min({kSegmentBytesMax, options_.log_bytes_max / 8, shares_.segment});
  log_options.flushed_sequence = meta.flushed_sequence;
  log_options.highest_sequence = meta.highest_sequence;
  log_options.read_only = options_.read_only;
  log_options.sync_records = options_.durability == Durability::kMachine;
  log_options.marks_path = directory_->state_path() + "/log_marks";
  PAGODA_ASSIGN_OR_RETURN(const bool has_log, fs_->Exists(log_options.directory));
  if (!has_log && options_.read_only) return absl::OkStatus();
  if (!has_log) {
    PAGODA_RETURN_IF_ERROR(fs_->CreateDirectory(log_options.directory));
    PAGODA_RETURN_IF_ERROR(fs_->SyncDirectory(directory_->state_path()));
  }
  PAGODA_ASSIGN_OR_RETURN(log_, OpenFilePushLog(log_options, [this](const PushRecord& record) {
                            return Replay(record);
                          }));
  const uint64_t logged = log_->last_sequence();
  sequence_.store(std::max({sequence_.load(), meta.highest_sequence, logged}));
  // Pushes that the log does not hold (durability none, or a machine that lost
  // power) leave a gap after its last record: start afresh behind it.
  const bool gap = logged != 0 && logged < sequence_.load();
  const bool unused = logged != 0 && options_.durability == Durability::kNone;
  if (!options_.read_only && (gap || unused)) return Flush();
  return absl::OkStatus();
}

absl::Status ShardStore::AddTable(const TableOptions& options) {
  auto table = std::make_unique<Table>();
  table->options = options;
  table->initial_key = InitialValueKey(options);
  table->rounding_key = RoundingKey(table->initial_key);
  table->shape = ShapeOf(options);
  table->name_hash = HashBytes(options.name);
  if (options.optimizer.exact) table->catch_up = std::make_unique<RowCatchUp>(options);
  PAGODA_RETURN_IF_ERROR(AddAdmission(table.get()));
  memory_->AddTable(table->shape);
  tables_.push_back(std::move(table));
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> ShardStore::OpenTable(const TableOptions& options) {
  PAGODA_RETURN_IF_ERROR(CheckTableOptions(options));
  if (options.eviction.triggers() && evictor_.joinable()) {
    PAGODA_LOG_INFO(
        "table \"{}\" evicts rows in the background: two runs of a job need not have the same bits",
        options.name);
  }
  ++excluding_;
  std::unique_lock<std::shared_mutex> state(state_mutex_);
  --excluding_;
  PAGODA_RETURN_IF_ERROR(closed_);
  std::vector<TableOptions> stored;
  for (const auto& table : tables_) stored.push_back(table->options);
  size_t index = 0;
  while (index < stored.size() && stored[index].name != options.name) ++index;
  if (index < stored.size() && !options_.read_only && GrowsSlots(stored[index], options)) {
    PAGODA_RETURN_IF_ERROR(GrowTable(index, options));
    return static_cast<uint32_t>(index);
  }
  if (index < stored.size()) {
    PAGODA_RETURN_IF_ERROR(CheckSameTable(stored[index], options));
    const bool same = stored[index].frozen == options.frozen &&
                      stored[index].optimizer.learning_rate == options.optimizer.learning_rate &&
                      stored[index].optimizer.schedule == options.optimizer.schedule &&
                      stored[index].eviction == options.eviction;
    const bool slots_grown = stored[index].slots_grown;
    stored[index] = options;
    stored[index].slots_grown = slots_grown;
    if (!same && !options_.read_only) {
      PAGODA_RETURN_IF_ERROR(WriteTableRegistry(fs_, directory_->registry_path(), stored));
    }
    tables_[index]->options = stored[index];
    return static_cast<uint32_t>(index);
  }
  if (options_.read_only) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.path, " has no table \"", options.name, "\" and is read-only"));
  }
  if (index >= kTablesMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a store holds at most ", kTablesMax, " tables"));
  }
  PAGODA_RETURN_IF_ERROR(CheckAdmissionRoom(options));
  stored.push_back(options);
  PAGODA_RETURN_IF_ERROR(WriteTableRegistry(fs_, directory_->registry_path(), stored));
  PAGODA_RETURN_IF_ERROR(AddTable(options));
  return static_cast<uint32_t>(index);
}

absl::Status ShardStore::GrowTable(size_t index, const TableOptions& options) {
  // The log must hold no push that the new optimizer would replay.
  PAGODA_RETURN_IF_ERROR(Flush());
  std::vector<TableOptions> stored;
  for (const auto& table : tables_) stored.push_back(table->options);
  PAGODA_LOG_INFO("{}: table \"{}\" grows the slots of {} beside its weights", options_.path,
                  options.name, SparseOptimizerName(options.optimizer.kind));
  stored[index] = options;
  stored[index].slots_grown = true;
  PAGODA_RETURN_IF_ERROR(WriteTableRegistry(fs_, directory_->registry_path(), stored));
  // Rows in memory have the old shape.
  return Reopen("a table grew slots");
}

std::vector<TableOptions> ShardStore::tables() const {
  std::shared_lock<std::shared_mutex> state(state_mutex_);
  std::vector<TableOptions> all;
  for (const auto& table : tables_) all.push_back(table->options);
  return all;
}

absl::Status ShardStore::CheckTableIndex(uint32_t table) const {
  PAGODA_RETURN_IF_ERROR(closed_);
  if (table < tables_.size()) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat("there is no table ", table, "; the store has ", tables_.size()));
}

void ShardStore::ForEach(size_t count, size_t rows, const std::function<void(size_t)>& body) const {
  // A second batch beside one that has the pool runs on its own thread at once.
  if (options_.pool != nullptr && rows >= kParallelRowsMin && !pool_busy_.exchange(true)) {
    options_.pool->ParallelFor(static_cast<int64_t>(count),
                               [&](int64_t i) { body(static_cast<size_t>(i)); });
    pool_busy_.store(false);
    return;
  }
  for (size_t i = 0; i < count; ++i) body(i);
}

absl::StatusOr<std::vector<StoreTableStat>> ShardStore::Stat() {
  std::shared_lock<std::shared_mutex> state(state_mutex_);
  PAGODA_RETURN_IF_ERROR(closed_);
  const RocksMeta meta = rocks_->meta();
  std::vector<StoreTableStat> stats(tables_.size());
  double weight_sum = 0;
  std::vector<double> weights(tables_.size());
  for (size_t t = 0; t < tables_.size(); ++t) {
    stats[t].options = tables_[t]->options;
    stats[t].pulled = tables_[t]->pulled.load();
    stats[t].missed = tables_[t]->missed.load();
    stats[t].pushed = tables_[t]->pushed.load();
    stats[t].rows = static_cast<uint64_t>(tables_[t]->rows.load());
    stats[t].bytes_memory = static_cast<uint64_t>(memory_->BytesOfTable(static_cast<uint32_t>(t)));
    const double rows_on_disk = t < meta.rows.size() ? static_cast<double>(meta.rows[t]) : 0;
    stats[t].row_bytes_disk = kRowKeyBytes + tables_[t]->shape.value_bytes_usual();
    stats[t].row_bytes_memory = static_cast<uint64_t>(
        memory_->budget_bytes() / std::max<int64_t>(1, memory_->RowsMax(static_cast<uint32_t>(t))));
    stats[t].bytes_admission =
        options_.read_only ? 0 : static_cast<uint64_t>(AdmissionBytes(stats[t].options.admission));
    {
      std::lock_guard<std::mutex> lock(admission_mutex_);
      stats[t].refused = tables_[t]->counters.refused;
      stats[t].evicted = tables_[t]->counters.evicted;
    }
    weights[t] = rows_on_disk * static_cast<double>(stats[t].row_bytes_disk);
    weight_sum += weights[t];
  }
  const auto bytes = static_cast<double>(rocks_->bytes_on_disk());
  for (size_t t = 0; t < tables_.size() && weight_sum > 0; ++t) {
    stats[t].bytes_disk = static_cast<uint64_t>(bytes * weights[t] / weight_sum);
  }
  return stats;
}

StoredRow ShardStore::ToStoredRow(const RowKey& key, const char* row) const {
  const RowShape& shape = tables_[key.table]->shape;
  std::vector<float> floats(static_cast<size_t>(shape.num_floats()));
  LoadRow(shape, row, floats.data());
  if (tables_[key.table]->catch_up != nullptr) {
    std::shared_lock<std::shared_mutex> steps(steps_mutex_);
    tables_[key.table]->catch_up->BringUp(floats.data(), HeaderOf(row)->last_step);
  }
  StoredRow stored;
  stored.id = key.id;
  stored.weights.assign(floats.begin(), floats.begin() + shape.dim);
  stored.slots.assign(floats.begin() + shape.dim, floats.end());
  stored.last_step = HeaderOf(row)->last_step;
  return stored;
}

void ShardStore::FillInitial(const RowKey& key, char* row) const {
  const Table& table = *tables_[key.table];
  *HeaderOf(row) = RowHeader{};
  if (table.shape.precision == RowPrecision::kF32) {
    FillInitialRow(table.options, table.initial_key, key.id, FloatsOf(row));
    return;
  }
  thread_local std::vector<float> floats;
  floats.resize(static_cast<size_t>(table.shape.num_floats()));
  FillInitialRow(table.options, table.initial_key, key.id, floats.data());
  StoreRowNearest(table.shape, floats.data(), row);
}

absl::StatusOr<StoredRow> ShardStore::Get(uint32_t table, FeatureId id) {
  std::shared_lock<std::shared_mutex> state(state_mutex_);
  PAGODA_RETURN_IF_ERROR(CheckTableIndex(table));
  const RowKey key = RowKey::Of(table, id);
  std::vector<RowHeader> buffer(tables_[table]->shape.row_bytes() / sizeof(RowHeader) + 1);
  char* row = reinterpret_cast<char*>(buffer.data());
  bool found = memory_->CopyRow(table, id, row) && HeaderOf(row)->sequence > 0;
  auto decode = [&](size_t, absl::string_view value) {
    found = !value.empty();
    return found ? DecodeValue(key, value, row) : absl::OkStatus();
  };
  if (!found) PAGODA_RETURN_IF_ERROR(rocks_->Read({&key, 1}, decode));
  if (found) return ToStoredRow(key, row);
  return absl::NotFoundError(absl::StrCat("table \"", tables_[table]->options.name,
                                          "\" has no row ", id, ": it was never pushed"));
}

// Merges the dirty rows of memory over what is on disk; clean rows are the same in
// both. Pushes and flushes wait meanwhile.
absl::Status ShardStore::VisitRows(const VisitRow& visit) {
  std::lock_guard<std::mutex> push(push_mutex_);
  std::lock_guard<std::mutex> flush(flush_mutex_);
  const std::vector<RowKey> dirty = memory_->CollectDirty(0, kNumBuckets);
  size_t row_bytes = sizeof(RowHeader);
  for (const auto& table : tables_) row_bytes = std::max(row_bytes, table->shape.row_bytes());
  std::vector<RowHeader> buffer(row_bytes / sizeof(RowHeader) + 1);
  char* row = reinterpret_cast<char*>(buffer.data());
  size_t next = 0;
  bool more = true;
  auto visit_dirty = [&] {
    const RowKey& key = dirty[next++];
    PAGODA_CHECK(memory_->CopyRow(key.table, key.id, row));
    more = visit(key, row);
  };
  auto visit_disk = [&](const RowKey& key, absl::string_view value) -> absl::StatusOr<bool> {
    while (more && next < dirty.size() && dirty[next] < key) visit_dirty();
    if (!more) return false;
    if (next < dirty.size() && dirty[next] == key) {
      visit_dirty();
      return more;
    }
    PAGODA_RETURN_IF_ERROR(DecodeValue(key, value, row));
    more = visit(key, row);
    return more;
  };
  PAGODA_RETURN_IF_ERROR(rocks_->Scan(visit_disk));
  while (more && next < dirty.size()) visit_dirty();
  return absl::OkStatus();
}

absl::Status ShardStore::Scan(const std::function<bool(uint32_t, const StoredRow&)>& visit) {
  std::shared_lock<std::shared_mutex> state(state_mutex_);
  PAGODA_RETURN_IF_ERROR(closed_);
  return VisitRows(
      [&](const RowKey& key, const char* row) { return visit(key.table, ToStoredRow(key, row)); });
}

absl::StatusOr<uint64_t> ShardStore::ContentHash() {
  std::shared_lock<std::shared_mutex> state(state_mutex_);
  PAGODA_RETURN_IF_ERROR(closed_);
  uint64_t sum = 0;
  std::string bytes;
  PAGODA_RETURN_IF_ERROR(VisitRows([&](const RowKey& key, const char* row) {
    const Table& table = *tables_[key.table];
    const int64_t last_step = HeaderOf(row)->last_step;
    bytes.clear();
    bytes.append(reinterpret_cast<const char*>(&table.name_hash), sizeof(table.name_hash));
    bytes.append(reinterpret_cast<const char*>(&key.id), sizeof(key.id));
    bytes.append(reinterpret_cast<const char*>(&last_step), sizeof(last_step));
    bytes.append(row + sizeof(RowHeader), table.shape.row_bytes() - sizeof(RowHeader));
    sum += HashBytes(bytes);
    return true;
  }));
  return sum;
}

}  // namespace pagoda
