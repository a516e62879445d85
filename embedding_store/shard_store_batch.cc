// Pulls and pushes: the paths that carry batches of rows.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "embedding_store/shard_store.h"
#include "embedding_store/sparse_optimizer.h"

namespace pagoda {
namespace {

// Keys one thread reads from RocksDB at a time: as many as their rows fill a cache of
// the processor with, within these limits.
constexpr size_t kLoadPartMin = 32;
constexpr size_t kLoadPartMax = 512;
constexpr size_t kLoadPartBytes = size_t{256} << 10;

constexpr size_t kFinitePart = size_t{1} << 16;  // Gradient values one thread looks at.

// A push may be waiting for room only so often: each round writes out every dirty
// row, so a second one without progress proves that the push is too large.
constexpr int kRoomRounds = 4;

// What a push adds to the log at most, with the header of a new segment.
int64_t RecordBytesMax(std::span<const StorePush> pushes) {
  constexpr int64_t kFixedBytes = 40 + 40 + 16 + 24;
  constexpr int64_t kTableBytes = 24 + 8;
  int64_t bytes = kFixedBytes;
  for (const StorePush& push : pushes) {
    bytes +=
        kTableBytes + static_cast<int64_t>(push.ids.size_bytes() + push.gradients.size_bytes());
  }
  return bytes;
}

}  // namespace

absl::Status ShardStore::Pull(std::span<const StorePull> pulls) {
  std::shared_lock<std::shared_mutex> state(state_mutex_);
  std::vector<RowSource> sources;
  sources.reserve(pulls.size());
  PAGODA_RETURN_IF_ERROR(closed_);
  for (const StorePull& pull : pulls) {
    PAGODA_RETURN_IF_ERROR(CheckTableIndex(pull.table));
    if (pull.ids.empty()) continue;
    sources.push_back({pull.table, tables_[pull.table]->shape.dim, pull.ids, pull.weights,
                       /*gradients=*/nullptr, pull.statistics});
    tables_[pull.table]->pulled += pull.ids.size();
  }
  thread_local RowBatch batch;
  GroupRows(sources, &batch);
  std::vector<std::vector<RowMiss>> misses_of(memory_->num_partitions());
  const std::vector<const RowCatchUp*> catch_ups = CatchUps(sources);
  ForEach(memory_->num_partitions(), batch.size(), [&, &b = batch](size_t p) {
    std::shared_lock<std::shared_mutex> steps(steps_mutex_, std::defer_lock);
    if (!catch_ups.empty()) steps.lock();
    memory_->Read(b, p, &misses_of[p], catch_ups);
  });
  if (!KeepsBatch(batch)) batch = RowBatch();
  std::vector<RowMiss> misses;
  for (const std::vector<RowMiss>& part : misses_of) {
    misses.insert(misses.end(), part.begin(), part.end());
  }
  return misses.empty() ? absl::OkStatus() : PullMisses(misses);
}

absl::Status ShardStore::PullMisses(std::vector<RowMiss>& misses) {
  std::vector<std::pair<RowKey, size_t>> wanted;
  wanted.reserve(misses.size());
  for (size_t i = 0; i < misses.size(); ++i) {
    wanted.emplace_back(RowKey::Of(misses[i].request.table, misses[i].request.id), i);
    ++tables_[misses[i].request.table]->missed;
  }
  const LoadPlan plan = PlanLoad(&wanted);
  return Load(plan, [&](std::span<const LoadedRow> rows) {
    std::vector<ReadRow> reads;
    reads.reserve(rows.size());
    for (const LoadedRow& loaded : rows) {
      reads.push_back({&misses[loaded.items[0]], loaded.row, loaded.on_disk});
    }
    memory_->Cache(reads);
    for (const LoadedRow& loaded : rows) {
      for (const size_t item : loaded.items) {
        const RowRequest& request = misses[item].request;
        if (request.statistics != nullptr) CopyStatistics(loaded.row, request.statistics);
        if (tables_[request.table]->catch_up != nullptr) {
          ReadCaughtUp(request.table, loaded.row, request.weights);
          continue;
        }
        const RowShape& shape = tables_[request.table]->shape;
        LoadWeights(shape.precision, WeightsOf(loaded.row), shape.dim, request.weights);
      }
    }
    return absl::OkStatus();
  });
}

void ShardStore::GroupRows(std::span<const RowSource> sources, RowBatch* batch) const {
  size_t rows = 0;
  for (const RowSource& source : sources) rows += source.ids.size();
  memory_->Group(sources, batch, [&](size_t count, const std::function<void(size_t)>& body) {
    ForEach(count, rows, body);
  });
}

absl::Status ShardStore::CheckGradients(std::span<const StorePush> pushes) const {
  for (const StorePush& push : pushes) {
    const std::span<const float> gradients = push.gradients;
    std::atomic<bool> finite{true};
    const size_t parts = (gradients.size() + kFinitePart - 1) / kFinitePart;
    ForEach(parts, push.ids.size(), [&](size_t part) {
      const size_t begin = part * kFinitePart;
      const size_t count = std::min(kFinitePart, gradients.size() - begin);
      if (!GradientsAreFinite(gradients.subspan(begin, count))) finite.store(false);
    });
    if (finite.load()) continue;
    const Table& table = *tables_[push.table];
    const auto dim = static_cast<size_t>(table.shape.dim);
    size_t bad = 0;
    while (std::isfinite(gradients[bad])) ++bad;
    return absl::InvalidArgumentError(absl::StrCat(
        "table \"", table.options.name, "\", id ", push.ids[bad / dim], ": gradient column ",
        bad % dim, " is ", gradients[bad], ", which is not finite"));
  }
  return absl::OkStatus();
}

absl::Status ShardStore::CheckPush(std::span<const StorePush> pushes, Step step,
                                   float learning_rate_factor) const {
  if (options_.read_only) {
    return absl::FailedPreconditionError(absl::StrCat(options_.path, " is open read-only"));
  }
  if (!(std::isfinite(learning_rate_factor) && learning_rate_factor >= 0.0f)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the learning rate factor is ", learning_rate_factor, ", but must be finite and >= 0"));
  }
  if (step < 0 || step > kStepMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("step ", step, " is not in [0, ", kStepMax, "]"));
  }
  for (const StorePush& push : pushes) {
    PAGODA_RETURN_IF_ERROR(CheckTableIndex(push.table));
    const Table& table = *tables_[push.table];
    const auto dim = static_cast<size_t>(table.shape.dim);
    if (table.options.frozen) {
      return absl::FailedPreconditionError(
          absl::StrCat("table \"", table.options.name, "\" is frozen: it takes no pushes"));
    }
    if (push.gradients.size() != push.ids.size() * dim) {
      return absl::InvalidArgumentError(absl::StrCat(
          "table \"", table.options.name, "\": ", push.ids.size(), " ids of dim ", dim, " need ",
          push.ids.size() * dim, " gradient values, but there are ", push.gradients.size()));
    }
  }
  return CheckExactPush(pushes, step, learning_rate_factor);
}

