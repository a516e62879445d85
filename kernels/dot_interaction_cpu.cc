// Pairwise dot products on the host. Contract: dot_interaction.h.
//
// Both directions are one small matrix product per sample, x x^T and G x, whose
// operands fit in the level-1 cache; so each sample is done from start to end on
// one thread, with blocks of sums in registers.
//   Forward   transposes the sample, so that the lanes of a vector are
//             neighbouring pairs (a, b), (a, b + 1), ... and no sum runs across
//             lanes. It computes the lower triangle in blocks of 4 rows, about
//             f * f * d / 2 multiply-adds, then packs the rows of the triangle.
//   Backward  has lanes across d. dout is a packed triangle T with T(a, b) at
//             a (a - 1) / 2 + b; G(a, b) is T(a, b) below the diagonal and
//             T(b, a) above it, read in place: a block of 8 rows of G is 8 rows
//             of T left of the diagonal block and runs of 8 below it.
#include "kernels/dot_interaction.h"

#include <algorithm>
#include <vector>

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/dot_interaction_gpu.h"
#include "kernels/vector_lanes.h"

namespace pagoda {
namespace {

constexpr int64_t kForwardRows = 4;
constexpr int64_t kBackwardRows = 8;

struct DotArgs {
  const float* x;  // [n, f, d]
  float* out;      // [n, pairs]; the gradient in backward
  float* dx;       // [n, f, d]; backward only
  int64_t f;
  int64_t d;
  float beta;  // Of dx.
};

constexpr int64_t PairsBefore(int64_t row) {
  return row * (row - 1) / 2;
}

// xt[k * stride + r] = x[r * d + k]: blocks of 4 x 4 by shuffles, the rest one by one.
PAGODA_INLINE void Transpose(const float* x, int64_t f, int64_t d, int64_t stride, float* xt) {
  const int64_t f4 = f / 4 * 4;
  const int64_t d4 = d / 4 * 4;
  for (int64_t r = 0; r < f4; r += 4) {
    for (int64_t k = 0; k < d4; k += 4)
      TransposeFour(x + r * d + k, d, xt + k * stride + r, stride);
  }
  for (int64_t r = 0; r < f; ++r) {
    for (int64_t k = r < f4 ? d4 : 0; k < d; ++k) xt[k * stride + r] = x[r * d + k];
  }
}

// products[r, c] = <x[row + r], x[c]> for r < 4 and kBlocks vectors of columns
// from `column` on. xt [d, stride] is x transposed.
template <int kLanes, int kBlocks>
PAGODA_INLINE void ProductBlock(const float* const* rows, const float* xt, int64_t stride,
                                int64_t column, int64_t d, float* products) {
  Lanes<kLanes> sum[kForwardRows][kBlocks] = {};
  for (int64_t k = 0; k < d; ++k) {
    const float* from = xt + k * stride + column;
    PAGODA_UNROLL
    for (int64_t r = 0; r < kForwardRows; ++r) {
      PAGODA_UNROLL
      for (int b = 0; b < kBlocks; ++b) sum[r][b] += *At<kLanes>(from + b * kLanes) * rows[r][k];
    }
  }
  PAGODA_UNROLL
  for (int64_t r = 0; r < kForwardRows; ++r) {
    PAGODA_UNROLL
    for (int b = 0; b < kBlocks; ++b) {
      *At<kLanes>(products + r * stride + column + b * kLanes) = sum[r][b];
    }
  }
}

// products [f rounded up to 4, stride]: row a is right in the columns below a.
template <int kLanes>
PAGODA_INLINE void LowerProducts(const float* x, const float* xt, int64_t stride, int64_t f,
                                 int64_t d, float* products) {
  for (int64_t row = 0; row < f; row += kForwardRows) {
    const float* rows[kForwardRows];
    PAGODA_UNROLL
    for (int64_t r = 0; r < kForwardRows; ++r) rows[r] = x + std::min(row + r, f - 1) * d;
    const int64_t columns = std::min(row + kForwardRows, f) - 1;  // Of the block's last row.
    float* to = products + row * stride;
    int64_t c = 0;
    for (; c + kLanes < columns; c += 2 * kLanes) {
      ProductBlock<kLanes, 2>(rows, xt, stride, c, d, to);
    }
    if (c < columns) ProductBlock<kLanes, 1>(rows, xt, stride, c, d, to);
  }
}

// Packs rows 1, 2, ... of the triangle, rounded up to whole vectors where that
// stays inside the sample: the next row overwrites what is too much.
template <int kLanes>
PAGODA_INLINE void PackTriangle(const float* products, int64_t stride, int64_t f, float* out) {
  const int64_t num_pairs = PairsBefore(f);
  for (int64_t a = 1; a < f; ++a) {
    const float* from = products + a * stride;
    float* to = out + PairsBefore(a);
    int64_t c = 0;
    for (; c < a && to + c + kLanes <= out + num_pairs; c += kLanes) {
      *At<kLanes>(to + c) = *At<kLanes>(from + c);
    }
    for (; c < a; ++c) to[c] = from[c];
  }
}

template <int kLanes>
PAGODA_INLINE void DotForwardSamples(const DotArgs& a, int64_t begin, int64_t end) {
  const int64_t stride = (a.f + 2 * kLanes - 1) / (2 * kLanes) * (2 * kLanes);
  const int64_t rows = (a.f + kForwardRows - 1) / kForwardRows * kForwardRows;
  std::vector<float> scratch(static_cast<size_t>(stride * (a.d + rows)), 0.0f);
  float* xt = scratch.data();
  float* products = xt + a.d * stride;
  for (int64_t i = begin; i < end; ++i) {
    const float* x = a.x + i * a.f * a.d;
    Transpose(x, a.f, a.d, stride, xt);
    LowerProducts<kLanes>(x, xt, stride, a.f, a.d, products);
    PackTriangle<kLanes>(products, stride, a.f, a.out + i * PairsBefore(a.f));
  }
}
PAGODA_VECTOR_VERSIONS(DotForwardSamples, DotArgs)

// dx rows [row, row + 8) of one sample, one block of columns.
template <int kWidth>
PAGODA_INLINE void GradientBlock(const DotArgs& a, const float* x, const float* t, int64_t row,
                                 const float (&diagonal)[kBackwardRows][kBackwardRows], int64_t c,
                                 float* dx) {
  const int64_t rows = std::min(kBackwardRows, a.f - row);
  const float* left[kBackwardRows];  // Rows of T; one too many is read as the last.
  PAGODA_UNROLL
  for (int64_t r = 0; r < kBackwardRows; ++r) {
    left[r] = t + PairsBefore(row + std::min(r, rows - 1));
  }
  Lanes<kWidth> sum[kBackwardRows] = {};
  for (int64_t b = 0; b < row; ++b) {
    const Lanes<kWidth> value = *At<kWidth>(x + b * a.d + c);
    PAGODA_UNROLL
    for (int64_t r = 0; r < kBackwardRows; ++r) sum[r] += value * left[r][b];
  }
  for (int64_t b = 0; b < rows; ++b) {
    const Lanes<kWidth> value = *At<kWidth>(x + (row + b) * a.d + c);
    PAGODA_UNROLL
    for (int64_t r = 0; r < kBackwardRows; ++r) sum[r] += value * diagonal[b][r];
  }
  for (int64_t b = row + kBackwardRows; b < a.f; ++b) {
    const Lanes<kWidth> value = *At<kWidth>(x + b * a.d + c);
    const float* run = t + PairsBefore(b) + row;
    PAGODA_UNROLL
    for (int64_t r = 0; r < kBackwardRows; ++r) sum[r] += value * run[r];
  }
  for (int64_t r = 0; r < rows; ++r) {
    Accumulate<kWidth>(a.beta, sum[r], dx + (row + r) * a.d + c);
  }
}

template <int kLanes>
PAGODA_INLINE void DotBackwardSamples(const DotArgs& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* x = a.x + i * a.f * a.d;
    const float* t = a.out + i * PairsBefore(a.f);
    float* dx = a.dx + i * a.f * a.d;
    for (int64_t row = 0; row < a.f; row += kBackwardRows) {
      float diagonal[kBackwardRows][kBackwardRows] = {};  // Symmetric, zero on the diagonal.
      for (int64_t p = 1; p < std::min(kBackwardRows, a.f - row); ++p) {
        for (int64_t q = 0; q < p; ++q) {
          diagonal[p][q] = diagonal[q][p] = t[PairsBefore(row + p) + row + q];
        }
      }
      ForEachColumnBlock<kLanes>(
          0, a.d, [&](auto lanes, int64_t c) __attribute__((always_inline)) {
            GradientBlock<decltype(lanes)::value>(a, x, t, row, diagonal, c, dx);
          });
    }
  }
}
PAGODA_VECTOR_VERSIONS(DotBackwardSamples, DotArgs)

}  // namespace

