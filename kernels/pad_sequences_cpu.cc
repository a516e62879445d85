// Copies of rows, bound by memory; cut by sequences.
#include "kernels/pad_sequences.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/pad_sequences_gpu.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

struct Sequences {
  const float* from;  // Null: zeros.
  float* to;
  float beta;
};

// to = beta * to + from on [begin, end) of a run of elements.
template <int kLanes>
PAGODA_INLINE void MoveRun(const Sequences& s, int64_t begin, int64_t end) {
  if (s.beta == 0.0f && s.from == nullptr) {
    for (int64_t i = begin; i < end; ++i) s.to[i] = 0.0f;
  } else if (s.beta == 0.0f) {
    PAGODA_IVDEP
    for (int64_t i = begin; i < end; ++i) s.to[i] = s.from[i];
  } else if (s.from == nullptr) {
    for (int64_t i = begin; i < end; ++i) s.to[i] = s.beta * s.to[i];
  } else {
    PAGODA_IVDEP
    for (int64_t i = begin; i < end; ++i) s.to[i] = s.beta * s.to[i] + s.from[i];
  }
}
PAGODA_VECTOR_VERSIONS(MoveRun, Sequences)

absl::Status Check(Context& ctx, const char* op, const Tensor& ragged, const Tensor& offsets,
                   const Tensor& padded) {
  ArgumentCheck check(ctx, op);
  if (!check.Rank("padded", padded, 3).Rank("ragged", ragged, 2).ok()) return check.status();
  check.Has("ragged", ragged, {ragged.dim(0), padded.dim(2)})
      .Has("offsets", offsets, {padded.dim(0) + 1}, DType::kI32);
  return check.status();
}

}  // namespace

absl::Status PadSequences(Context& ctx, const Tensor& ragged, const Tensor& offsets, float beta,
                          const Tensor& padded) {
  KernelScope scope(ctx);
  PAGODA_RETURN_IF_ERROR(Check(ctx, "PadSequences", ragged, offsets, padded));
  PAGODA_ON_GPU(ctx, PadSequencesGpu(ctx, ragged, offsets, beta, padded));
  const int64_t n = padded.dim(0), length = padded.dim(1), d = padded.dim(2);
  const int32_t* const ends = offsets.data<int32_t>();
  ForChunks(ctx, n, RowsPerChunk(length * d), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t there = std::min<int64_t>(ends[i + 1] - ends[i], length) * d;
      float* const to = padded.data<float>() + i * length * d;
      RunMoveRun({ragged.data<float>() + ends[i] * d, to, beta}, 0, there);
      RunMoveRun({nullptr, to, beta}, there, length * d);
    }
  });
  return absl::OkStatus();
}

absl::Status UnpadSequences(Context& ctx, const Tensor& padded, const Tensor& offsets, float beta,
                            const Tensor& ragged) {
  KernelScope scope(ctx);
  PAGODA_RETURN_IF_ERROR(Check(ctx, "UnpadSequences", ragged, offsets, padded));
  PAGODA_ON_GPU(ctx, UnpadSequencesGpu(ctx, padded, offsets, beta, ragged));
  const int64_t n = padded.dim(0), length = padded.dim(1), d = padded.dim(2);
  const int32_t* const ends = offsets.data<int32_t>();
  ForChunks(ctx, n, RowsPerChunk(length * d), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t all = (ends[i + 1] - ends[i]) * d;
      const int64_t there = std::min(all, length * d);
      float* const to = ragged.data<float>() + ends[i] * d;
      RunMoveRun({padded.data<float>() + i * length * d, to, beta}, 0, there);
      RunMoveRun({nullptr, to, beta}, there, all);
    }
  });
  return absl::OkStatus();
}

}  // namespace pagoda
