// Bound by memory: 8 bytes an element, as turns come from L2. A group of threads moves along
// a head of a row; a thread has one pair of columns, or two.
#include "kernels/rotary_embedding_gpu.h"

#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

struct Heads {
  const float* x;
  const int32_t* positions;
  const float* turns;
  float* out;
  int64_t count;   // Of heads, in all rows.
  int64_t width;   // Of one.
  uint32_t heads;  // Of a row.
  float sign;      // Of the angles.
  float beta;
  unsigned group;
};

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) TurnKernel(const Heads h) {
  ForRowPacks<kPack>(h.count, h.width, h.group, [&](int64_t head, int64_t j) {
    // Heads are counted in 32 bits.
    const int64_t position = h.positions[static_cast<uint32_t>(head) / h.heads];
    const FloatPack<kPack> turn = LoadPack<kPack>(h.turns + position * h.width + j);
    FloatPack<kPack> v = LoadPack<kPack>(h.x + head * h.width + j);
    GPU_UNROLL
    for (int k = 0; k < kPack; k += 2) {
      const float even = v.v[k], odd = v.v[k + 1];
      const float cosine = turn.v[k], sine = h.sign * turn.v[k + 1];
      v.v[k] = even * cosine - odd * sine;
      v.v[k + 1] = even * sine + odd * cosine;
    }
    AccumulatePack(h.beta, v, h.out + head * h.width + j);
  });
}

}  // namespace

absl::Status RotaryEmbeddingGpu(Context& ctx, const Tensor& x, const Tensor& positions,
                                const Tensor& turns, bool inverse, float beta, const Tensor& out) {
  Heads h = {};
  h.x = x.data<float>();
  h.positions = positions.data<int32_t>();
  h.turns = turns.data<float>();
  h.out = out.data<float>();
  h.width = turns.dim(1);
  h.heads = static_cast<uint32_t>(x.dim(1) / h.width);
  h.count = x.dim(0) * h.heads;
  h.sign = inverse ? -1.0f : 1.0f;
  h.beta = beta;
  const bool by_four = RowsMoveByFour(h.width, {h.x, h.turns, h.out});
  const int pack = by_four ? 4 : 2;
  h.group = RowGroup(h.width / pack, kGpuThreads);
  return LaunchKernel(ctx, "RotaryEmbedding", by_four ? TurnKernel<4> : TurnKernel<2>,
                      GpuBlocks(h.count, kGpuThreads / h.group), kGpuThreads, 0, h);
}

}  // namespace pagoda
