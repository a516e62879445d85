// Bound by the random bits: two rounds of mixing, five 64-bit products an element.
#include "kernels/dropout.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/dropout_gpu.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

struct Operands {
  const float* x;
  RandomKey key;
  uint64_t first;      // Counter of element 0.
  uint32_t threshold;  // Kept iff the upper 24 random bits reach it.
  float scale;
  float beta;
  float* out;
  const int64_t* counters = nullptr;  // Of rows of d elements, instead of `first`.
  int64_t d = 0;
};

// Elements [begin, end), whose counters begin at `first`. The random bits of a block come
// first, in a loop of 64-bit numbers alone: mixed widths keep the compiler from using vectors.
PAGODA_INLINE void MaskElements(const Operands& o, uint64_t first, int64_t begin, int64_t end) {
  constexpr int64_t kBlock = 128;
  uint32_t upper[kBlock];
  for (int64_t i = begin; i < end; i += kBlock) {
    const int64_t count = std::min(kBlock, end - i);
    const float* x = o.x + i;
    float* out = o.out + i;
    for (int64_t j = 0; j < kBlock; ++j) {
      upper[j] = static_cast<uint32_t>(
          RandomBits(o.key, first + static_cast<uint64_t>(i - begin + j)) >> 40);
    }
    if (o.beta == 0.0f) {
      PAGODA_IVDEP
      for (int64_t j = 0; j < count; ++j) {
        const float kept = x[j] * o.scale;
        out[j] = upper[j] >= o.threshold ? kept : 0.0f;
      }
    } else {
      PAGODA_IVDEP
      for (int64_t j = 0; j < count; ++j) {
        const float kept = x[j] * o.scale;
        out[j] = o.beta * out[j] + (upper[j] >= o.threshold ? kept : 0.0f);
      }
    }
  }
}

template <int kLanes>
PAGODA_INLINE void MaskRange(const Operands& o, int64_t begin, int64_t end) {
  MaskElements(o, o.first + static_cast<uint64_t>(begin), begin, end);
}
PAGODA_VECTOR_VERSIONS(MaskRange, Operands)

template <int kLanes>
PAGODA_INLINE void MaskRows(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    MaskElements(o, static_cast<uint64_t>(o.counters[i]), i * o.d, (i + 1) * o.d);
  }
}
PAGODA_VECTOR_VERSIONS(MaskRows, Operands)

absl::Status CheckRate(const char* op, float rate) {
  if (rate >= 0.0f && rate < 1.0f) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(op, ": rate is ", rate, ", expected one in [0, 1)"));
}

// RandomUniform is k * 2^-24 for an integer k, so that "uniform >= rate" is
// "k >= ceil(rate * 2^24)", without rounding: the product is exact.
uint32_t Threshold(float rate) {
  return static_cast<uint32_t>(std::ceil(rate * 16777216.0f));
}

}  // namespace

absl::Status Dropout(Context& ctx, const Tensor& x, const DropoutArgs& args, float beta,
                     const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "Dropout");
  check.Present("x", x).Has("out", out, x.shape());
  if (check.ok()) PAGODA_RETURN_IF_ERROR(CheckRate("Dropout", args.rate));
  check.That(x.rank() >= 1, "x has no rows");
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, DropoutGpu(ctx, x, args, beta, out));
  const int64_t d = x.dim(0) > 0 ? x.size() / x.dim(0) : 0;
  const Operands operands{x.data<float>(),
                          args.key,
                          args.first_row * static_cast<uint64_t>(d),
                          Threshold(args.rate),
                          1.0f / (1.0f - args.rate),
                          beta,
                          out.data<float>()};
  ForChunks(ctx, x.size(), kChunkElements,
            [&](int64_t, int64_t begin, int64_t end) { RunMaskRange(operands, begin, end); });
  return absl::OkStatus();
}

absl::Status DropoutRows(Context& ctx, const Tensor& x, const Tensor& counters,
                         const DropoutArgs& args, float beta, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "DropoutRows");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  check.Has("counters", counters, {x.dim(0)}, DType::kI64).Has("out", out, x.shape());
  if (!check.ok()) return check.status();
  PAGODA_RETURN_IF_ERROR(CheckRate("DropoutRows", args.rate));
  PAGODA_ON_GPU(ctx, DropoutRowsGpu(ctx, x, counters, args, beta, out));
  const Operands operands{x.data<float>(),
                          args.key,
                          0,
                          Threshold(args.rate),
                          1.0f / (1.0f - args.rate),
                          beta,
                          out.data<float>(),
                          counters.data<int64_t>(),
                          x.dim(1)};
  ForChunks(ctx, x.dim(0), RowsPerChunk(x.dim(1)),
            [&](int64_t, int64_t begin, int64_t end) { RunMaskRows(operands, begin, end); });
  return absl::OkStatus();
}

}  // namespace pagoda
