#include "embedding_store/memory_tier.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/status_macros.h"
#include "embedding_store/sparse_optimizer.h"

namespace pagoda {
namespace {

// Enough partitions that a handful of threads seldom meet; few enough that each
// has slabs to spare.
constexpr size_t kPartitionsMax = 64;
constexpr int64_t kBytesPerPartition = int64_t{4} << 20;
constexpr int64_t kSlabBytesSmall = int64_t{64} << 10;
constexpr int64_t kSlabBytes = int64_t{256} << 10;

// How many requests ahead slots and rows are fetched: a miss to memory takes about
// 250 ns, a request 10 to 20.
constexpr size_t kSlotAhead = 24;
constexpr size_t kRowAhead = 12;
constexpr size_t kRing = 32;  // Power of two, above kSlotAhead.

// Rows handed to the optimizer together: their lines stay in the first-level cache.
constexpr size_t kUpdateBlock = 32;

template <bool kWrite>
void PrefetchLines(const char* from, size_t bytes) {
  for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch(from + at, kWrite ? 1 : 0);
  __builtin_prefetch(from + bytes - 1, kWrite ? 1 : 0);
}

// Weights as f32; memcpy with the common widths spelled out becomes vector moves.
void CopyWeights(const RowShape& shape, const char* from, float* to) {
  if (shape.precision != RowPrecision::kF32) {
    LoadWeights(shape.precision, from, shape.dim, to);
    return;
  }
  const size_t bytes = shape.weight_bytes();
  switch (bytes) {
    case 4: std::memcpy(to, from, 4); return;
    case 32: std::memcpy(to, from, 32); return;
    case 64: std::memcpy(to, from, 64); return;
    case 128: std::memcpy(to, from, 128); return;
    default: std::memcpy(to, from, bytes);
  }
}

// One optimizer step for at most kUpdateBlock rows of a table. Rows that are not f32
// are widened, updated, and rounded back.
void UpdateChosen(const RowShape& shape, const TableUpdate& update,
                  std::span<RowRequest* const> chosen) {
  float* rows[kUpdateBlock];
  const float* gradients[kUpdateBlock];
  const bool widened = shape.precision != RowPrecision::kF32;
  thread_local std::vector<float> wide;
  const auto width = static_cast<size_t>(shape.num_floats());
  if (widened) wide.resize(std::max(wide.size(), kUpdateBlock * width));
  for (size_t i = 0; i < chosen.size(); ++i) {
    rows[i] = widened ? wide.data() + i * width : FloatsOf(chosen[i]->row);
    if (widened) LoadRow(shape, chosen[i]->row, rows[i]);
    gradients[i] = chosen[i]->gradient;
  }
  UpdateRows(update.kind, update.settings, update.dim, {rows, chosen.size()},
             {gradients, chosen.size()});
  if (!widened) return;
  for (size_t i = 0; i < chosen.size(); ++i) {
    const RandomKey key =
        RoundingKeyOf(update.rounding, chosen[i]->id, HeaderOf(chosen[i]->row)->updates);
    StoreRowRandomly(shape, rows[i], key, chosen[i]->row);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<MemoryTier>> MemoryTier::Create(int64_t bytes) {
  PAGODA_CHECK(bytes >= kBytesMin);
  size_t partitions = 1;
  while (partitions < kPartitionsMax &&
         static_cast<int64_t>(2 * partitions) * kBytesPerPartition <= bytes) {
    partitions *= 2;
  }
  const bool large = bytes >= static_cast<int64_t>(partitions) * 16 * kSlabBytes;
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<RowArena> arena,
                          RowArena::Create(bytes, large ? kSlabBytes : kSlabBytesSmall));
  return std::unique_ptr<MemoryTier>(new MemoryTier(std::move(arena), partitions));
}

MemoryTier::MemoryTier(std::unique_ptr<RowArena> arena, size_t num_partitions)
    : arena_(std::move(arena)), partition_mask_(static_cast<uint32_t>(num_partitions - 1)) {
  for (size_t p = 0; p < num_partitions; ++p) {
    partitions_.push_back(std::make_unique<MemoryPartition>(arena_.get(), &tables_));
  }
}

void MemoryTier::AddTable(const RowShape& shape) {
  constexpr uint32_t kAlignment = 16;
  MemoryTable table;
  table.row_bytes =
      (static_cast<uint32_t>(shape.row_bytes()) + kAlignment - 1) / kAlignment * kAlignment;
  table.shape = shape;
  const auto found = std::find(class_bytes_.begin(), class_bytes_.end(), table.row_bytes);
  table.size_class = static_cast<uint32_t>(found - class_bytes_.begin());
  if (found == class_bytes_.end()) class_bytes_.push_back(table.row_bytes);
  tables_.push_back(table);
}

int64_t MemoryTier::RowsMax(uint32_t table) const {
  return arena_->budget_bytes() / (tables_[table].row_bytes + 2 * int64_t{16});
}

void MemoryTier::Group(std::span<const RowSource> sources, RowBatch* batch) const {
  size_t count = 0;
  for (const RowSource& source : sources) count += source.ids.size();
  if (batch->capacity_ < count) {
    batch->requests_ = std::make_unique_for_overwrite<RowRequest[]>(count);
    batch->mixed_ = std::make_unique_for_overwrite<uint64_t[]>(count);
    batch->capacity_ = count;
  }
  batch->size_ = count;
  std::array<size_t, kPartitionsMax> next = {};
  uint64_t* mixed = batch->mixed_.get();
  size_t i = 0;
  for (const RowSource& source : sources) {
    for (const FeatureId id : source.ids) {
      const uint64_t m = MixBits(id);
      mixed[i++] = m;
      ++next[(m >> 48) & partition_mask_];
    }
  }
  batch->begin_.resize(partitions_.size() + 1);
  size_t sum = 0;
  for (size_t p = 0; p < partitions_.size(); ++p) {
    batch->begin_[p] = sum;
    sum += next[p];
    next[p] = batch->begin_[p];
  }
  batch->begin_[partitions_.size()] = sum;
  RowRequest* requests = batch->requests_.get();
  i = 0;
  for (const RowSource& source : sources) {
    const uint64_t table_hash = source.table * uint64_t{0x9e3779b97f4a7c15};
    for (size_t row = 0; row < source.ids.size(); ++row) {
      const uint64_t m = mixed[i++];
      RowRequest& request = requests[next[(m >> 48) & partition_mask_]++];
      request.id = source.ids[row];
      request.hash = static_cast<uint32_t>(m + table_hash);
      request.table = source.table;
      const size_t at = row * static_cast<size_t>(source.dim);
      if (source.weights != nullptr) {
        request.weights = source.weights + at;
      } else {
        request.gradient = source.gradients + at;
      }
      request.row = nullptr;
    }
  }
}

void MemoryTier::Read(RowBatch& batch, size_t p, std::vector<RowMiss>* misses,
                      std::span<const RowCatchUp* const> catch_ups) {
  if (catch_ups.empty()) return ReadRows<false>(batch, p, misses, catch_ups);
  ReadRows<true>(batch, p, misses, catch_ups);
}

template <bool kExact>
void MemoryTier::ReadRows(RowBatch& batch, size_t p, std::vector<RowMiss>* misses,
                          std::span<const RowCatchUp* const> catch_ups) {
  const std::span<RowRequest> requests = batch.partition(p);
  MemoryPartition& partition = *partitions_[p];
  std::lock_guard<std::mutex> lock(partition.mutex);
  const char* ring[kRing];
  const size_t count = requests.size();
  for (size_t i = 0; i < count + kSlotAhead; ++i) {
    if (i < count) partition.PrefetchSlot(requests[i].hash);
    if (i >= kSlotAhead - kRowAhead && i - (kSlotAhead - kRowAhead) < count) {
      const size_t j = i - (kSlotAhead - kRowAhead);
      const RowRequest& request = requests[j];
      MemoryPartition::Slot* slot = partition.Find(request.table, request.id, request.hash);
      const char* row = nullptr;
      if (slot != nullptr) {
        row = partition.RowOf(*slot);
        if (kExact && catch_ups[request.table] != nullptr) {
          PrefetchLines<false>(row, tables_[request.table].row_bytes);
        } else {
          PrefetchLines<false>(WeightsOf(row), tables_[request.table].shape.weight_bytes());
        }
        if ((slot->word & kRowReferenced) == 0) slot->word |= kRowReferenced;
      }
      ring[j % kRing] = row;
    }
    if (i >= kSlotAhead) {
      const size_t k = i - kSlotAhead;
      const char* row = ring[k % kRing];
      if (kExact && row != nullptr && catch_ups[requests[k].table] != nullptr) {
        catch_ups[requests[k].table]->ReadWeights(FloatsOf(row), HeaderOf(row)->last_step,
                                                  requests[k].weights);
      } else if (row != nullptr) {
        CopyWeights(tables_[requests[k].table].shape, WeightsOf(row), requests[k].weights);
      } else {
        misses->push_back({requests[k], partition.modified_evictions()});
      }
    }
  }
}

bool MemoryTier::CopyRow(uint32_t table, FeatureId id, char* row) {
  MemoryPartition& partition = *partitions_[PartitionOf(id)];
  std::lock_guard<std::mutex> lock(partition.mutex);
  const MemoryPartition::Slot* slot = partition.Find(table, id, MemoryPartition::HashOf(id, table));
  if (slot == nullptr) return false;
  std::memcpy(row, partition.RowOf(*slot), tables_[table].row_bytes);
  return true;
}

void MemoryTier::Cache(const RowMiss& miss, char* row, bool on_disk) {
  const RowRequest& request = miss.request;
  const size_t bytes = tables_[request.table].row_bytes;
  MemoryPartition& partition = *partitions_[PartitionOf(request.id)];
  std::lock_guard<std::mutex> lock(partition.mutex);
  MemoryPartition::Slot* slot = partition.Find(request.table, request.id, request.hash);
  if (slot != nullptr) {
    std::memcpy(row, partition.RowOf(*slot), bytes);
    return;
  }
  if (partition.modified_evictions() != miss.epoch) return;
  slot = partition.Insert(request.table, request.id, request.hash);
  if (slot == nullptr) return;
  if (on_disk) slot->word |= kRowOnDisk;
  std::memcpy(partition.RowOf(*slot), row, bytes);
}

const RowRequest* MemoryTier::PinFound(RowBatch& batch, size_t p,
                                       std::vector<RowRequest*>* misses) {
  const std::span<RowRequest> requests = batch.partition(p);
  MemoryPartition& partition = *partitions_[p];
  std::lock_guard<std::mutex> lock(partition.mutex);
  const size_t count = requests.size();
  for (size_t i = 0; i < std::min(kSlotAhead, count); ++i) {
    partition.PrefetchSlot(requests[i].hash);
  }
  for (size_t i = 0; i < count; ++i) {
    if (i + kSlotAhead < count) partition.PrefetchSlot(requests[i + kSlotAhead].hash);
    RowRequest& request = requests[i];
    MemoryPartition::Slot* slot = partition.Find(request.table, request.id, request.hash);
    if (slot == nullptr) {
      misses->push_back(&request);
      continue;
    }
    if ((slot->word & kRowPinned) != 0) return &request;
    slot->word |= kRowPinned | kRowReferenced;
    request.row = partition.RowOf(*slot);
  }
  return nullptr;
}

MemoryTier::Added MemoryTier::AddPinned(RowRequest* request, const char* row, bool on_disk) {
  MemoryPartition& partition = *partitions_[PartitionOf(request->id)];
  std::lock_guard<std::mutex> lock(partition.mutex);
  MemoryPartition::Slot* slot = partition.Find(request->table, request->id, request->hash);
  if (slot != nullptr) {
    if ((slot->word & kRowPinned) != 0) return Added::kTwice;
  } else {
    slot = partition.Insert(request->table, request->id, request->hash);
    if (slot == nullptr) return Added::kNoRoom;
    if (on_disk) slot->word |= kRowOnDisk;
    std::memcpy(partition.RowOf(*slot), row, tables_[request->table].row_bytes);
  }
  slot->word |= kRowPinned | kRowReferenced;
  request->row = partition.RowOf(*slot);
  return Added::kPinned;
}

void MemoryTier::Unpin(RowBatch& batch, size_t p) {
  MemoryPartition& partition = *partitions_[p];
  std::lock_guard<std::mutex> lock(partition.mutex);
  for (RowRequest& request : batch.partition(p)) {
    if (request.row == nullptr) continue;
    MemoryPartition::Slot* slot = partition.Find(request.table, request.id, request.hash);
    slot->word &= ~uint64_t{kRowPinned};
    request.row = nullptr;
  }
  partition.RowsBecameClean();
}

void MemoryTier::Apply(RowBatch& batch, size_t p, uint64_t sequence, Step step,
                       std::span<const TableUpdate> updates) {
  const std::span<RowRequest> requests = batch.partition(p);
  MemoryPartition& partition = *partitions_[p];
  std::lock_guard<std::mutex> lock(partition.mutex);
  auto prefetch = [&](size_t i) {
    partition.PrefetchSlot(requests[i].hash);
    PrefetchLines<true>(requests[i].row, tables_[requests[i].table].row_bytes);
  };
  const size_t count = requests.size();
  for (size_t i = 0; i < std::min(kUpdateBlock, count); ++i) prefetch(i);
  RowRequest* chosen[kUpdateBlock];
  for (size_t begin = 0; begin < count;) {
    const uint32_t table = requests[begin].table;
    const TableUpdate& update = updates[table];
    size_t num_chosen = 0;
    int64_t created = 0;
    int64_t newly_dirty = 0;
    size_t i = begin;
    for (; i < count && i < begin + kUpdateBlock && requests[i].table == table; ++i) {
      if (i + kUpdateBlock < count) prefetch(i + kUpdateBlock);
      RowRequest& request = requests[i];
      MemoryPartition::Slot* slot = partition.Find(table, request.id, request.hash);
      slot->word &= ~uint64_t{kRowPinned};
      RowHeader* header = HeaderOf(request.row);
      if (header->sequence >= sequence) continue;  // Replay of what the row has.
      if ((slot->word & (kRowDirty | kRowWriting)) == 0) ++newly_dirty;
      slot->word |= kRowDirty | kRowModified;
      if (header->sequence == 0) ++created;
      header->sequence = sequence;
      if (update.catch_up != nullptr) {
        update.catch_up->BringUp(FloatsOf(request.row), header->last_step);
        header->last_step = static_cast<uint32_t>(update.catch_up->step() + 1);
      } else {
        header->last_step = static_cast<uint32_t>(step);
      }
      ++header->updates;
      chosen[num_chosen++] = &request;
    }
    UpdateChosen(tables_[table].shape, update, {chosen, num_chosen});
    if (created > 0) update.rows->fetch_add(created, std::memory_order_relaxed);
    if (newly_dirty > 0) AddUnwritten(partition, newly_dirty * tables_[table].row_bytes);
    begin = i;
  }
}

std::vector<uint32_t> MemoryTier::CountDirtyByBucket() {
  std::vector<uint32_t> counts(kNumBuckets);
  for (auto& partition : partitions_) {
    std::lock_guard<std::mutex> lock(partition->mutex);
    if (partition->unwritten_bytes == 0) continue;
    for (const MemoryPartition::Slot& slot : *partition) {
      if ((slot.word & kRowDirty) != 0) ++counts[BucketOf(slot.id)];
    }
  }
  return counts;
}

std::vector<RowKey> MemoryTier::CollectDirty(uint32_t begin, uint32_t end, size_t expected) {
  std::vector<RowKey> keys;
  // Rows pushed to since they were counted come on top.
  keys.reserve(expected + expected / 8);
  for (auto& partition : partitions_) {
    std::lock_guard<std::mutex> lock(partition->mutex);
    if (partition->unwritten_bytes == 0) continue;
    for (const MemoryPartition::Slot& slot : *partition) {
      if ((slot.word & kRowDirty) == 0) continue;
      const RowKey key = RowKey::Of(MemoryPartition::TableOf(slot), slot.id);
      if (key.bucket >= begin && key.bucket < end) keys.push_back(key);
    }
  }
  std::sort(keys.begin(), keys.end());
  return keys;
}

bool MemoryTier::CopyForWrite(const RowKey& key, char* row, bool* on_disk) {
  MemoryPartition& partition = *partitions_[key.bucket & partition_mask_];
  std::lock_guard<std::mutex> lock(partition.mutex);
  MemoryPartition::Slot* slot =
      partition.Find(key.table, key.id, MemoryPartition::HashOf(key.id, key.table));
  if (slot == nullptr || (slot->word & kRowDirty) == 0) return false;
  slot->word = (slot->word & ~uint64_t{kRowDirty}) | kRowWriting;
  *on_disk = (slot->word & kRowOnDisk) != 0;
  std::memcpy(row, partition.RowOf(*slot), tables_[key.table].row_bytes);
  return true;
}

bool MemoryTier::IsClean(const RowKey& key) {
  MemoryPartition& partition = *partitions_[key.bucket & partition_mask_];
  std::lock_guard<std::mutex> lock(partition.mutex);
  const MemoryPartition::Slot* slot =
      partition.Find(key.table, key.id, MemoryPartition::HashOf(key.id, key.table));
  return slot == nullptr || (slot->word & (kRowDirty | kRowWriting | kRowPinned)) == 0;
}

void MemoryTier::Forget(const RowKey& key) {
  MemoryPartition& partition = *partitions_[key.bucket & partition_mask_];
  std::lock_guard<std::mutex> lock(partition.mutex);
  partition.ForgetReads();
  MemoryPartition::Slot* slot =
      partition.Find(key.table, key.id, MemoryPartition::HashOf(key.id, key.table));
  if (slot == nullptr) return;
  PAGODA_CHECK((slot->word & (kRowDirty | kRowWriting | kRowPinned)) == 0);
  partition.Erase(slot);
}

void MemoryTier::FinishWrites(bool written) {
  for (auto& partition : partitions_) {
    std::lock_guard<std::mutex> lock(partition->mutex);
    if (partition->unwritten_bytes == 0) continue;
    int64_t clean_bytes = 0;
    for (MemoryPartition::Slot& slot : *partition) {
      if ((slot.word & kRowWriting) == 0) continue;
      slot.word &= ~uint64_t{kRowWriting};
      if (!written) {
        slot.word |= kRowDirty;
        continue;
      }
      slot.word |= kRowOnDisk;
      if ((slot.word & kRowDirty) == 0) {
        clean_bytes += tables_[MemoryPartition::TableOf(slot)].row_bytes;
      }
    }
    AddUnwritten(*partition, -clean_bytes);
    partition->RowsBecameClean();
  }
}

int64_t MemoryTier::BytesOfTable(uint32_t table) {
  int64_t rows = 0;
  for (auto& partition : partitions_) {
    std::lock_guard<std::mutex> lock(partition->mutex);
    rows += partition->rows_of_table(table);
  }
  return rows * tables_[table].row_bytes;
}

}  // namespace pagoda
