#include "embedding_store/memory_partition.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "embedding_store/prefetch.h"

namespace pagoda {
namespace {

constexpr uint64_t kSlotsMin = 1024;
constexpr size_t kHugePageBytes = size_t{2} << 20;

// Above the first load probes get long, and many run on into a line that nobody fetched
// ahead: at 0.6 (1.75 slots a hit) pushes are a sixth slower than at 0.5 (1.5). The second
// is allowed only while the budget has no room for a larger index.
constexpr uint64_t kLoadPercent = 50;
constexpr uint64_t kLoadPercentMax = 80;

// A class that holds less than this share of a partition's slabs may take one from
// the class that holds most, instead of evicting rows of its own.
constexpr size_t kShareOfSlabs = 8;

// How many slots before the hand rows are fetched that it will evict.
constexpr uint64_t kVictimAhead = 12;

constexpr size_t kPageBytes = 4096;

size_t WholePages(size_t bytes) {
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

// Zeroed pages, on huge pages where the size allows.
void* MapPages(size_t bytes_wanted) {
  const size_t bytes = WholePages(bytes_wanted);
  // Room to start at a huge page's boundary.
  const size_t slack = bytes >= kHugePageBytes ? kHugePageBytes : 0;
  void* pages = ::mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  if (slack == 0) return pages;
  auto* first = static_cast<char*>(pages);
  const size_t skip = (slack - reinterpret_cast<uintptr_t>(first) % slack) % slack;
  if (skip > 0) ::munmap(first, skip);
  if (slack > skip) ::munmap(first + skip + bytes, slack - skip);
  ::madvise(first + skip, bytes, MADV_HUGEPAGE);
  return first + skip;
}

void UnmapPages(void* pages, size_t bytes) {
  if (pages != nullptr) ::munmap(pages, WholePages(bytes));
}

uint32_t BlockedBit(uint32_t size_class) {
  return size_class < 62 ? size_class : 63;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RowArena>> RowArena::Create(int64_t budget_bytes,
                                                           int64_t slab_bytes) {
  PAGODA_CHECK(budget_bytes > 0 && slab_bytes > 0);
  void* base = MapPages(static_cast<size_t>(budget_bytes));
  if (base == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot reserve ", budget_bytes,
                     " bytes of address space for rows: ", std::strerror(errno)));
  }
  return std::unique_ptr<RowArena>(
      new RowArena(static_cast<char*>(base), budget_bytes, slab_bytes));
}

RowArena::~RowArena() {
  UnmapPages(base_, static_cast<size_t>(budget_));
}

bool RowArena::Reserve(int64_t bytes) {
  int64_t used = used_.load();
  do {
    if (used + bytes > budget_) return false;
  } while (!used_.compare_exchange_weak(used, used + bytes));
  return true;
}

int64_t RowArena::TakeSlab() {
  if (!Reserve(slab_bytes_)) return -1;
  // Slabs never go back, so their number times their size stays within the budget
  // that was just charged, and within the region.
  return next_slab_.fetch_add(1) * slab_bytes_;
}

MemoryPartition::MemoryPartition(RowArena* arena, const std::vector<MemoryTable>* tables)
    : arena_(arena), tables_(tables) {
  // The first index is charged even past the budget; Open's minimum leaves room.
  PAGODA_CHECK(arena_->Reserve(static_cast<int64_t>(kSlotsMin * sizeof(Slot))));
  slots_ = static_cast<Slot*>(MapPages(kSlotsMin * sizeof(Slot)));
  PAGODA_CHECK(slots_ != nullptr);
  mask_ = kSlotsMin - 1;
}

MemoryPartition::~MemoryPartition() {
  UnmapPages(slots_, (mask_ + 1) * sizeof(Slot));
}

MemoryPartition::SizeClass& MemoryPartition::ClassOf(uint32_t table) {
  const MemoryTable& t = (*tables_)[table];
  if (classes_.size() <= t.size_class) classes_.resize(t.size_class + 1);
  SizeClass& c = classes_[t.size_class];
  c.row_bytes = t.row_bytes;
  return c;
}

MemoryPartition::Slot* MemoryPartition::Insert(uint32_t table, FeatureId id, uint32_t hash) {
  const uint32_t size_class = (*tables_)[table].size_class;
  ClassOf(table);  // Exists from here on.
  uint64_t offset = 0;
  if (!TakeRow(size_class, &offset)) {
    if ((blocked_ >> BlockedBit(size_class)) & 1) return nullptr;
    const bool freed = StealSlab(size_class) || EvictOne(size_class);
    if (!freed || !TakeRow(size_class, &offset)) {
      blocked_ |= uint64_t{1} << BlockedBit(size_class);
      return nullptr;
    }
  }
  if (!MakeRoomInIndex()) {
    SizeClass& c = classes_[size_class];
    *reinterpret_cast<uint64_t*>(arena_->At(offset)) = c.free;
    c.free = offset + 1;
    return nullptr;
  }
  uint64_t i = hash & mask_;
  while (slots_[i].word != 0) i = (i + 1) & mask_;
  slots_[i].id = id;
  slots_[i].word = ((offset / kRowAlignment + 1) << kOffsetShift) |
                   (uint64_t{table} << kTableShift) | kRowReferenced;
  ++count_;
  if (rows_of_table_.size() <= table) rows_of_table_.resize(table + 1);
  ++rows_of_table_[table];
  return &slots_[i];
}

void MemoryPartition::Erase(Slot* slot) {
  RemoveRow(static_cast<uint64_t>(slot - slots_));
}

bool MemoryPartition::TakeRow(uint32_t size_class, uint64_t* offset) {
  SizeClass& c = classes_[size_class];
  if (c.free != 0) {
    *offset = c.free - 1;
    c.free = *reinterpret_cast<const uint64_t*>(arena_->At(*offset));
    return true;
  }
  if (Carve(c, offset)) return true;
  const int64_t slab = arena_->TakeSlab();
  if (slab < 0) return false;
  c.slabs.push_back(static_cast<uint64_t>(slab));
  c.carve_next = static_cast<uint64_t>(slab);
  c.carve_end = c.carve_next + static_cast<uint64_t>(arena_->slab_bytes());
  return Carve(c, offset);
}

bool MemoryPartition::Carve(SizeClass& c, uint64_t* offset) {
  if (c.carve_next + c.row_bytes > c.carve_end) return false;
  *offset = c.carve_next;
  c.carve_next += c.row_bytes;
  return true;
}

bool MemoryPartition::MakeRoomInIndex() {
  const uint64_t capacity = mask_ + 1;
  if ((count_ + 1) * 100 <= capacity * kLoadPercent) return true;
  if (Grow()) return true;
  if ((count_ + 1) * 100 <= capacity * kLoadPercentMax) return true;
  const uint64_t blocked = uint64_t{1} << BlockedBit(kAnyClass);
  if ((blocked_ & blocked) != 0) return false;
  if (EvictOne(kAnyClass)) return true;
  blocked_ |= blocked;
  return false;
}

bool MemoryPartition::Grow() {
  const uint64_t old_capacity = mask_ + 1;
  const uint64_t capacity = 2 * old_capacity;
  const auto bytes = static_cast<int64_t>(capacity * sizeof(Slot));
  if (!arena_->Reserve(bytes)) return false;
  auto* slots = static_cast<Slot*>(MapPages(static_cast<size_t>(bytes)));
  if (slots == nullptr) {
    arena_->Release(bytes);
    return false;
  }
  Slot* old = slots_;
  slots_ = slots;
  mask_ = capacity - 1;
  hand_ = 0;
  for (uint64_t i = 0; i < old_capacity; ++i) {
    if (old[i].word == 0) continue;
    uint64_t to = HomeOf(old[i]);
    while (slots_[to].word != 0) to = (to + 1) & mask_;
    slots_[to] = old[i];
  }
  UnmapPages(old, old_capacity * sizeof(Slot));
  arena_->Release(static_cast<int64_t>(old_capacity * sizeof(Slot)));
  return true;
}

bool MemoryPartition::EvictOne(uint32_t size_class) {
  // Two turns: the first may only clear reference bits.
  const uint64_t steps = 2 * (mask_ + 1);
  for (uint64_t step = 0; step < steps; ++step) {
    Slot& slot = slots_[hand_];
    const bool candidate =
        slot.word != 0 && (slot.word & kHeld) == 0 &&
        (size_class == kAnyClass || (*tables_)[TableOf(slot)].size_class == size_class);
    if (candidate && (slot.word & kRowReferenced) == 0) {
      RemoveRow(hand_);
      return true;
    }
    if (candidate) slot.word &= ~uint64_t{kRowReferenced};
    hand_ = (hand_ + 1) & mask_;
    PrefetchVictim(size_class);
  }
  return false;
}

void MemoryPartition::PrefetchVictim(uint32_t size_class) const {
  // The hand comes to it in a few evictions: its first line is written then, and all of it
  // by the row that takes its place.
  const Slot& slot = slots_[(hand_ + kVictimAhead) & mask_];
  if (slot.word == 0 || (slot.word & (kHeld | kRowReferenced)) != 0) return;
  const MemoryTable& table = (*tables_)[TableOf(slot)];
  if (size_class != kAnyClass && table.size_class != size_class) return;
  PrefetchLines(RowOf(slot), table.row_bytes);
}

void MemoryPartition::RemoveRow(uint64_t index) {
  const Slot slot = slots_[index];
  if ((slot.word & kRowModified) != 0) ++modified_evictions_;
  const uint32_t table = TableOf(slot);
  SizeClass& c = classes_[(*tables_)[table].size_class];
  const uint64_t offset = ((slot.word >> kOffsetShift) - 1) * kRowAlignment;
  *reinterpret_cast<uint64_t*>(arena_->At(offset)) = c.free;
  c.free = offset + 1;
  --rows_of_table_[table];
  --count_;
  RemoveSlot(index);
}

void MemoryPartition::RemoveSlot(uint64_t index) {
  // Moves later members of the probe run back over the hole unless that would put
  // one before its home.
  uint64_t hole = index;
  for (uint64_t i = (hole + 1) & mask_; slots_[i].word != 0; i = (i + 1) & mask_) {
    const uint64_t home = HomeOf(slots_[i]);
    if (((i - home) & mask_) >= ((i - hole) & mask_)) {
      slots_[hole] = slots_[i];
      hole = i;
    }
  }
  slots_[hole] = Slot{};
}

bool MemoryPartition::StealSlab(uint32_t size_class) {
  size_t total = 0;
  SizeClass* richest = nullptr;
  for (SizeClass& c : classes_) {
    total += c.slabs.size();
    if (richest == nullptr || c.slabs.size() > richest->slabs.size()) richest = &c;
  }
  SizeClass& to = classes_[size_class];
  if (richest == &to || to.slabs.size() * kShareOfSlabs >= total) return false;
  // The oldest slabs first; a few tries bound the time under the lock.
  const size_t tries = std::min<size_t>(4, richest->slabs.size());
  for (size_t i = 0; i < tries; ++i) {
    const uint64_t slab = richest->slabs[i];
    if (!EmptySlab(*richest, slab)) continue;
    richest->slabs.erase(richest->slabs.begin() + static_cast<std::ptrdiff_t>(i));
    to.slabs.push_back(slab);
    to.carve_next = slab;
    to.carve_end = slab + static_cast<uint64_t>(arena_->slab_bytes());
    return true;
  }
  return false;
}

bool MemoryPartition::EmptySlab(SizeClass& from, uint64_t slab) {
  const uint64_t end = slab + static_cast<uint64_t>(arena_->slab_bytes());
  auto inside = [&](const Slot& slot) {
    const uint64_t offset = ((slot.word >> kOffsetShift) - 1) * kRowAlignment;
    return slot.word != 0 && offset >= slab && offset < end;
  };
  for (const Slot& slot : *this) {
    if (inside(slot) && (slot.word & kHeld) != 0) return false;
  }
  for (uint64_t i = 0; i <= mask_;) {
    // A removal may shift another row into this place.
    if (inside(slots_[i])) {
      RemoveRow(i);
    } else {
      ++i;
    }
  }
  // A run that wraps around the end may have brought a row of the slab to a place
  // already passed.
  for (uint64_t i = 0; i <= mask_ && slots_[i].word != 0;) {
    if (inside(slots_[i])) {
      RemoveRow(i);
    } else {
      ++i;
    }
  }
  if (from.carve_next >= slab && from.carve_next <= end && from.carve_end == end) {
    from.carve_next = from.carve_end = 0;
  }
  uint64_t* link = &from.free;
  while (*link != 0) {
    const uint64_t offset = *link - 1;
    auto* next = reinterpret_cast<uint64_t*>(arena_->At(offset));
    if (offset >= slab && offset < end) {
      *link = *next;
    } else {
      link = next;
    }
  }
  return true;
}

}  // namespace pagoda