absl::Status ShardStore::Push(std::span<const StorePush> pushes, Step step,
                              float learning_rate_factor) {
  return PushFrom(PushOrigin{}, pushes, step, learning_rate_factor);
}

absl::Status ShardStore::PushOnce(const PushOrigin& origin, std::span<const StorePush> pushes,
                                  Step step, float learning_rate_factor) {
  if (origin.sequence == 0) {
    return absl::InvalidArgumentError("the sequences of a client's pushes start at 1");
  }
  return PushFrom(origin, pushes, step, learning_rate_factor);
}

absl::Status ShardStore::PushFrom(const PushOrigin& origin, std::span<const StorePush> pushes,
                                  Step step, float learning_rate_factor) {
  std::shared_lock<std::shared_mutex> state(state_mutex_);
  PAGODA_RETURN_IF_ERROR(closed_);
  PAGODA_RETURN_IF_ERROR(CheckPush(pushes, step, learning_rate_factor));
  uint64_t sequence = 0;
  PAGODA_RETURN_IF_ERROR(LogAndApply(origin, pushes, step, learning_rate_factor, &sequence));
  return options_.durability == Durability::kMachine ? log_->Sync(sequence) : absl::OkStatus();
}

absl::Status ShardStore::LogAndApply(const PushOrigin& origin, std::span<const StorePush> pushes,
                                     Step step, float learning_rate_factor, uint64_t* sequence) {
  std::lock_guard<std::mutex> push(push_mutex_);
  if (origin.sequence != 0 && !options_.faults.forget_clients) {
    std::lock_guard<std::mutex> windows(windows_mutex_);
    PAGODA_ASSIGN_OR_RETURN(const bool applied, windows_.WasApplied(origin));
    *sequence = sequence_.load();  // The first one may still be on its way to the disk.
    if (applied) return absl::OkStatus();
  }
  const int64_t record_bytes =
      options_.durability == Durability::kNone ? 0 : RecordBytesMax(pushes);
  if (record_bytes > options_.log_bytes_max) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a push takes ", record_bytes, " bytes of log, more than StoreOptions.log_bytes_max (",
        options_.log_bytes_max, ")"));
  }
  PAGODA_RETURN_IF_ERROR(FlushIfOverdue(record_bytes));
  PAGODA_RETURN_IF_ERROR(CheckDiskBudget(record_bytes));

  const auto begin = std::chrono::steady_clock::now();
  const int64_t unwritten = memory_->unwritten_bytes();
  PushRecord record;
  record.sequence = sequence_.load() + 1;
  record.origin = origin;
  record.step = step;
  record.learning_rate_factor = learning_rate_factor;
  std::vector<RowSource> sources;
  for (const StorePush& p : pushes) {
    // An exact table takes the step also where nothing is pushed to.
    if (p.ids.empty() && tables_[p.table]->catch_up == nullptr) continue;
    const Table& table = *tables_[p.table];
    record.tables.push_back({p.table, static_cast<uint32_t>(table.shape.dim),
                             LearningRateAt(table.options.optimizer, step), p.ids, p.gradients});
    sources.push_back({p.table, table.shape.dim, p.ids, nullptr, p.gradients.data()});
  }
  GroupRows(sources, &push_batch_);
  PAGODA_RETURN_IF_ERROR(PinRows(push_batch_, push_batch_.size()));
  // The last check, because it leaves the gradients in the processor's cache: log and
  // update read them next.
  if (absl::Status good = CheckGradients(pushes); !good.ok()) {
    UnpinRows(push_batch_);
    return good;
  }
  PAGODA_RETURN_IF_ERROR(RefuseRows(&record, &sources));
  if (options_.durability != Durability::kNone) {
    const absl::Status logged = log_->Append(record);
    if (!logged.ok()) {
      UnpinRows(push_batch_);
      return logged;
    }
  }
  ApplyRows(push_batch_, record);
  AdvanceSteps(record);
  NoteRefused(record);
  NoteApplied(record);
  *sequence = record.sequence;
  NoteReplayCost(begin, unwritten);
  if (!KeepsBatch(push_batch_)) push_batch_ = RowBatch();
  admitted_.clear();
  if (FlushIsDue()) WakeFlusher();
  return absl::OkStatus();
}