absl::Status DotInteractionForward(Context& ctx, const Tensor& x, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "DotInteractionForward");
  if (!check.Rank("x", x, 3).ok()) return check.status();
  if (!check.Has("out", out, {x.dim(0), PairsBefore(x.dim(1))}).ok()) return check.status();
  PAGODA_ON_GPU(ctx, DotInteractionForwardGpu(ctx, x, out));
  const DotArgs args = {.x = x.data<float>(),
                        .out = out.data<float>(),
                        .dx = nullptr,
                        .f = x.dim(1),
                        .d = x.dim(2),
                        .beta = 0.0f};
  ForChunks(ctx, x.dim(0), RowsPerChunk(args.f * args.d),
            [&](int64_t, int64_t begin, int64_t end) { RunDotForwardSamples(args, begin, end); });
  return absl::OkStatus();
}

absl::Status DotInteractionBackward(Context& ctx, const Tensor& x, const Tensor& dout, float beta,
                                    const Tensor& dx) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "DotInteractionBackward");
  if (!check.Rank("x", x, 3).ok()) return check.status();
  check.Has("dout", dout, {x.dim(0), PairsBefore(x.dim(1))}).Has("dx", dx, x.shape());
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, DotInteractionBackwardGpu(ctx, x, dout, beta, dx));
  const DotArgs args = {.x = x.data<float>(),
                        .out = dout.data<float>(),
                        .dx = dx.data<float>(),
                        .f = x.dim(1),
                        .d = x.dim(2),
                        .beta = beta};
  ForChunks(ctx, x.dim(0), RowsPerChunk(args.f * args.d),
            [&](int64_t, int64_t begin, int64_t end) { RunDotBackwardSamples(args, begin, end); });
  return absl::OkStatus();
}

}  // namespace pagoda
