#include "worker/row_cache.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "kernels/copy_indexed_rows.h"

namespace pagoda {

bool CanCache(const proto::TableSpec& table, const std::string& mode, int num_workers) {
  if (mode == "sync" && num_workers > 1) return false;
  if (table.optimizer().exact() && !table.frozen()) return false;
  return !table.has_eviction();
}

bool CachedRows::IsHit(size_t table, int32_t position) const {
  return table < positions.size() &&
         std::binary_search(positions[table].begin(), positions[table].end(), position);
}

absl::StatusOr<std::unique_ptr<RowCache>> RowCache::Create(Context& ctx,
                                                           const Declaration& declaration,
                                                           const std::vector<bool>& can_cache,
                                                           const RowCacheOptions& options) {
  std::unique_ptr<RowCache> cache(new RowCache(ctx, options));
  const size_t num_tables = declaration.tables.size();
  cache->group_of_.assign(num_tables, -1);
  cache->slot_of_.resize(num_tables);
  int64_t tables_dim = 0;  // The sum over cached tables.
  for (size_t t = 0; t < num_tables; ++t) {
    if (!can_cache[t]) continue;
    const int64_t dim = declaration.tables[t].dim;
    tables_dim += dim;
    const auto same = std::find_if(cache->groups_.begin(), cache->groups_.end(),
                                   [&](const Group& group) { return group.dim == dim; });
    cache->group_of_[t] = static_cast<int>(same - cache->groups_.begin());
    if (same == cache->groups_.end()) cache->groups_.emplace_back().dim = dim;
  }
  for (size_t g = 0; g < cache->groups_.size(); ++g) {
    Group& group = cache->groups_[g];
    const int64_t tables =
        std::count(cache->group_of_.begin(), cache->group_of_.end(), static_cast<int>(g));
    const auto share = static_cast<double>(tables * group.dim) / static_cast<double>(tables_dim);
    const auto slots = static_cast<int64_t>(static_cast<double>(options.bytes_max) * share /
                                            (4.0 * static_cast<double>(group.dim)));
    if (slots < 1) {
      return absl::InvalidArgumentError(absl::StrCat("a row cache of ", options.bytes_max,
                                                     " bytes does not hold a row of dimension ",
                                                     group.dim));
    }
    // The device first: it refuses what it has no room for, the host may be killed for it.
    const int64_t num_slots = std::min<int64_t>(slots, int64_t{1} << 30);
    PAGODA_ASSIGN_OR_RETURN(group.rows, ctx.Empty({num_slots, group.dim}));
    group.slots.resize(static_cast<size_t>(num_slots));
  }
  return cache;
}

int64_t RowCache::num_slots() const {
  int64_t slots = 0;
  for (const Group& group : groups_) slots += static_cast<int64_t>(group.slots.size());
  return slots;
}

int32_t RowCache::SlotOf(size_t table, FeatureId id) const {
  const auto found = slot_of_[table].find(id);
  return found == slot_of_[table].end() ? -1 : found->second;
}

CachedRows RowCache::Pin(const PreparedBatch& batch, Step step) {
  CachedRows cached;
  cached.positions.resize(batch.unique_ids.size());
  cached.slots.resize(batch.unique_ids.size());
  for (size_t t = 0; t < batch.unique_ids.size(); ++t) {
    if (group_of_[t] < 0) continue;
    Group& group = GroupOf(t);
    const std::vector<FeatureId>& ids = batch.unique_ids[t];
    stats_.lookups += static_cast<int64_t>(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) {
      const int32_t slot = SlotOf(t, ids[i]);
      if (slot < 0) continue;
      Slot& there = group.slots[static_cast<size_t>(slot)];
      there.used = step;
      if (step - there.version > options_.age_max) {
        ++stats_.aged;
        continue;
      }
      ++stats_.hits;
      ++there.pins;
      cached.positions[t].push_back(static_cast<int32_t>(i));
      cached.slots[t].push_back(slot);
    }
  }
  return cached;
}

void RowCache::Unpin(const CachedRows& cached) {
  for (size_t t = 0; t < cached.slots.size(); ++t) {
    for (const int32_t slot : cached.slots[t]) {
      Slot& there = GroupOf(t).slots[static_cast<size_t>(slot)];
      PAGODA_CHECK(there.pins > 0);
      --there.pins;
    }
  }
}

absl::Status RowCache::Fill(CopyQueue& queue, const PreparedBatch& batch, const CachedRows& cached,
                            const RowColumns& columns, const Tensor& to) {
  const RowGroup& group = batch.row_groups[static_cast<size_t>(columns.group)];
  std::vector<int32_t> from_slots, to_rows;
  const Group* rows = nullptr;
  for (const int table : group.tables) {
    const auto t = static_cast<size_t>(table);
    if (t >= cached.slots.size() || cached.slots[t].empty()) continue;
    rows = &GroupOf(t);
    from_slots.insert(from_slots.end(), cached.slots[t].begin(), cached.slots[t].end());
    for (const int32_t position : cached.positions[t]) {
      to_rows.push_back(static_cast<int32_t>(batch.table_rows[t].first_row) + position);
    }
  }
  if (from_slots.empty()) return absl::OkStatus();
  const auto count = static_cast<int64_t>(from_slots.size());
  PAGODA_ASSIGN_OR_RETURN(const Tensor index, queue.Empty({2 * count}, DType::kI32));
  const Tensor from_index = index.Flat(0, {count}), to_index = index.Flat(count, {count});
  const std::array<RowsCopy, 2> copies = {WholeToDevice(from_slots.data(), from_index),
                                          WholeToDevice(to_rows.data(), to_index)};
  PAGODA_RETURN_IF_ERROR(queue.ToDevice(copies));
  PAGODA_RETURN_IF_ERROR(queue.Publish());
  return CopyIndexedRows(ctx_, rows->rows, from_index, to_index, to, columns.begin);
}

absl::Status RowCache::ReadBack(const CachedRows& cached, const std::vector<float*>& rows) {
  for (size_t t = 0; t < cached.slots.size(); ++t) {
    if (cached.slots[t].empty()) continue;
    const Group& group = GroupOf(t);
    for (size_t i = 0; i < cached.slots[t].size(); ++i) {
      const Tensor row = group.rows.Rows(cached.slots[t][i], cached.slots[t][i] + 1);
      PAGODA_RETURN_IF_ERROR(
          ctx_.CopyToHost(row, rows[t] + cached.positions[t][i] * group.dim, group.dim * 4));
    }
  }
  return absl::OkStatus();
}

bool RowCache::SeenBefore(size_t table, FeatureId id) {
  if (++seen_since_halved_ > static_cast<int64_t>(kSeen)) {
    for (uint8_t& count : seen_) count /= 2;
    seen_since_halved_ = 0;
  }
  uint8_t& count = seen_[MixBits(id + MixBits(table)) % kSeen];
  if (count < 255) ++count;
  return count > 1;
}

int32_t RowCache::TakeSlot(Group& group, Step step) {
  // A free slot, or one that was not asked for lately; the longer the search, the more
  // recent that may be.
  constexpr int kTries = 32;
  const size_t size = group.slots.size();
  for (int tries = 0; tries < kTries; ++tries) {
    const size_t at = group.hand;
    group.hand = (group.hand + 1) % size;
    Slot& slot = group.slots[at];
    if (slot.pins > 0) continue;
    if (slot.table >= 0) {
      if (step - slot.used <= (kTries - tries) / 4) continue;
      slot_of_[static_cast<size_t>(slot.table)].erase(slot.id);
      ++stats_.evicted;
    }
    slot = Slot();
    return static_cast<int32_t>(at);
  }
  return -1;
}

absl::Status RowCache::Write(CopyQueue& queue, Group& group, const Writes& writes) {
  if (writes.slots.empty()) return absl::OkStatus();
  const auto count = static_cast<int64_t>(writes.slots.size());
  PAGODA_ASSIGN_OR_RETURN(const Tensor rows, queue.Empty({count, group.dim}, DType::kF32));
  PAGODA_ASSIGN_OR_RETURN(const Tensor slots, queue.Empty({count}, DType::kI32));
  const std::array<RowsCopy, 2> copies = {WholeToDevice(writes.rows.data(), rows),
                                          WholeToDevice(writes.slots.data(), slots)};
  PAGODA_RETURN_IF_ERROR(queue.ToDevice(copies));
  PAGODA_RETURN_IF_ERROR(queue.Publish());
  return CopyIndexedRows(ctx_, rows, Tensor(), slots, group.rows);
}

absl::Status RowCache::Admit(CopyQueue& queue, const PreparedBatch& batch, const CachedRows& cached,
                             const std::vector<const float*>& rows, Step version) {
  std::vector<Writes> writes(groups_.size());
  for (size_t t = 0; t < batch.unique_ids.size(); ++t) {
    if (group_of_[t] < 0) continue;
    Group& group = GroupOf(t);
    Writes& into = writes[static_cast<size_t>(group_of_[t])];
    const std::vector<FeatureId>& ids = batch.unique_ids[t];
    for (size_t i = 0; i < ids.size(); ++i) {
      if (cached.IsHit(t, static_cast<int32_t>(i))) continue;
      int32_t slot = SlotOf(t, ids[i]);
      if (slot < 0) {
        if (!SeenBefore(t, ids[i])) continue;
        slot = TakeSlot(group, version + 1);
        if (slot < 0) continue;
        slot_of_[t].emplace(ids[i], slot);
        ++stats_.admitted;
      }
      Slot& there = group.slots[static_cast<size_t>(slot)];
      if (there.version > version) continue;  // A push's answer was here first.
      there.table = static_cast<int>(t);
      there.id = ids[i];
      there.used = version + 1;
      there.version = version;
      const float* const row = rows[t] + static_cast<int64_t>(i) * group.dim;
      into.rows.insert(into.rows.end(), row, row + group.dim);
      into.slots.push_back(slot);
    }
  }
  for (size_t g = 0; g < groups_.size(); ++g) {
    PAGODA_RETURN_IF_ERROR(Write(queue, groups_[g], writes[g]));
  }
  return absl::OkStatus();
}

std::vector<uint32_t> RowCache::Find(size_t table, std::span<const FeatureId> ids) const {
  std::vector<uint32_t> positions;
  if (group_of_[table] < 0) return positions;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (SlotOf(table, ids[i]) >= 0) positions.push_back(static_cast<uint32_t>(i));
  }
  return positions;
}

absl::Status RowCache::Update(CopyQueue& queue, size_t table, std::span<const FeatureId> ids,
                              std::span<const uint32_t> positions, const float* rows,
                              Step version) {
  if (positions.empty()) return absl::OkStatus();
  Group& group = GroupOf(table);
  Writes writes;
  for (size_t k = 0; k < positions.size(); ++k) {
    const int32_t slot = SlotOf(table, ids[positions[k]]);
    if (slot < 0) continue;  // Evicted since it was asked for.
    Slot& there = group.slots[static_cast<size_t>(slot)];
    if (there.version > version) continue;
    there.version = version;
    const float* const row = rows + static_cast<int64_t>(k) * group.dim;
    writes.rows.insert(writes.rows.end(), row, row + group.dim);
    writes.slots.push_back(slot);
  }
  return Write(queue, group, writes);
}

}  // namespace pagoda
