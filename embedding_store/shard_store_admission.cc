// Admission in the store (admission.h), and the state of tables that is not in rows
// (table_state.h).
//
// A push decides under push_mutex_, before it is logged: rows that do not exist and are
// refused leave the batch, and stand in its record as refused. Once the record is in the
// log they are counted, all of a push under admission_mutex_ at once. A flush copies pages
// and counters, each with the sequence that it holds, under the same mutex; so a copy has
// all of a push or nothing, and replay counts again only what a copy lacks.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "embedding_store/shard_store.h"

namespace pagoda {

absl::Status ShardStore::CheckAdmissionRoom(const TableOptions& options) const {
  if (options_.read_only) return absl::OkStatus();
  const int64_t bytes = AdmissionBytes(options.admission);
  int64_t taken = 0;
  for (const auto& table : tables_) taken += AdmissionBytes(table->options.admission);
  const int64_t free = memory_->budget_bytes() - memory_->used_bytes();
  if (taken + bytes <= memory_->budget_bytes() / 2 && bytes <= free) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "table \"", options.name, "\": the counters of its admission take ", bytes,
      " bytes; those of other tables have ", taken, ", together they may have half of the ",
      memory_->budget_bytes(), " bytes for rows, of which ", free,
      " are free: give the store more memory, or set a smaller admission.sketch_mib"));
}

absl::Status ShardStore::AddAdmission(Table* table) const {
  const AdmissionOptions& options = table->options.admission;
  if (options.kind == AdmissionKind::kNone) return absl::OkStatus();
  PAGODA_RETURN_IF_ERROR(CheckAdmissionRoom(table->options));
  if (!options_.read_only) PAGODA_CHECK(memory_->Reserve(AdmissionBytes(options)));
  table->admission =
      std::make_unique<TableAdmission>(options, table->initial_key, !options_.read_only);
  return absl::OkStatus();
}

std::vector<uint8_t> ShardStore::FindRefused(const PushRecord& record) {
  std::vector<uint8_t> refused;
  bool any = false;
  for (const PushRecord::Table& t : record.tables) any |= tables_[t.table]->admission != nullptr;
  if (!any) return refused;
  any = false;
  refused.resize(push_batch_.size());
  std::vector<size_t> next(memory_->num_partitions());
  size_t i = 0;
  for (const PushRecord::Table& t : record.tables) {
    const TableAdmission* const admission = tables_[t.table]->admission.get();
    for (const FeatureId id : t.ids) {
      // Within a partition requests are in the order of the push.
      const size_t p = memory_->PartitionOf(id);
      const RowRequest& request = push_batch_.partition(p)[next[p]++];
      const bool refuses = admission != nullptr && HeaderOf(request.row)->sequence == 0 &&
                           !admission->Admits(id, record.step);
      refused[i++] = refuses ? 1 : 0;
      any |= refuses;
    }
  }
  return any ? refused : std::vector<uint8_t>();
}

absl::Status ShardStore::RefuseRows(PushRecord* record, std::vector<RowSource>* sources) {
  const std::vector<uint8_t> refused = FindRefused(*record);
  if (refused.empty()) return absl::OkStatus();
  const size_t missed = missed_rows_;
  UnpinRows(push_batch_);
  admitted_.assign(record->tables.size(), AdmittedRows());
  size_t at = 0;
  for (size_t t = 0; t < record->tables.size(); ++t) {
    PushRecord::Table& table = record->tables[t];
    AdmittedRows& kept = admitted_[t];
    size_t first = 0;  // The table's first part in the push has the refused ids of all.
    while (record->tables[first].table != table.table) ++first;
    for (size_t i = 0; i < table.ids.size(); ++i) {
      if (refused[at++] != 0) {
        admitted_[first].refused.push_back(table.ids[i]);
        continue;
      }
      const auto gradient = table.gradients.begin() + static_cast<ptrdiff_t>(i * table.dim);
      kept.ids.push_back(table.ids[i]);
      kept.gradients.insert(kept.gradients.end(), gradient, gradient + table.dim);
    }
  }
  for (size_t t = 0; t < record->tables.size(); ++t) {
    record->tables[t].ids = admitted_[t].ids;
    record->tables[t].gradients = admitted_[t].gradients;
    record->tables[t].refused = admitted_[t].refused;
    (*sources)[t].ids = admitted_[t].ids;
    (*sources)[t].gradients = admitted_[t].gradients.data();
  }
  memory_->Group(*sources, &push_batch_);
  PAGODA_RETURN_IF_ERROR(PinRows(push_batch_, push_batch_.size()));
  missed_rows_ += missed;
  return absl::OkStatus();
}

