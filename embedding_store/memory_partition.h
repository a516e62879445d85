// One hash partition of the memory tier: an open-addressing index over rows that lie
// in slabs of a shared, budgeted region.
//
//   slot (16 bytes)  id u64 | row offset / 16 + 1 (40 bits) | table (16) | flags (8)
//   row              RowHeader, weights, slots (row_format.h), 16-byte aligned
//
// Invariants
//   1. A slot whose word is 0 is empty; along the probe path of a key there is no
//      empty slot before the key's own (deletion shifts back, no tombstones).
//   2. A dirty, writing or pinned row is never evicted and never moves.
//   3. Index and slabs together never exceed the arena's budget.
//
// Threads: one at a time; callers hold `mutex`.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/statusor.h"
#include "base/hash.h"
#include "base/ids.h"
#include "embedding_store/prefetch.h"
#include "embedding_store/row_format.h"

namespace pagoda {

// Memory of the whole tier: one virtual region, handed out in slabs, and a byte
// count that indexes share. Threads: any.
class RowArena {
 public:
  //   RESOURCE_EXHAUSTED  the system refuses the address space
  static absl::StatusOr<std::unique_ptr<RowArena>> Create(int64_t budget_bytes, int64_t slab_bytes);
  ~RowArena();
  RowArena(const RowArena&) = delete;
  RowArena& operator=(const RowArena&) = delete;

  // Takes `bytes` from the budget; false, and nothing taken, when too little is left.
  bool Reserve(int64_t bytes);
  void Release(int64_t bytes) { used_.fetch_sub(bytes); }
  // Offset of a slab, paid from the budget, or -1.
  int64_t TakeSlab();

  char* At(uint64_t offset) const { return base_ + offset; }
  int64_t slab_bytes() const { return slab_bytes_; }
  int64_t budget_bytes() const { return budget_; }
  int64_t used_bytes() const { return used_.load(); }

 private:
  RowArena(char* base, int64_t budget, int64_t slab_bytes)
      : base_(base), budget_(budget), slab_bytes_(slab_bytes) {}

  char* const base_;
  const int64_t budget_;
  const int64_t slab_bytes_;
  std::atomic<int64_t> used_{0};
  std::atomic<int64_t> next_slab_{0};
};

// Rows of equal size share slabs; tables of equal size share a class.
struct MemoryTable {
  uint32_t row_bytes = 0;   // Multiple of 16.
  uint32_t size_class = 0;  // Index into a partition's classes.
  RowShape shape;
};

enum RowFlag : uint64_t {
  kRowDirty = 1,       // Newer than its copy on disk.
  kRowWriting = 2,     // Being written to disk by the flush that runs now.
  kRowReferenced = 4,  // Used since the eviction hand last passed.
  kRowPinned = 8,      // Belongs to the push that runs now.
  kRowModified = 16,   // Pushed to since it came into memory.
  kRowOnDisk = 32,     // Some version of it is on disk.
};

class MemoryPartition {
 public:
  struct Slot {
    uint64_t id = 0;
    uint64_t word = 0;
  };

  // `tables` grows while rows exist, never shrinks, and outlives the partition.
  MemoryPartition(RowArena* arena, const std::vector<MemoryTable>* tables);
  ~MemoryPartition();
  MemoryPartition(const MemoryPartition&) = delete;
  MemoryPartition& operator=(const MemoryPartition&) = delete;

  std::mutex mutex;

  // What a key's probe path starts from; the partition itself is chosen by other bits.
  static uint32_t HashOf(FeatureId id, uint32_t table) {
    return static_cast<uint32_t>(MixBits(id) + table * uint64_t{0x9e3779b97f4a7c15});
  }

  // The slot of a row, or null. Valid until the next Insert.
  Slot* Find(uint32_t table, FeatureId id, uint32_t hash) const {
    for (uint64_t i = hash & mask_;; i = (i + 1) & mask_) {
      Slot& slot = slots_[i];
      if (slot.word == 0) return nullptr;
      if (slot.id == id && TableOf(slot) == table) return &slot;
    }
  }

