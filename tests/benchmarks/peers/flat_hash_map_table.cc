#include "tests/benchmarks/peers/flat_hash_map_table.h"

#include <cstring>

#include "embedding_store/sparse_optimizer.h"

namespace pagoda {
namespace {

constexpr size_t kSlotAhead = 24;
constexpr size_t kRowAhead = 12;
constexpr size_t kRing = 32;  // Power of two, above kSlotAhead.

}  // namespace

FlatHashMapTable::FlatHashMapTable(int64_t rows, int64_t dim, ThreadPool* pool)
    : dim_(static_cast<size_t>(dim)), pool_(pool) {
  numbers_.reserve(static_cast<size_t>(rows));
  rows_.resize(static_cast<size_t>(rows) * 2 * dim_);
}

void FlatHashMapTable::Insert(FeatureId id) {
  numbers_.emplace(id, static_cast<uint32_t>(numbers_.size()));
}

template <typename Visit>
void FlatHashMapTable::VisitRows(std::span<const FeatureId> ids, size_t prefetched_bytes,
                                 const Visit& visit) {
  const auto parts = static_cast<size_t>(pool_->num_threads());
  pool_->ParallelFor(pool_->num_threads(), [&](int64_t part) {
    const size_t begin = ids.size() * static_cast<size_t>(part) / parts;
    const size_t end = ids.size() * static_cast<size_t>(part + 1) / parts;
    float* ring[kRing];
    for (size_t i = begin; i < end + kSlotAhead; ++i) {
      if (i < end) numbers_.prefetch(ids[i]);
      if (i >= begin + kSlotAhead - kRowAhead && i - (kSlotAhead - kRowAhead) < end) {
        const size_t j = i - (kSlotAhead - kRowAhead);
        float* row = rows_.data() + size_t{numbers_.find(ids[j])->second} * 2 * dim_;
        for (size_t at = 0; at < prefetched_bytes; at += 64) {
          __builtin_prefetch(reinterpret_cast<const char*>(row) + at);
        }
        ring[j % kRing] = row;
      }
      if (i >= begin + kSlotAhead) visit(i - kSlotAhead, ring[(i - kSlotAhead) % kRing]);
    }
  });
}

void FlatHashMapTable::Pull(std::span<const FeatureId> ids, float* weights) {
  const size_t bytes = dim_ * sizeof(float);
  VisitRows(ids, bytes,
            [&](size_t i, const float* row) { std::memcpy(weights + i * dim_, row, bytes); });
}

void FlatHashMapTable::PushAdagrad(std::span<const FeatureId> ids, const float* gradients,
                                   float learning_rate) {
  RowUpdateSettings settings;
  settings.learning_rate = learning_rate;
  VisitRows(ids, 2 * dim_ * sizeof(float), [&](size_t i, float* row) {
    const float* gradient = gradients + i * dim_;
    UpdateRows(SparseOptimizerKind::kAdagrad, settings, static_cast<int64_t>(dim_), {&row, 1},
               {&gradient, 1});
  });
}

}  // namespace pagoda
