#include "embedding_store/memory_tier.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/status_macros.h"
#include "embedding_store/prefetch.h"
#include "embedding_store/sparse_optimizer.h"

namespace pagoda {
namespace {

// Enough partitions that a handful of threads seldom meet; few enough that each
// has slabs to spare.
constexpr size_t kPartitionsMax = 64;
constexpr int64_t kBytesPerPartition = int64_t{4} << 20;
constexpr int64_t kSlabBytesSmall = int64_t{64} << 10;
constexpr int64_t kSlabBytes = int64_t{256} << 10;

// Ids that one thread groups at a time.
constexpr size_t kGroupPart = 4096;
constexpr size_t kRequestAhead = 4;  // Of its partition, while grouping: two lines.

// How many requests ahead slots and rows are fetched: a miss to memory takes about
// 250 ns, a request 10 to 20.
constexpr size_t kSlotAhead = 24;
constexpr size_t kRowAhead = 12;
constexpr size_t kRing = 32;  // Power of two, above kSlotAhead.

// The same for a push that has its rows' addresses: each takes five or six lines.
constexpr size_t kPushAhead = 16;

// Rows handed to the optimizer together. Few, so that fetching and computing alternate
// often: memory must not stand idle while a block is computed.
constexpr size_t kUpdateBlock = 8;

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

// One optimizer step for at most kUpdateBlock rows of a table that are not f32: they
// are widened, updated, and rounded back.
void UpdateWidened(const RowShape& shape, const TableUpdate& update,
                   std::span<RowRequest* const> chosen) {
  float* rows[kUpdateBlock];
  const float* gradients[kUpdateBlock];
  thread_local std::vector<float> wide;
  const auto width = static_cast<size_t>(shape.num_floats());
  wide.resize(std::max(wide.size(), kUpdateBlock * width));
  for (size_t i = 0; i < chosen.size(); ++i) {
    rows[i] = wide.data() + i * width;
    LoadRow(shape, chosen[i]->row, rows[i]);
    gradients[i] = chosen[i]->gradient;
  }
  UpdateRows(update.kind, update.settings, update.dim, {rows, chosen.size()},
             {gradients, chosen.size()});
  for (size_t i = 0; i < chosen.size(); ++i) {
    const RandomKey key =
        RoundingKeyOf(update.rounding, chosen[i]->id, HeaderOf(chosen[i]->row)->updates);
    StoreRowRandomly(shape, rows[i], key, chosen[i]->row);
  }
}

// The same for rows of any precision.
void UpdateChosen(const RowShape& shape, const TableUpdate& update,
                  std::span<RowRequest* const> chosen) {
  if (shape.precision != RowPrecision::kF32) return UpdateWidened(shape, update, chosen);
  float* rows[kUpdateBlock];
  const float* gradients[kUpdateBlock];
  for (size_t i = 0; i < chosen.size(); ++i) {
    rows[i] = FloatsOf(chosen[i]->row);
    gradients[i] = chosen[i]->gradient;
  }
  UpdateRows(update.kind, update.settings, update.dim, {rows, chosen.size()},
             {gradients, chosen.size()});
}

// Notes in a row's header that push `sequence` has it; exact rows are brought up to its
// step first.
void BeginUpdate(const TableUpdate& update, uint64_t sequence, Step step, char* row) {
  RowHeader* header = HeaderOf(row);
  header->sequence = sequence;
  if (update.catch_up != nullptr) {
    update.catch_up->BringUp(FloatsOf(row), header->last_step);
    header->last_step = static_cast<uint32_t>(update.catch_up->step() + 1);
  } else {
    header->last_step = static_cast<uint32_t>(step);
  }
  ++header->updates;
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

void MemoryTier::Group(std::span<const RowSource> sources, RowBatch* batch,
                       const RunParts& run) const {
  size_t count = 0;
  batch->parts_.clear();
  for (const RowSource& source : sources) {
    for (size_t begin = 0; begin < source.ids.size(); begin += kGroupPart) {
      const size_t end = std::min(begin + kGroupPart, source.ids.size());
      batch->parts_.push_back({&source, begin, end});
      count += end - begin;
    }
  }
  if (batch->capacity_ < count) {
    batch->requests_ = std::make_unique_for_overwrite<RowRequest[]>(count);
    batch->capacity_ = count;
  }
  batch->size_ = count;
  const size_t num_parts = batch->parts_.size();
  const size_t num_partitions = partitions_.size();
  const auto for_each = [&](const std::function<void(size_t)>& body) {
    if (run && num_parts > 1) return run(num_parts, body);
    for (size_t i = 0; i < num_parts; ++i) body(i);
  };
  batch->next_.resize(num_parts * num_partitions);
  for_each([&](size_t i) {
    const RowBatch::Part& part = batch->parts_[i];
    // Counted on this thread's stack: the parts' counts share cache lines.
    std::array<size_t, kPartitionsMax> sizes = {};
    const std::span<const FeatureId> ids =
        part.source->ids.subspan(part.begin, part.end - part.begin);
    for (const FeatureId id : ids) ++sizes[PartitionOf(id)];
    std::copy_n(sizes.data(), num_partitions, batch->next_.data() + i * num_partitions);
  });
  batch->begin_.resize(num_partitions + 1);
  size_t sum = 0;
  for (size_t p = 0; p < num_partitions; ++p) {
    batch->begin_[p] = sum;
    for (size_t i = 0; i < num_parts; ++i) {
      const size_t size = std::exchange(batch->next_[i * num_partitions + p], sum);
      sum += size;
    }
  }
  batch->begin_[num_partitions] = sum;
  for_each([&](size_t i) {
    GroupPart(batch->parts_[i], batch, batch->next_.data() + i * num_partitions);
  });
}

void MemoryTier::GroupPart(const RowBatch::Part& part, RowBatch* batch, const size_t* first) const {
  std::array<size_t, kPartitionsMax> next;
  std::copy_n(first, partitions_.size(), next.data());
  const RowSource& source = *part.source;
  RowRequest* requests = batch->requests_.get();
  const uint64_t table_hash = source.table * uint64_t{0x9e3779b97f4a7c15};
  const auto dim = static_cast<size_t>(source.dim);
  for (size_t row = part.begin; row < part.end; ++row) {
    const uint64_t m = MixBits(source.ids[row]);
    RowRequest& request = requests[next[(m >> 48) & partition_mask_]++];
    // Too many places to write to for the processor to see where each goes on.
    PrefetchLine(&request + kRequestAhead);
    request.id = source.ids[row];
    request.hash = static_cast<uint32_t>(m + table_hash);
    request.table = source.table;
    if (source.weights != nullptr) {
      request.weights = source.weights + row * dim;
      request.statistics =
          source.statistics == nullptr ? nullptr : source.statistics + row * kRowStatistics;
    } else {
      request.gradient = source.gradients + row * dim;
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
          PrefetchLines(row, tables_[request.table].row_bytes);
        } else {
          PrefetchLines(WeightsOf(row), tables_[request.table].shape.weight_bytes());
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
        continue;
      }
      if (requests[k].statistics != nullptr) CopyStatistics(row, requests[k].statistics);
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

void MemoryTier::Cache(std::span<const ReadRow> rows) {
  std::array<size_t, kPartitionsMax + 1> begin = {};
  for (const ReadRow& read : rows) ++begin[PartitionOf(read.miss->request.id) + 1];
  for (size_t p = 0; p < partitions_.size(); ++p) begin[p + 1] += begin[p];
  std::array<size_t, kPartitionsMax + 1> next = begin;
  std::vector<const ReadRow*> by_partition(rows.size());
  for (const ReadRow& read : rows) {
    by_partition[next[PartitionOf(read.miss->request.id)]++] = &read;
  }
  for (size_t p = 0; p < partitions_.size(); ++p) {
    if (begin[p] == begin[p + 1]) continue;
    MemoryPartition& partition = *partitions_[p];
    std::lock_guard<std::mutex> lock(partition.mutex);
    for (size_t i = begin[p]; i < begin[p + 1]; ++i) {
      partition.PrefetchSlot(by_partition[i]->miss->request.hash);
    }
    for (size_t i = begin[p]; i < begin[p + 1]; ++i) CacheOne(partition, *by_partition[i]);
  }
}

void MemoryTier::CacheOne(MemoryPartition& partition, const ReadRow& read) {
  const RowRequest& request = read.miss->request;
  const size_t bytes = tables_[request.table].row_bytes;
  MemoryPartition::Slot* slot = partition.Find(request.table, request.id, request.hash);
  if (slot != nullptr) {
    std::memcpy(read.row, partition.RowOf(*slot), bytes);
    return;
  }
  if (partition.modified_evictions() != read.miss->epoch) return;
  slot = partition.Insert(request.table, request.id, request.hash);
  if (slot == nullptr) return;
  if (read.on_disk) slot->word |= kRowOnDisk;
  std::memcpy(partition.RowOf(*slot), read.row, bytes);
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
    request.place = partition.PlaceOf(slot);
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
  request->place = partition.PlaceOf(slot);
  return Added::kPinned;
}

void MemoryTier::Unpin(RowBatch& batch, size_t p) {
  MemoryPartition& partition = *partitions_[p];
  std::lock_guard<std::mutex> lock(partition.mutex);
  for (RowRequest& request : batch.partition(p)) {
    if (request.row == nullptr) continue;
    MemoryPartition::Slot* slot = partition.FindNear(request.place, request.table, request.id);
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
  auto prefetch = [&](const RowRequest& request) {
    const MemoryTable& table = tables_[request.table];
    partition.PrefetchSlot(request.place);
    PrefetchLines(request.row, table.row_bytes);
    PrefetchLines(request.gradient, static_cast<size_t>(table.shape.dim) * sizeof(float));
  };
  const size_t count = requests.size();
  for (size_t i = 0; i < std::min(kPushAhead, count); ++i) prefetch(requests[i]);
  RowRequest* chosen[kUpdateBlock];
  int64_t dirty_bytes = 0;
  for (size_t begin = 0; begin < count;) {
    const uint32_t table = requests[begin].table;
    const TableUpdate& update = updates[table];
    size_t num_chosen = 0;
    int64_t created = 0;
    size_t i = begin;
    for (; i < count && i < begin + kUpdateBlock && requests[i].table == table; ++i) {
      if (i + kPushAhead < count) prefetch(requests[i + kPushAhead]);
      RowRequest& request = requests[i];
      MemoryPartition::Slot* slot = partition.FindNear(request.place, table, request.id);
      slot->word &= ~uint64_t{kRowPinned};
      const uint64_t row_sequence = HeaderOf(request.row)->sequence;
      if (row_sequence >= sequence) continue;  // Replay of what the row has.
      if ((slot->word & (kRowDirty | kRowWriting)) == 0) dirty_bytes += tables_[table].row_bytes;
      slot->word |= kRowDirty | kRowModified;
      if (row_sequence == 0) ++created;
      BeginUpdate(update, sequence, step, request.row);
      chosen[num_chosen++] = &request;
    }
    UpdateChosen(tables_[table].shape, update, {chosen, num_chosen});
    if (created > 0) update.rows->fetch_add(created, std::memory_order_relaxed);
    begin = i;
  }
  if (dirty_bytes > 0) AddUnwritten(partition, dirty_bytes);
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

bool MemoryTier::CopyForWrite(const RowKey& key, char* row, bool* on_disk, RandomKey rounding) {
  MemoryPartition& partition = *partitions_[key.bucket & partition_mask_];
  std::lock_guard<std::mutex> lock(partition.mutex);
  MemoryPartition::Slot* slot =
      partition.Find(key.table, key.id, MemoryPartition::HashOf(key.id, key.table));
  if (slot == nullptr || (slot->word & kRowDirty) == 0) return false;
  slot->word = (slot->word & ~uint64_t{kRowDirty}) | kRowWriting;
  *on_disk = (slot->word & kRowOnDisk) != 0;
  char* const kept = partition.RowOf(*slot);
  if (const RowShape& shape = tables_[key.table].shape; shape.int8_on_disk) {
    RoundToInt8(FloatsOf(kept), shape.dim,
                RoundingKeyOf(rounding, key.id, HeaderOf(kept)->updates));
  }
  std::memcpy(row, kept, tables_[key.table].row_bytes);
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

void MemoryTier::ForgetTable(uint32_t table) {
  std::vector<FeatureId> ids;
  for (auto& partition : partitions_) {
    std::lock_guard<std::mutex> lock(partition->mutex);
    partition->ForgetReads();
    if (partition->rows_of_table(table) == 0) continue;
    ids.clear();
    for (const MemoryPartition::Slot& slot : *partition) {
      if (slot.word == 0 || MemoryPartition::TableOf(slot) != table) continue;
      PAGODA_CHECK((slot.word & (kRowDirty | kRowWriting | kRowPinned)) == 0);
      ids.push_back(slot.id);
    }
    for (const FeatureId id : ids) {
      partition->Erase(partition->Find(table, id, MemoryPartition::HashOf(id, table)));
    }
  }
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