void ShardStore::NoteApplied(const PushRecord& record) {
  for (const PushRecord::Table& table : record.tables) {
    tables_[table.table]->pushed += table.ids.size();
  }
  std::lock_guard<std::mutex> windows(windows_mutex_);
  if (record.origin.sequence != 0) windows_.Record(record.origin, record.sequence);
  sequence_.store(record.sequence);
}

void ShardStore::NoteReplayCost(std::chrono::steady_clock::time_point begin,
                                int64_t unwritten_before) {
  int64_t row_bytes = 0;
  for (size_t p = 0; row_bytes == 0 && p < memory_->num_partitions(); ++p) {
    // One row stands for all: tables of one push are much alike.
    const std::span<const RowRequest> requests = push_batch_.partition(p);
    if (!requests.empty()) {
      row_bytes = static_cast<int64_t>(tables_[requests[0].table]->shape.row_bytes());
    }
  }
  const auto missed = static_cast<int64_t>(missed_rows_);
  const int64_t dirtied = memory_->unwritten_bytes() - unwritten_before;
  const int64_t clean = row_bytes == 0 ? 0 : std::max<int64_t>(0, dirtied / row_bytes - missed);
  const auto took = std::chrono::steady_clock::now() - begin;
  replay_ns_ += std::chrono::nanoseconds(took).count() +
                std::min(clean, static_cast<int64_t>(push_batch_.size())) * load_ns_.load();
}