void ShardStore::NoteRefused(const PushRecord& record) {
  std::lock_guard<std::mutex> lock(admission_mutex_);
  for (const PushRecord::Table& t : record.tables) {
    Table& table = *tables_[t.table];
    TableCounters& counters = table.counters;
    counters.newest_step = std::max(counters.newest_step, static_cast<uint64_t>(record.step));
    if (t.refused.empty()) continue;
    if (table.admission != nullptr) {
      table.admission->CountRefused(t.refused, record.step, record.sequence);
    }
    if (record.sequence <= table.counters_loaded) continue;
    counters.refused += t.refused.size();
    counters.sequence = record.sequence;
  }
}

absl::Status ShardStore::WriteStates(RocksTier::RunWriter* run, RocksMeta* meta,
                                     WrittenStates* written) {
  for (uint32_t t = 0; t < tables_.size(); ++t) {
    Table& table = *tables_[t];
    CountMinSketch* const sketch = table.admission != nullptr ? table.admission->sketch() : nullptr;
    std::vector<uint32_t> pages;
    {
      std::lock_guard<std::mutex> lock(admission_mutex_);
      written->counters.push_back(table.counters);
      if (sketch != nullptr) pages = sketch->TakeChanged();
    }
    for (const uint32_t page : pages) written->pages.emplace_back(t, page);
    const TableCounters& counters = written->counters.back();
    meta->highest_sequence = std::max(meta->highest_sequence, counters.sequence);
    if (counters != table.counters_on_disk) {
      PAGODA_RETURN_IF_ERROR(run->AddState(t, kCountersPart, EncodeTableCounters(counters)));
    }
    for (const uint32_t page : pages) {
      std::string bytes;
      {
        std::lock_guard<std::mutex> lock(admission_mutex_);
        bytes = sketch->EncodePage(page);
        meta->highest_sequence = std::max(meta->highest_sequence, sketch->PageSequence(page));
      }
      PAGODA_RETURN_IF_ERROR(run->AddState(t, kFirstSketchPart + page, bytes));
    }
  }
  return absl::OkStatus();
}

void ShardStore::FinishStates(const WrittenStates& written, bool committed) {
  if (committed) {
    for (size_t t = 0; t < written.counters.size(); ++t) {
      tables_[t]->counters_on_disk = written.counters[t];
    }
    return;
  }
  std::lock_guard<std::mutex> lock(admission_mutex_);
  for (const auto& [t, page] : written.pages) tables_[t]->admission->sketch()->MarkChanged(page);
}

absl::Status ShardStore::LoadStates() {
  return rocks_->ScanStates(0, kTablesMax, [&](uint32_t t, uint32_t part, absl::string_view bytes) {
    const auto checked = [&](const absl::Status& status) {
      return status.ok() ? status
                         : WithContext(status, absl::StrCat(directory_->rocksdb_path(),
                                                            ": the state of table ", t));
    };
    if (t >= tables_.size()) {
      return checked(absl::DataLossError("the registry has no such table"));
    }
    Table& table = *tables_[t];
    if (part == kCountersPart) {
      const absl::Status decoded = DecodeTableCounters(bytes, &table.counters);
      table.counters_loaded = table.counters.sequence;
      table.counters_on_disk = table.counters;
      return checked(decoded);
    }
    if (table.options.admission.kind != AdmissionKind::kFrequency) {
      return checked(absl::DataLossError("it has admission counters, but no such admission"));
    }
    CountMinSketch* const sketch = table.admission->sketch();
    if (sketch == nullptr) return absl::OkStatus();  // Opened only to read.
    return checked(sketch->DecodePage(part - kFirstSketchPart, bytes));
  });
}

}  // namespace pagoda
