#include "tests/benchmarks/bare_table.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/hash.h"
#include "base/status_macros.h"
#include "embedding_store/sparse_optimizer.h"

namespace pagoda {
namespace {

constexpr size_t kHeaderBytes = 16;
constexpr size_t kSlotAhead = 24;
constexpr size_t kRowAhead = 12;
constexpr size_t kRing = 32;  // Power of two, above kSlotAhead.

void* MapHuge(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  PAGODA_CHECK(memory != MAP_FAILED);
  madvise(memory, bytes, MADV_HUGEPAGE);
  return memory;
}

}  // namespace

BareTable::BareTable(int64_t rows, int64_t dim, int64_t slot_dim, ThreadPool* pool)
    : dim_(dim),
      stride_((kHeaderBytes + static_cast<size_t>(dim + slot_dim) * sizeof(float) + 15) / 16 * 16),
      pool_(pool) {
  const uint64_t slots = std::bit_ceil(static_cast<uint64_t>(2 * rows));
  mask_ = slots - 1;
  slots_bytes_ = slots * sizeof(Slot);
  rows_bytes_ = static_cast<size_t>(rows) * stride_;
  slots_ = static_cast<Slot*>(MapHuge(slots_bytes_));
  rows_ = static_cast<char*>(MapHuge(rows_bytes_));
}

BareTable::~BareTable() {
  munmap(slots_, slots_bytes_);
  munmap(rows_, rows_bytes_);
}

void BareTable::Insert(FeatureId id) {
  uint64_t i = MixBits(id) & mask_;
  while (slots_[i].row != 0) i = (i + 1) & mask_;
  slots_[i] = {id, ++next_row_};
  std::memset(rows_ + (next_row_ - 1) * stride_, 0, stride_);
}

const BareTable::Slot* BareTable::Find(FeatureId id) const {
  uint64_t i = MixBits(id) & mask_;
  while (slots_[i].id != id || slots_[i].row == 0) i = (i + 1) & mask_;
  return &slots_[i];
}

template <bool kWrite, typename Visit>
void BareTable::VisitRows(std::span<const FeatureId> ids, const Visit& visit) {
  const auto parts = static_cast<size_t>(pool_->num_threads());
  pool_->ParallelFor(pool_->num_threads(), [&](int64_t part) {
    const size_t begin = ids.size() * static_cast<size_t>(part) / parts;
    const size_t end = ids.size() * static_cast<size_t>(part + 1) / parts;
    char* ring[kRing];
    for (size_t i = begin; i < end + kSlotAhead; ++i) {
      if (i < end) __builtin_prefetch(&slots_[MixBits(ids[i]) & mask_]);
      if (i >= begin + kSlotAhead - kRowAhead && i - (kSlotAhead - kRowAhead) < end) {
        const size_t j = i - (kSlotAhead - kRowAhead);
        char* row = rows_ + (Find(ids[j])->row - 1) * stride_;
        const size_t bytes = kWrite ? stride_ : kHeaderBytes + static_cast<size_t>(dim_) * 4;
        for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch(row + at, kWrite ? 1 : 0);
        ring[j % kRing] = row;
      }
      if (i >= begin + kSlotAhead) visit(i - kSlotAhead, ring[(i - kSlotAhead) % kRing]);
    }
  });
}

void BareTable::Pull(std::span<const FeatureId> ids, float* weights) {
  const auto bytes = static_cast<size_t>(dim_) * sizeof(float);
  VisitRows<false>(ids, [&](size_t i, const char* row) {
    std::memcpy(weights + i * static_cast<size_t>(dim_), row + kHeaderBytes, bytes);
  });
}

void BareTable::PushAdagrad(std::span<const FeatureId> ids, const float* gradients,
                            float learning_rate) {
  RowUpdateSettings settings;
  settings.learning_rate = learning_rate;
  VisitRows<true>(ids, [&](size_t i, char* row) {
    float* floats = reinterpret_cast<float*>(row + kHeaderBytes);
    const float* gradient = gradients + i * static_cast<size_t>(dim_);
    UpdateRows(SparseOptimizerKind::kAdagrad, settings, dim_, {&floats, 1}, {&gradient, 1});
  });
}

}  // namespace pagoda