absl::Status ShardStore::Replay(const PushRecord& record) {
  const auto begin = std::chrono::steady_clock::now();
  const int64_t unwritten = memory_->unwritten_bytes();
  std::vector<RowSource> sources;
  for (const PushRecord::Table& t : record.tables) {
    if (t.table >= tables_.size() || t.dim != tables_[t.table]->shape.dim) {
      return absl::DataLossError(absl::StrCat("record ", record.sequence, " has table ", t.table,
                                              " of dim ", t.dim, ", which the registry lacks"));
    }
    sources.push_back({t.table, t.dim, t.ids, nullptr, t.gradients.data()});
  }
  if (!options_.read_only) PAGODA_RETURN_IF_ERROR(FlushIfOverdue(0));
  GroupRows(sources, &push_batch_);
  PAGODA_RETURN_IF_ERROR(PinRows(push_batch_, push_batch_.size()));
  for (size_t p = 0; options_.faults.apply_twice && p < memory_->num_partitions(); ++p) {
    for (RowRequest& request : push_batch_.partition(p)) {
      HeaderOf(request.row)->sequence =
          std::min(HeaderOf(request.row)->sequence, record.sequence - 1);
    }
  }
  ApplyRows(push_batch_, record);
  AdvanceSteps(record);
  NoteRefused(record);
  NoteApplied(record);
  NoteReplayCost(begin, unwritten);
  return absl::OkStatus();
}

absl::Status ShardStore::PinRows(RowBatch& batch, size_t rows) {
  const size_t partitions = memory_->num_partitions();
  std::vector<std::vector<RowRequest*>> misses_of(partitions);
  std::vector<const RowRequest*> twice_of(partitions);
  ForEach(partitions, rows,
          [&](size_t p) { twice_of[p] = memory_->PinFound(batch, p, &misses_of[p]); });
  std::vector<RowRequest*> misses;
  absl::Status status;
  missed_rows_ = 0;
  for (size_t p = 0; p < partitions; ++p) {
    missed_rows_ += misses_of[p].size();
    misses.insert(misses.end(), misses_of[p].begin(), misses_of[p].end());
    if (twice_of[p] == nullptr || !status.ok()) continue;
    status = absl::InvalidArgumentError(
        absl::StrCat("table \"", tables_[twice_of[p]->table]->options.name, "\": id ",
                     twice_of[p]->id, " comes twice in one push"));
  }
  for (int round = 0; status.ok() && !misses.empty(); ++round) {
    const size_t before = misses.size();
    status = LoadAndPin(&misses);
    if (!status.ok() || misses.empty()) break;
    const bool stuck = round > 0 && misses.size() == before;
    if (stuck || round >= kRoomRounds || options_.read_only) {
      status = absl::ResourceExhaustedError(
          absl::StrCat("the memory tier of ", memory_->budget_bytes(), " bytes has no room for ",
                       misses.size(), " of the ", rows, " rows of one push"));
    } else {
      status = Flush();
    }
  }
  if (!status.ok()) UnpinRows(batch);
  return status;
}

