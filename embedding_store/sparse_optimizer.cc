#include "embedding_store/sparse_optimizer.h"

#include "base/hash.h"
#include "base/status_macros.h"

// One copy of each loop per vector width, chosen when the program starts. The
// sanitizers' runtimes do not survive the resolver functions this needs.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__clang__)
#define PAGODA_EACH_VECTOR_WIDTH __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define PAGODA_EACH_VECTOR_WIDTH
#endif

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
  const SparseOptimizerKind kind = options.optimizer.kind;
  const bool accumulates =
      kind == SparseOptimizerKind::kAdagrad || kind == SparseOptimizerKind::kRowwiseAdagrad;
  const float initial = accumulates ? options.optimizer.initial_accumulator : 0.0f;
  std::fill_n(row + dim, SlotDim(kind, dim), initial);
}

RowUpdateSettings MakeRowUpdateSettings(const SparseOptimizerOptions& options, float learning_rate,
                                        float learning_rate_factor) {
  RowUpdateSettings s;
  s.learning_rate = learning_rate * learning_rate_factor;
  s.epsilon = options.epsilon;
  s.beta1 = options.beta1;
  s.beta2 = options.beta2;
  s.l2 = options.l2;
  s.ftrl_l1 = options.ftrl_l1;
  s.ftrl_l2 = options.ftrl_l2;
  s.ftrl_beta = options.ftrl_beta;
  return s;
}

void UpdateRows(SparseOptimizerKind kind, const RowUpdateSettings& settings, int64_t dim,
                std::span<float* const> rows, std::span<const float* const> gradients) {
  PAGODA_CHECK(rows.size() == gradients.size());
  const size_t count = rows.size();
  float* const* r = rows.data();
  const float* const* g = gradients.data();
  switch (kind) {
    case SparseOptimizerKind::kSgd: return SgdRows(settings, dim, r, g, count);
    case SparseOptimizerKind::kAdagrad: return AdagradRows(settings, dim, r, g, count);
    case SparseOptimizerKind::kRowwiseAdagrad:
      return RowwiseAdagradRows(settings, dim, r, g, count);
    case SparseOptimizerKind::kAdam: return AdamRows(settings, dim, r, g, count);
    case SparseOptimizerKind::kFtrl: return FtrlRows(settings, dim, r, g, count);
  }
}

}  // namespace pagoda