  // Find for a row that was once found `place` slots after begin(). Looks there first: a
  // row's slot moves only when others come or go.
  Slot* FindNear(uint32_t place, uint32_t table, FeatureId id) const {
    Slot& slot = slots_[place & mask_];
    if (slot.id == id && slot.word != 0 && TableOf(slot) == table) return &slot;
    return Find(table, id, HashOf(id, table));
  }
  uint32_t PlaceOf(const Slot* slot) const { return static_cast<uint32_t>(slot - slots_); }

  // Adds a row that is absent; its bytes are unset, its only flag kRowReferenced. May
  // evict clean rows and move slots (not rows). Null: no room.
  Slot* Insert(uint32_t table, FeatureId id, uint32_t hash);

  // Removes a row that is neither dirty, being written, nor pinned.
  void Erase(Slot* slot);

  char* RowOf(const Slot& slot) const {
    return arena_->At(((slot.word >> kOffsetShift) - 1) * kRowAlignment);
  }
  static uint32_t TableOf(const Slot& slot) {
    return static_cast<uint32_t>(slot.word >> kTableShift) & kTableMask;
  }
  // `hash`, or what PlaceOf returned.
  void PrefetchSlot(uint32_t hash) const { PrefetchLine(&slots_[hash & mask_]); }

  // All slots, for scans; empty ones have word 0.
  Slot* begin() const { return slots_; }
  Slot* end() const { return slots_ + mask_ + 1; }

  // Tells that rows became evictable, after Insert had found none.
  void RowsBecameClean() { blocked_ = 0; }

  // Counts evictions of rows that were pushed to: what was read from disk before
  // such an eviction may be older than what is there now.
  uint64_t modified_evictions() const { return modified_evictions_; }
  // What is on disk has changed by itself: raises modified_evictions().
  void ForgetReads() { ++modified_evictions_; }

  int64_t rows_of_table(uint32_t table) const {
    return table < rows_of_table_.size() ? rows_of_table_[table] : 0;
  }

  // Bytes of dirty or writing rows; kept by the tier.
  int64_t unwritten_bytes = 0;

 private:
  static constexpr int kOffsetShift = 24;
  static constexpr int kTableShift = 8;
  static constexpr uint32_t kTableMask = 0xffff;
  static constexpr uint64_t kRowAlignment = 16;
  static constexpr uint64_t kHeld = kRowDirty | kRowWriting | kRowPinned;

  struct SizeClass {
    uint32_t row_bytes = 0;
    uint64_t free = 0;  // First free row's offset + 1; each holds the next. 0: none.
    uint64_t carve_next = 0, carve_end = 0;  // Untouched part of the newest slab.
    std::vector<uint64_t> slabs;             // Offsets.
  };

  SizeClass& ClassOf(uint32_t table);
  bool TakeRow(uint32_t size_class, uint64_t* offset);  // Free list, then a new slab.
  bool Carve(SizeClass& c, uint64_t* offset);
  bool MakeRoomInIndex();
  bool Grow();
  // Evicts one row of the class (kAnyClass: of any).
  bool EvictOne(uint32_t size_class);
  void PrefetchVictim(uint32_t size_class) const;
  // Empties a slab of the class that has most and gives it to `size_class`.
  bool StealSlab(uint32_t size_class);
  bool EmptySlab(SizeClass& from, uint64_t slab);
  void RemoveRow(uint64_t index);   // Slot and row.
  void RemoveSlot(uint64_t index);  // Slot only; shifts back.
  uint64_t HomeOf(const Slot& slot) const { return HashOf(slot.id, TableOf(slot)) & mask_; }

  static constexpr uint32_t kAnyClass = 0xffffffff;

  RowArena* const arena_;
  const std::vector<MemoryTable>* const tables_;
  Slot* slots_ = nullptr;
  uint64_t mask_ = 0;
  uint64_t count_ = 0;
  uint64_t hand_ = 0;
  uint64_t blocked_ = 0;  // Bit per class (last bit: any): a full turn found nothing.
  uint64_t modified_evictions_ = 0;
  std::vector<SizeClass> classes_;
  std::vector<int64_t> rows_of_table_;
};

}  // namespace pagoda