absl::Status ShardStore::LoadAndPin(std::vector<RowRequest*>* misses) {
  std::vector<std::pair<RowKey, size_t>> wanted;
  wanted.reserve(misses->size());
  for (size_t i = 0; i < misses->size(); ++i) {
    wanted.emplace_back(RowKey::Of((*misses)[i]->table, (*misses)[i]->id), i);
  }
  const LoadPlan plan = PlanLoad(&wanted);
  std::mutex left_mutex;
  std::vector<RowRequest*> left;
  auto pin = [&](std::span<const LoadedRow> rows) -> absl::Status {
    for (const LoadedRow& loaded : rows) {
      RowRequest* request = (*misses)[loaded.items[0]];
      const auto added = loaded.items.size() > 1
                             ? MemoryTier::Added::kTwice
                             : memory_->AddPinned(request, loaded.row, loaded.on_disk);
      if (added == MemoryTier::Added::kTwice) {
        return absl::InvalidArgumentError(
            absl::StrCat("table \"", tables_[request->table]->options.name, "\": id ", request->id,
                         " comes twice in one push"));
      }
      if (added == MemoryTier::Added::kPinned) continue;
      std::lock_guard<std::mutex> lock(left_mutex);
      left.push_back(request);
    }
    return absl::OkStatus();
  };
  PAGODA_RETURN_IF_ERROR(Load(plan, pin));
  *misses = std::move(left);
  return absl::OkStatus();
}

void ShardStore::UnpinRows(RowBatch& batch) {
  for (size_t p = 0; p < memory_->num_partitions(); ++p) memory_->Unpin(batch, p);
}

void ShardStore::ApplyRows(RowBatch& batch, const PushRecord& record) {
  std::vector<TableUpdate> updates(tables_.size());
  for (const PushRecord::Table& t : record.tables) {
    Table& table = *tables_[t.table];
    TableUpdate& update = updates[t.table];
    update.kind = table.options.optimizer.kind;
    update.catch_up = table.catch_up.get();
    const Step step = update.catch_up != nullptr ? update.catch_up->step() + 1 : record.step;
    update.settings = MakeRowUpdateSettings(table.options.optimizer, t.learning_rate,
                                            record.learning_rate_factor, step);
    update.dim = table.shape.dim;
    update.rounding = table.rounding_key;
    update.rows = &table.rows;
  }
  // Those pinned last first: most of their slots are still in the processor's cache.
  const size_t last = memory_->num_partitions() - 1;
  ForEach(memory_->num_partitions(), batch.size(), [&](size_t p) {
    memory_->Apply(batch, last - p, record.sequence, record.step, updates);
  });
}

LoadPlan ShardStore::PlanLoad(std::vector<std::pair<RowKey, size_t>>* wanted) {
  const auto order = [](const RowKey& key) { return uint64_t{key.bucket} << 32 | key.table; };
  std::sort(wanted->begin(), wanted->end(), [&](const auto& a, const auto& b) {
    const uint64_t order_a = order(a.first);
    const uint64_t order_b = order(b.first);
    return order_a != order_b ? order_a < order_b : a.first.id < b.first.id;
  });
  LoadPlan plan;
  plan.keys.reserve(wanted->size());
  plan.items.reserve(wanted->size());
  for (const auto& [key, item] : *wanted) {
    if (plan.keys.empty() || plan.keys.back() != key) {
      plan.keys.push_back(key);
      plan.begin.push_back(plan.items.size());
    }
    plan.items.push_back(item);
  }
  plan.begin.push_back(plan.items.size());
  return plan;
}

