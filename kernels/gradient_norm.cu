// Bound by memory: reads x once. Sums are double, in pieces that are added in order.
#include "kernels/gradient_norm_gpu.h"

#include "kernels/chunks.h"
#include "kernels/gpu_reduce.h"
#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

constexpr int64_t kPiece = 16384;

// partial[p] = the sum of squares of piece p, partial[pieces + p] = how many are not finite.
template <int kPack>
__global__ void __launch_bounds__(kGpuThreads)
    MeasureKernel(const float* x, int64_t n, double* partial, int64_t pieces) {
  GPU_SHARED(double, part, [2][kGpuThreads / kWarp]);
  for (int64_t p = blockIdx.x; p < pieces; p += gridDim.x) {
    const int64_t end = (p + 1) * kPiece < n ? (p + 1) * kPiece : n;
    double squares = 0.0, others = 0.0;
    for (int64_t i = p * kPiece + int64_t{threadIdx.x} * kPack; i < end;
         i += int64_t{kGpuThreads} * kPack) {
      const FloatPack<kPack> v = LoadPack<kPack>(x + i);
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) {
        squares += double{v.v[k]} * double{v.v[k]};
        others += (__float_as_uint(v.v[k]) & 0x7f800000u) == 0x7f800000u ? 1.0 : 0.0;
      }
    }
    squares = BlockSum(squares, part[0]);
    others = BlockSum(others, part[1]);
    if (threadIdx.x == 0) {
      partial[p] = squares;
      partial[pieces + p] = others;
    }
    // The next round writes each part behind the other's barrier, which thread 0 passes
    // after it has read this round's.
  }
}

// One block: each thread adds pieces of its own, and then threads are added in order.
__global__ void __launch_bounds__(kGpuThreads)
    AddPiecesKernel(const double* partial, int64_t pieces, float* out) {
  GPU_SHARED(double, part, [2][kGpuThreads / kWarp]);
  double squares = 0.0, others = 0.0;
  for (int64_t p = threadIdx.x; p < pieces; p += kGpuThreads) {
    squares += partial[p];
    others += partial[pieces + p];
  }
  squares = BlockSum(squares, part[0]);
  others = BlockSum(others, part[1]);
  if (threadIdx.x == 0) {
    out[0] = static_cast<float>(squares);
    out[1] = static_cast<float>(others);
  }
}

}  // namespace

absl::Status SquaredNormGpu(Context& ctx, const Tensor& x, const Tensor& out) {
  const int64_t pieces = NumChunks(x.size(), kPiece);
  // Of double.
  PAGODA_ASSIGN_OR_RETURN(const Tensor memory,
                          ctx.Empty({2 * std::max<int64_t>(pieces, 1)}, DType::kI64));
  auto* const partial = static_cast<double*>(memory.raw());
  if (pieces > 0) {
    // A pack may not reach into the next piece, or past the end.
    const bool by_four = RowsMoveByFour(x.size(), {x.raw()});
    PAGODA_RETURN_IF_ERROR(LaunchKernel(
        ctx, "SquaredNorm", by_four ? MeasureKernel<4> : MeasureKernel<1>, GpuBlocks(pieces, 1),
        kGpuThreads, 0, x.data<float>(), x.size(), partial, pieces));
  }
  return LaunchKernel(ctx, "SquaredNorm", AddPiecesKernel, 1, kGpuThreads, 0, partial, pieces,
                      out.data<float>());
}

}  // namespace pagoda
