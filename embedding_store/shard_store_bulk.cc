// Bulk loads: rows that come sorted past log, memtable and memory tier.
//
// A load has a sequence of its own, like a push. First the input is read and checked
// beside everything else; then, while pushes and flushes wait, what was pushed so far is
// flushed, which empties the log, and the rows are written and added together with the
// sequence in one atomic step. So the log never holds anything older than the rows, and
// what it holds later is newer: nothing of a load has to be logged, and replay needs to
// know nothing of it.
#include <cstring>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/finite.h"
#include "base/status_macros.h"
#include "embedding_store/bulk_sorter.h"
#include "embedding_store/shard_store.h"
#include "embedding_store/sparse_optimizer.h"

namespace pagoda {
namespace {

// Of StoreOptions::memory_bytes; the rest of what a flush may use is for the files' index.
constexpr int64_t kSorterShare = 16;

constexpr size_t kLookupKeys = 4096;  // Asked of RocksDB at a time: are they stored?

absl::Status NotFinite(const TableOptions& table, const RowsToLoad& rows,
                       std::span<const float> values, const char* what) {
  size_t bad = 0;
  while (AllFinite(values.subspan(bad, 1))) ++bad;
  const size_t columns = values.size() / rows.ids.size();
  return absl::InvalidArgumentError(
      absl::StrCat("table \"", table.name, "\", id ", rows.ids[bad / columns], ": ", what,
                   " column ", bad % columns, " is ", values[bad], ", which is not finite"));
}

absl::Status CheckRows(const TableOptions& table, const RowShape& shape, const RowsToLoad& rows) {
  const size_t n = rows.ids.size();
  const auto wrong_size = [&](const char* what, size_t columns, size_t have) {
    return absl::InvalidArgumentError(absl::StrCat("table \"", table.name, "\": ", n, " ids with ",
                                                   columns, " ", what, " each need ", n * columns,
                                                   " values, but there are ", have));
  };
  const auto dim = static_cast<size_t>(shape.dim);
  const auto slot_dim = static_cast<size_t>(shape.slot_dim);
  if (rows.weights.size() != n * dim) return wrong_size("weights", dim, rows.weights.size());
  if (!rows.slots.empty() && rows.slots.size() != n * slot_dim) {
    return wrong_size("slots", slot_dim, rows.slots.size());
  }
  if (IsFtrl(table.optimizer.kind) && rows.slots.empty() && !table.frozen) {
    return absl::InvalidArgumentError(absl::StrCat(
        "table \"", table.name, "\": rows of ", SparseOptimizerName(table.optimizer.kind),
        " are loaded with their slots, which its weights are made of"));
  }
  if (!AllFinite(rows.weights)) return NotFinite(table, rows, rows.weights, "weight");
  if (!AllFinite(rows.slots)) return NotFinite(table, rows, rows.slots, "slot");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BulkLoadResult> ShardStore::BulkLoad(uint32_t table, Step step,
                                                    const NextRows& next) {
  std::shared_lock<std::shared_mutex> state(state_mutex_);
  PAGODA_RETURN_IF_ERROR(CheckTableIndex(table));
  if (options_.read_only) {
    return absl::FailedPreconditionError(absl::StrCat(options_.path, " is open read-only"));
  }
  if (step < 0 || step > kStepMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("step ", step, " is not in [0, ", kStepMax, "]"));
  }
  std::lock_guard<std::mutex> bulk(bulk_mutex_);
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<BulkSorter> sorter,
                          ReadRowsToLoad(*tables_[table], next));
  BulkLoadResult result;
  if (sorter == nullptr) return result;
  result.rows = sorter->rows();

  std::lock_guard<std::mutex> push(push_mutex_);
  std::lock_guard<std::mutex> flush(flush_mutex_);
  PAGODA_RETURN_IF_ERROR(FlushLocked());
  RocksMeta meta = rocks_->meta();
  const uint64_t sequence = sequence_.load() + 1;
  meta.flushed_sequence = meta.highest_sequence = sequence;
  meta.rows.resize(tables_.size());
  {
    // An exact table that has not been pushed to yet has none on disk.
    std::shared_lock<std::shared_mutex> steps(steps_mutex_);
    meta.steps = EncodeSteps(sequence);
  }
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<RocksTier::RunWriter> run, rocks_->NewRun());
  // As a row that was pushed to once: eviction by few updates is not for what was loaded.
  const RowHeader header{sequence, LoadedStep(*tables_[table], step), 1};
  PAGODA_ASSIGN_OR_RETURN(result.replaced, WriteLoadedRows(table, header, sorter.get(), run.get()));
  const uint64_t added = result.rows - result.replaced;
  meta.rows[table] += added;
  PAGODA_RETURN_IF_ERROR(run->Commit(meta));
  // After the commit: a pull that read an old row before it may not keep it.
  memory_->ForgetTable(table);
  tables_[table]->rows.fetch_add(static_cast<int64_t>(added));
  sequence_.store(sequence);
  return result;
}

