#include "embedding_store/sparse_optimizer.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "base/hash.h"
#include "base/status_macros.h"
#include "embedding_store/vector_width.h"

namespace pagoda {
namespace {

PAGODA_EACH_VECTOR_WIDTH
void SgdRows(const RowUpdateSettings& s, int64_t dim, float* const* rows,
             const float* const* gradients, size_t count) {
  for (size_t i = 0; i < count; ++i) UpdateRowSgd(s, dim, gradients[i], rows[i]);
}

PAGODA_EACH_VECTOR_WIDTH
void AdagradRows(const RowUpdateSettings& s, int64_t dim, float* const* rows,
                 const float* const* gradients, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    UpdateRowAdagrad(s, dim, gradients[i], rows[i], rows[i] + dim);
  }
}

PAGODA_EACH_VECTOR_WIDTH
void RowwiseAdagradRows(const RowUpdateSettings& s, int64_t dim, float* const* rows,
                        const float* const* gradients, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    UpdateRowRowwiseAdagrad(s, dim, gradients[i], rows[i], rows[i] + dim);
  }
}

PAGODA_EACH_VECTOR_WIDTH
void AdamRows(const RowUpdateSettings& s, int64_t dim, float* const* rows,
              const float* const* gradients, size_t count) {
  for (size_t i = 0; i < count; ++i) UpdateRowAdam(s, dim, gradients[i], rows[i], rows[i] + dim);
}

PAGODA_EACH_VECTOR_WIDTH
void FtrlRows(const RowUpdateSettings& s, int64_t dim, float* const* rows,
              const float* const* gradients, size_t count) {
  for (size_t i = 0; i < count; ++i) UpdateRowFtrl(s, dim, gradients[i], rows[i], rows[i] + dim);
}

PAGODA_EACH_VECTOR_WIDTH
void MomentumRows(const RowUpdateSettings& s, int64_t dim, float* const* rows,
                  const float* const* gradients, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    UpdateRowMomentum(s, dim, gradients[i], rows[i], rows[i] + dim);
  }
}

PAGODA_EACH_VECTOR_WIDTH
void AdagradDecayRows(const RowUpdateSettings& s, int64_t dim, float* const* rows,
                      const float* const* gradients, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    UpdateRowAdagradDecay(s, dim, gradients[i], rows[i], rows[i] + dim);
  }
}

PAGODA_EACH_VECTOR_WIDTH
void RowwiseAdamRows(const RowUpdateSettings& s, int64_t dim, float* const* rows,
                     const float* const* gradients, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    UpdateRowRowwiseAdam(s, dim, gradients[i], rows[i], rows[i] + dim);
  }
}

PAGODA_EACH_VECTOR_WIDTH
void GroupFtrlRows(const RowUpdateSettings& s, int64_t dim, float* const* rows,
                   const float* const* gradients, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    UpdateRowGroupFtrl(s, dim, gradients[i], rows[i], rows[i] + dim);
  }
}

PAGODA_EACH_VECTOR_WIDTH
bool AllAreFinite(const float* values, size_t count) {
  constexpr uint32_t kExponentBits = 0x7f800000U;
  uint32_t bad = 0;
  for (size_t i = 0; i < count; ++i) {
    bad |= (std::bit_cast<uint32_t>(values[i]) & kExponentBits) == kExponentBits ? 1U : 0U;
  }
  return bad == 0;
}

PAGODA_EACH_VECTOR_WIDTH
void ClipRows(const RowUpdateSettings& s, int64_t dim, const float* const* gradients, size_t count,
              float* clipped) {
  for (size_t i = 0; i < count; ++i) {
    ClipRowGradient(s, dim, gradients[i], clipped + i * static_cast<size_t>(dim));
  }
}

