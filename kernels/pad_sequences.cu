// Bound by memory: 4 d bytes read and written a position. Sums of one row or none
// (gpu_row_sum.h); unpadding finds the sequence of a row by bisection of the offsets.
#include "kernels/pad_sequences_gpu.h"

#include "kernels/gpu_row_sum.h"

namespace pagoda {
namespace {

struct PadTerms {
  const float* ragged;
  const int32_t* offsets;
  float* padded;
  uint32_t length;
  int64_t d;
  // Positions are counted in 32 bits, as offsets are.
  __device__ int64_t begin(int64_t p) const {
    const uint32_t i = static_cast<uint32_t>(p) / length;
    return offsets[i] + (static_cast<uint32_t>(p) - i * length);
  }
  __device__ int64_t end(int64_t p) const {
    const int64_t row = begin(p);
    return row < offsets[static_cast<uint32_t>(p) / length + 1] ? row + 1 : row;
  }
  __device__ const float* row(int64_t i) const { return ragged + i * d; }
  __device__ float scale(int64_t) const { return 1.0f; }
  __device__ float factor(int64_t) const { return 1.0f; }
  __device__ float* out(int64_t p) const { return padded + p * d; }
};

struct UnpadTerms {
  const float* padded;
  const int32_t* offsets;
  float* ragged;
  int64_t num_sequences;
  int64_t length;
  int64_t d;
  __device__ int64_t begin(int64_t i) const { return i; }
  __device__ int64_t end(int64_t i) const {
    return i - offsets[SegmentOf(offsets, num_sequences, i)] < length ? i + 1 : i;
  }
  __device__ const float* row(int64_t i) const {
    const int64_t s = SegmentOf(offsets, num_sequences, i);
    return padded + (s * length + (i - offsets[s])) * d;
  }
  __device__ float scale(int64_t) const { return 1.0f; }
  __device__ float factor(int64_t) const { return 1.0f; }
  __device__ float* out(int64_t i) const { return ragged + i * d; }
};

}  // namespace

absl::Status PadSequencesGpu(Context& ctx, const Tensor& ragged, const Tensor& offsets, float beta,
                             const Tensor& padded) {
  const PadTerms terms = {ragged.data<float>(), offsets.data<int32_t>(), padded.data<float>(),
                          static_cast<uint32_t>(padded.dim(1)), padded.dim(2)};
  return SumFewRowsOnGpu(ctx, "PadSequences", terms, padded.dim(0) * padded.dim(1), padded.dim(2),
                         beta, RowsMoveByFour(padded.dim(2), {terms.ragged, terms.padded}));
}

absl::Status UnpadSequencesGpu(Context& ctx, const Tensor& padded, const Tensor& offsets,
                               float beta, const Tensor& ragged) {
  const UnpadTerms terms = {padded.data<float>(), offsets.data<int32_t>(), ragged.data<float>(),
                            padded.dim(0),        padded.dim(1),           padded.dim(2)};
  return SumFewRowsOnGpu(ctx, "UnpadSequences", terms, ragged.dim(0), ragged.dim(1), beta,
                         RowsMoveByFour(ragged.dim(1), {terms.padded, terms.ragged}));
}

}  // namespace pagoda