absl::StatusOr<std::unique_ptr<BulkSorter>> ShardStore::ReadRowsToLoad(const Table& table,
                                                                       const NextRows& next) const {
  const auto dim = static_cast<size_t>(table.shape.dim);
  std::unique_ptr<BulkSorter> sorter;
  size_t slot_dim = 0;  // Of the slots that are given.
  for (;;) {
    PAGODA_ASSIGN_OR_RETURN(const RowsToLoad rows, next());
    const size_t n = rows.ids.size();
    if (n == 0) return sorter;
    PAGODA_RETURN_IF_ERROR(CheckRows(table.options, table.shape, rows));
    if (sorter == nullptr) {
      slot_dim = rows.slots.size() / n;
      BulkSorter::Options options;
      options.file_system = fs_;
      options.directory = directory_->flush_path();
      options.row_floats = dim + slot_dim;
      options.memory_bytes = options_.memory_bytes / kSorterShare;
      sorter = std::make_unique<BulkSorter>(options);
    }
    if (rows.slots.size() != n * slot_dim) {
      return absl::InvalidArgumentError(absl::StrCat(
          "table \"", table.options.name, "\": some rows of a load have slots and some have none"));
    }
    for (size_t i = 0; i < n; ++i) {
      PAGODA_ASSIGN_OR_RETURN(float* floats, sorter->Add(rows.ids[i]));
      std::memcpy(floats, rows.weights.data() + i * dim, dim * sizeof(float));
      if (slot_dim == 0) continue;
      std::memcpy(floats + dim, rows.slots.data() + i * slot_dim, slot_dim * sizeof(float));
    }
  }
}

uint32_t ShardStore::LoadedStep(const Table& table, Step step) const {
  // Rows of an exact table are as of the steps that it has taken.
  if (table.catch_up == nullptr) return static_cast<uint32_t>(step);
  std::shared_lock<std::shared_mutex> steps(steps_mutex_);
  return static_cast<uint32_t>(table.catch_up->step());
}

absl::StatusOr<uint64_t> ShardStore::CountStored(std::span<const RowKey> keys) const {
  uint64_t stored = 0;
  PAGODA_RETURN_IF_ERROR(rocks_->Read(keys, [&](size_t, absl::string_view value) {
    stored += value.empty() ? 0 : 1;
    return absl::OkStatus();
  }));
  return stored;
}

absl::StatusOr<uint64_t> ShardStore::WriteLoadedRows(uint32_t table, const RowHeader& header,
                                                     BulkSorter* sorter,
                                                     RocksTier::RunWriter* run) const {
  const RowShape& shape = tables_[table]->shape;
  const RocksMeta meta = rocks_->meta();
  // In a table without rows nothing can be replaced.
  const bool look_up = table < meta.rows.size() && meta.rows[table] > 0;
  // Rows without slots of their own get those of a new row, which stay in `floats`.
  std::vector<float> floats(static_cast<size_t>(shape.num_floats()));
  FillInitialSlots(tables_[table]->options, floats.data() + shape.dim);
  const size_t given = sorter->row_floats();
  std::vector<RowHeader> buffer(shape.row_bytes() / sizeof(RowHeader) + 2);
  std::vector<char> value(shape.value_bytes_max());
  char* row = reinterpret_cast<char*>(buffer.data());
  *HeaderOf(row) = header;
  std::vector<RowKey> keys;
  uint64_t replaced = 0;
  bool first = true;
  FeatureId last = 0;
  const bool counts_steps =
      tables_[table]->catch_up != nullptr && IsAdam(tables_[table]->options.optimizer.kind);
  const auto write = [&](FeatureId id, const float* values) -> absl::Status {
    if (!first && id == last) {
      return absl::InvalidArgumentError(absl::StrCat("table \"", tables_[table]->options.name,
                                                     "\": id ", id, " comes twice in one load"));
    }
    first = false;
    last = id;
    const RowKey key = RowKey::Of(table, id);
    std::memcpy(floats.data(), values, given * sizeof(float));
    // An exact table's row has taken all of its steps; the last slot counts them.
    if (counts_steps) floats.back() = static_cast<float>(header.last_step);
    StoreRowNearest(shape, floats.data(), row);
    if (shape.int8_on_disk) {
      RoundToInt8(FloatsOf(row), shape.dim,
                  RoundingKeyOf(tables_[table]->rounding_key, id, header.updates));
    }
    PAGODA_RETURN_IF_ERROR(run->Add(key, {value.data(), EncodeRowValue(shape, row, value.data())}));
    if (!look_up) return absl::OkStatus();
    keys.push_back(key);
    if (keys.size() < kLookupKeys) return absl::OkStatus();
    PAGODA_ASSIGN_OR_RETURN(const uint64_t stored, CountStored(keys));
    replaced += stored;
    keys.clear();
    return absl::OkStatus();
  };
  const auto run_parts = [&](size_t count, const std::function<void(size_t)>& body) {
    ForEach(count, static_cast<size_t>(sorter->rows()), body);
  };
  PAGODA_RETURN_IF_ERROR(sorter->Sort(run_parts, write));
  PAGODA_ASSIGN_OR_RETURN(const uint64_t stored, CountStored(keys));
  return replaced + stored;
}

}  // namespace pagoda
