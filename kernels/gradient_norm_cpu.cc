// Bound by memory: reads x once.
#include "kernels/gradient_norm.h"

#include <bit>
#include <vector>

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/gradient_norm_gpu.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

struct Measure {
  double squares = 0.0;
  int64_t non_finite = 0;
};

struct Operands {
  const float* x;
  Measure* measure;
};

template <int kLanes>
PAGODA_INLINE void MeasureRange(const Operands& o, int64_t begin, int64_t end) {
  o.measure->squares = DoubleSumOf<kLanes, true>(o.x + begin, end - begin);
  int32_t non_finite = 0;  // An exponent of all ones.
  for (int64_t i = begin; i < end; ++i) {
    non_finite += (std::bit_cast<uint32_t>(o.x[i]) & 0x7f800000u) == 0x7f800000u ? 1 : 0;
  }
  o.measure->non_finite = non_finite;
}
PAGODA_VECTOR_VERSIONS(MeasureRange, Operands)

}  // namespace

absl::Status SquaredNorm(Context& ctx, const Tensor& x, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SquaredNorm");
  if (!check.Present("x", x).Has("out", out, {2}).ok()) return check.status();
  PAGODA_ON_GPU(ctx, SquaredNormGpu(ctx, x, out));
  std::vector<Measure> chunks(static_cast<size_t>(NumChunks(x.size(), kChunkElements)));
  ForChunks(ctx, x.size(), kChunkElements, [&](int64_t index, int64_t begin, int64_t end) {
    RunMeasureRange({x.data<float>(), &chunks[static_cast<size_t>(index)]}, begin, end);
  });
  Measure total;
  for (const Measure& chunk : chunks) {
    total.squares += chunk.squares;
    total.non_finite += chunk.non_finite;
  }
  out.data<float>()[0] = static_cast<float>(total.squares);
  out.data<float>()[1] = static_cast<float>(total.non_finite);
  return absl::OkStatus();
}

}  // namespace pagoda