absl::Status ShardStore::Load(const LoadPlan& plan, const OnLoaded& on_loaded) {
  size_t row_bytes = sizeof(RowHeader);
  for (const RowKey& key : plan.keys) {
    row_bytes = std::max(row_bytes, tables_[key.table]->shape.row_bytes());
  }
  // Rounded up as rows in memory are, which may be copied here.
  row_bytes = (row_bytes + sizeof(RowHeader) - 1) / sizeof(RowHeader) * sizeof(RowHeader);
  const size_t part_keys = std::clamp(kLoadPartBytes / row_bytes, kLoadPartMin, kLoadPartMax);
  const size_t parts = (plan.keys.size() + part_keys - 1) / part_keys;
  std::vector<absl::Status> statuses(parts);
  const auto load_begin = std::chrono::steady_clock::now();
  ForEach(parts, plan.keys.size(), [&](size_t part) {
    const size_t begin = part * part_keys;
    const size_t end = std::min(begin + part_keys, plan.keys.size());
    statuses[part] = LoadPart(plan, begin, end, row_bytes, on_loaded);
  });
  for (const absl::Status& status : statuses) PAGODA_RETURN_IF_ERROR(status);
  if (plan.keys.size() >= kLoadPartMax) {
    const std::chrono::nanoseconds took = std::chrono::steady_clock::now() - load_begin;
    const int64_t now = took.count() / static_cast<int64_t>(plan.keys.size());
    load_ns_.store((7 * load_ns_.load() + now) / 8);
  }
  return absl::OkStatus();
}

absl::Status ShardStore::LoadPart(const LoadPlan& plan, size_t begin, size_t end, size_t row_bytes,
                                  const OnLoaded& on_loaded) {
  // Read after the misses were found: a row that existed then is counted here.
  const RocksMeta meta = rocks_->meta();
  const auto buffer =
      std::make_unique_for_overwrite<RowHeader[]>((end - begin) * row_bytes / sizeof(RowHeader));
  std::vector<LoadedRow> rows(end - begin);
  std::vector<RowKey> on_disk_keys;
  std::vector<size_t> places;
  on_disk_keys.reserve(end - begin);
  places.reserve(end - begin);
  for (size_t i = begin; i < end; ++i) {
    const RowKey& key = plan.keys[i];
    LoadedRow& loaded = rows[i - begin];
    loaded.items = std::span<const size_t>(plan.items.data() + plan.begin[i],
                                           plan.begin[i + 1] - plan.begin[i]);
    loaded.row = reinterpret_cast<char*>(buffer.get()) + (i - begin) * row_bytes;
    if (key.table < meta.rows.size() && meta.rows[key.table] > 0) {
      on_disk_keys.push_back(key);
      places.push_back(i - begin);
    } else {
      FillInitial(key, loaded.row);
    }
  }
  auto take = [&](size_t k, absl::string_view value) -> absl::Status {
    LoadedRow& loaded = rows[places[k]];
    loaded.on_disk = !value.empty();
    if (loaded.on_disk) return DecodeValue(on_disk_keys[k], value, loaded.row);
    FillInitial(on_disk_keys[k], loaded.row);
    return absl::OkStatus();
  };
  PAGODA_RETURN_IF_ERROR(rocks_->Read(on_disk_keys, take));
  return on_loaded(rows);
}

absl::Status ShardStore::DecodeValue(const RowKey& key, absl::string_view value, char* row) const {
  auto damaged = [&](const std::string& what) {
    return absl::DataLossError(absl::StrCat(directory_->rocksdb_path(), ": table ", key.table,
                                            ", row ", key.id, ": ", what));
  };
  if (key.table >= tables_.size()) return damaged("the registry has no such table");
  const char* wrong = DecodeRowValue(tables_[key.table]->shape, value, row);
  return wrong == nullptr ? absl::OkStatus() : damaged(wrong);
}

}  // namespace pagoda