void UpdateRowsUnclipped(SparseOptimizerKind kind, const RowUpdateSettings& settings, int64_t dim,
                         float* const* r, const float* const* g, size_t count) {
  switch (kind) {
    case SparseOptimizerKind::kSgd: return SgdRows(settings, dim, r, g, count);
    case SparseOptimizerKind::kAdagrad: return AdagradRows(settings, dim, r, g, count);
    case SparseOptimizerKind::kRowwiseAdagrad:
      return RowwiseAdagradRows(settings, dim, r, g, count);
    case SparseOptimizerKind::kAdam:
    case SparseOptimizerKind::kAdamW: return AdamRows(settings, dim, r, g, count);
    case SparseOptimizerKind::kFtrl: return FtrlRows(settings, dim, r, g, count);
    case SparseOptimizerKind::kMomentum: return MomentumRows(settings, dim, r, g, count);
    case SparseOptimizerKind::kAdagradDecay: return AdagradDecayRows(settings, dim, r, g, count);
    case SparseOptimizerKind::kRowwiseAdam: return RowwiseAdamRows(settings, dim, r, g, count);
    case SparseOptimizerKind::kGroupFtrl: return GroupFtrlRows(settings, dim, r, g, count);
  }
}

}  // namespace

RandomKey InitialValueKey(const TableOptions& options) {
  return RandomKey{options.seed}.Derive(HashBytes(options.name));
}

void FillInitialRow(const TableOptions& options, RandomKey key, FeatureId id, float* row) {
  const int64_t dim = options.dim;
  std::fill(row, row + options.init_zero_columns, 0.0f);
  if (options.init_stddev == 0.0f) {
    std::fill(row + options.init_zero_columns, row + dim, 0.0f);
  } else {
    const RandomKey row_key = key.Derive(id);
    for (int64_t c = options.init_zero_columns; c < dim; ++c) {
      row[c] = options.init_stddev * RandomNormal(row_key, static_cast<uint64_t>(c));
    }
  }
  FillInitialSlots(options, row + dim);
}

void FillInitialSlots(const TableOptions& options, float* slots) {
  const SparseOptimizerKind kind = options.optimizer.kind;
  std::fill_n(slots, SlotDim(kind, options.dim), 0.0f);
  const float initial = options.optimizer.initial_accumulator;
  if (kind == SparseOptimizerKind::kAdagrad || kind == SparseOptimizerKind::kAdagradDecay) {
    std::fill_n(slots, options.dim, initial);
  }
  if (kind == SparseOptimizerKind::kRowwiseAdagrad) slots[0] = initial;
}

float LearningRateAt(const SparseOptimizerOptions& options, Step step) {
  return options.learning_rate * RateFactor(options.schedule, step);
}

RowUpdateSettings MakeRowUpdateSettings(const SparseOptimizerOptions& options, float learning_rate,
                                        float learning_rate_factor, Step step) {
  RowUpdateSettings s;
  s.learning_rate = learning_rate * learning_rate_factor;
  s.decay = s.learning_rate * options.weight_decay;
  s.epsilon = options.epsilon;
  s.beta1 = options.beta1;
  s.beta2 = options.beta2;
  s.l2 = options.l2;
  s.ftrl_l1 = options.ftrl_l1;
  s.ftrl_l2 = options.ftrl_l2;
  s.ftrl_l21 = options.ftrl_l21;
  s.ftrl_beta = options.ftrl_beta;
  s.momentum = options.momentum;
  s.accumulator_decay = options.accumulator_decay;
  s.accumulator_floor = options.initial_accumulator;
  if (options.kind == SparseOptimizerKind::kAdagradDecay) {
    s.periods = static_cast<float>(step / options.decay_steps);
  }
  s.clip_norm = options.clip_norm;
  s.clip_value = options.clip_value;
  return s;
}

bool GradientsAreFinite(std::span<const float> gradients) {
  return AllAreFinite(gradients.data(), gradients.size());
}

void UpdateRows(SparseOptimizerKind kind, const RowUpdateSettings& settings, int64_t dim,
                std::span<float* const> rows, std::span<const float* const> gradients) {
  PAGODA_CHECK(rows.size() == gradients.size());
  const size_t count = rows.size();
  if (settings.clip_norm <= 0.0f && settings.clip_value <= 0.0f) {
    return UpdateRowsUnclipped(kind, settings, dim, rows.data(), gradients.data(), count);
  }
  thread_local std::vector<float> clipped;
  thread_local std::vector<const float*> pointers;
  clipped.resize(std::max(clipped.size(), count * static_cast<size_t>(dim)));
  ClipRows(settings, dim, gradients.data(), count, clipped.data());
  pointers.clear();
  for (size_t i = 0; i < count; ++i) {
    pointers.push_back(clipped.data() + i * static_cast<size_t>(dim));
  }
  UpdateRowsUnclipped(kind, settings, dim, rows.data(), pointers.data(), count);
}

}  // namespace pagoda
