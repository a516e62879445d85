// Bound by memory: 8 bytes an element, as a row of turns stays in cache.
#include "kernels/rotary_embedding.h"

#include <cmath>

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/rotary_embedding_gpu.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

struct Operands {
  const float* x;
  const int32_t* positions;
  const float* turns;
  float* out;
  int64_t heads, width;
  float sign;  // Of the angles.
  float beta;
};

template <int kLanes>
PAGODA_INLINE void TurnRows(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t head = begin * o.heads; head < end * o.heads; ++head) {
    const float* x = o.x + head * o.width;
    const float* turns = o.turns + o.positions[head / o.heads] * o.width;
    float* out = o.out + head * o.width;
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.width; j += 2) {
      const float cosine = turns[j], sine = o.sign * turns[j + 1];
      const float even = x[j] * cosine - x[j + 1] * sine;
      const float odd = x[j] * sine + x[j + 1] * cosine;
      out[j] = o.beta == 0.0f ? even : o.beta * out[j] + even;
      out[j + 1] = o.beta == 0.0f ? odd : o.beta * out[j + 1] + odd;
    }
  }
}
PAGODA_VECTOR_VERSIONS(TurnRows, Operands)

}  // namespace

std::vector<float> RotaryTurns(int64_t num_positions, int64_t width, double base) {
  std::vector<float> turns;
  turns.reserve(static_cast<size_t>(num_positions * width));
  for (int64_t position = 0; position < num_positions; ++position) {
    for (int64_t j = 0; j < width; j += 2) {
      const double exponent = -static_cast<double>(j) / static_cast<double>(width);
      const double angle = static_cast<double>(position) * std::pow(base, exponent);
      turns.push_back(static_cast<float>(std::cos(angle)));
      turns.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  return turns;
}

absl::Status RotaryEmbedding(Context& ctx, const Tensor& x, const Tensor& positions,
                             const Tensor& turns, bool inverse, float beta, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "RotaryEmbedding");
  check.Rank("x", x, 2).Rank("turns", turns, 2);
  if (!check.ok()) return check.status();
  const int64_t n = x.dim(0), width = turns.dim(1);
  check.Has("positions", positions, {n}, DType::kI32).Has("out", out, x.shape());
  check.That(width % 2 == 0, "a head has an odd number of columns");
  check.That(width == 0 ? x.dim(1) == 0 : x.dim(1) % width == 0,
             "x is not of whole heads of the width of turns");
  if (!check.ok()) return check.status();
  if (x.size() == 0) return absl::OkStatus();
  PAGODA_ON_GPU(ctx, RotaryEmbeddingGpu(ctx, x, positions, turns, inverse, beta, out));
  const Operands operands{x.data<float>(),        positions.data<int32_t>(),
                          turns.data<float>(),    out.data<float>(),
                          x.dim(1) / width,       width,
                          inverse ? -1.0f : 1.0f, beta};
  ForChunks(ctx, n, RowsPerChunk(x.dim(1)),
            [&](int64_t, int64_t begin, int64_t end) { RunTurnRows(operands, begin, end); });
  return absl::OkStatus();
}

}  // namespace pagoda
