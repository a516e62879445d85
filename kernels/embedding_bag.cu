// Bound by memory. Forward reads nnz rows in random order and writes one a segment;
// backward reads one of dout an occurrence, in random order, and writes one a row: 4 * dim
// bytes each, and 4 to 20 of indices. Sums are in order (gpu_row_sum.h).
#include "kernels/embedding_bag_gpu.h"

#include "kernels/gpu_math.h"
#include "kernels/gpu_row_sum.h"

namespace pagoda {
namespace {

__device__ inline float PoolingScale(int32_t pooling, int64_t count) {
  if (pooling == 0 || count < 2) return 1.0f;
  return pooling == 1 ? MeanScale(count) : SqrtNScale(count);
}

// A segment and its place in the output.
struct Segments {
  const int32_t* offsets;
  const int32_t* columns;
  const int32_t* pooling;
  uint32_t num_features;
  int64_t total_features;
  int64_t dim;

  // Segments are counted in 32 bits, as offsets are.
  __device__ int64_t Place(int64_t segment) const {
    const uint32_t sample = static_cast<uint32_t>(segment) / num_features;
    const uint32_t feature = static_cast<uint32_t>(segment) - sample * num_features;
    return (sample * total_features + columns[feature]) * dim;
  }
  __device__ float Scale(int64_t segment) const {
    return PoolingScale(pooling[static_cast<uint32_t>(segment) % num_features],
                        offsets[segment + 1] - offsets[segment]);
  }
};

struct PoolTerms {
  Segments segments;
  const float* rows;
  const int32_t* inverse;
  float* to;
  __device__ int64_t begin(int64_t s) const { return segments.offsets[s]; }
  __device__ int64_t end(int64_t s) const { return segments.offsets[s + 1]; }
  __device__ const float* row(int64_t i) const { return rows + inverse[i] * segments.dim; }
  __device__ float scale(int64_t) const { return 1.0f; }
  __device__ float factor(int64_t s) const { return segments.Scale(s); }
  __device__ float* out(int64_t s) const { return to + segments.Place(s); }
};

struct PoolGradientTerms {
  Segments segments;
  const float* dout;
  const int32_t* occurrence_offsets;
  const int32_t* occurrence_segments;
  float* drows;
  __device__ int64_t begin(int64_t u) const { return occurrence_offsets[u]; }
  __device__ int64_t end(int64_t u) const { return occurrence_offsets[u + 1]; }
  __device__ const float* row(int64_t i) const {
    return dout + segments.Place(occurrence_segments[i]);
  }
  __device__ float scale(int64_t i) const { return segments.Scale(occurrence_segments[i]); }
  __device__ float factor(int64_t) const { return 1.0f; }
  __device__ float* out(int64_t u) const { return drows + u * segments.dim; }
};

struct GatherTerms {
  const float* rows;
  const int32_t* inverse;
  float* to;
  int64_t dim;
  __device__ int64_t begin(int64_t i) const { return i; }
  __device__ int64_t end(int64_t i) const { return i + 1; }
  __device__ const float* row(int64_t i) const { return rows + inverse[i] * dim; }
  __device__ float scale(int64_t) const { return 1.0f; }
  __device__ float factor(int64_t) const { return 1.0f; }
  __device__ float* out(int64_t i) const { return to + i * dim; }
};

struct GatherGradientTerms {
  const float* dout;
  const int32_t* occurrence_offsets;
  const int32_t* occurrences;
  float* drows;
  int64_t dim;
  __device__ int64_t begin(int64_t u) const { return occurrence_offsets[u]; }
  __device__ int64_t end(int64_t u) const { return occurrence_offsets[u + 1]; }
  __device__ const float* row(int64_t i) const { return dout + occurrences[i] * dim; }
  __device__ float scale(int64_t) const { return 1.0f; }
  __device__ float factor(int64_t) const { return 1.0f; }
  __device__ float* out(int64_t u) const { return drows + u * dim; }
};

Segments SegmentsOf(const EmbeddingBagIndex& index, const Tensor& out) {
  return {index.offsets.data<int32_t>(),
          index.columns.data<int32_t>(),
          index.pooling.data<int32_t>(),
          static_cast<uint32_t>(index.num_features),
          out.dim(1),
          out.dim(2)};
}

}  // namespace

absl::Status EmbeddingBagForwardGpu(Context& ctx, const Tensor& rows,
                                    const EmbeddingBagIndex& index, const Tensor& out) {
  const PoolTerms terms = {SegmentsOf(index, out), rows.data<float>(),
                           index.inverse.data<int32_t>(), out.data<float>()};
  return SumRowsOnGpu(ctx, "EmbeddingBagForward", terms, index.batch * index.num_features,
                      out.dim(2), 0.0f, RowsMoveByFour(out.dim(2), {terms.rows, terms.to}),
                      index.inverse.dim(0) > kLongSum);
}

absl::Status EmbeddingBagBackwardGpu(Context& ctx, const Tensor& dout,
                                     const EmbeddingBagIndex& index, float beta,
                                     const Tensor& drows) {
  const PoolGradientTerms terms = {SegmentsOf(index, dout), dout.data<float>(),
                                   index.occurrence_offsets.data<int32_t>(),
                                   index.occurrence_segments.data<int32_t>(), drows.data<float>()};
  return SumRowsOnGpu(ctx, "EmbeddingBagBackward", terms, drows.dim(0), dout.dim(2), beta,
                      RowsMoveByFour(dout.dim(2), {terms.dout, terms.drows}),
                      index.inverse.dim(0) > kLongSum);
}

absl::Status GatherRowsGpu(Context& ctx, const Tensor& rows, const Tensor& inverse,
                           const Tensor& out) {
  const GatherTerms terms = {rows.data<float>(), inverse.data<int32_t>(), out.data<float>(),
                             rows.dim(1)};
  return SumFewRowsOnGpu(ctx, "GatherRows", terms, inverse.dim(0), rows.dim(1), 0.0f,
                         RowsMoveByFour(rows.dim(1), {terms.rows, terms.to}));
}

absl::Status GatherRowsBackwardGpu(Context& ctx, const Tensor& dout,
                                   const Tensor& occurrence_offsets, const Tensor& occurrences,
                                   float beta, const Tensor& drows) {
  const GatherGradientTerms terms = {dout.data<float>(), occurrence_offsets.data<int32_t>(),
                                     occurrences.data<int32_t>(), drows.data<float>(),
                                     drows.dim(1)};
  return SumRowsOnGpu(ctx, "GatherRowsBackward", terms, drows.dim(0), drows.dim(1), beta,
                      RowsMoveByFour(drows.dim(1), {terms.dout, terms.drows}),
                      occurrences.dim(0) > kLongSum);
}

}  // namespace pagoda
