// Rotary position embedding (Su et al., "RoFormer", 2021): in each head of each row, the pair
// of columns (2i, 2i + 1) is turned by the angle that belongs to the row's position and to i:
//
//    out[r, 2i]     = x[r, 2i] cos - x[r, 2i + 1] sin
//    out[r, 2i + 1] = x[r, 2i] sin + x[r, 2i + 1] cos,   cos, sin = turns[positions[r], 2i .. 2i+1]
//
// x [n, heads * width]; turns [p, width] (kernels take angles from a table, as they are then
// exact on every device); positions i32 [n], trusted to lie in [0, p).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

// [num_positions, width] on the host: (cos, sin) of position * base^(-2i / width), for the
// pairs i of a head, computed in double.
//   REQUIRES: width is even.
std::vector<float> RotaryTurns(int64_t num_positions, int64_t width, double base);

// out = beta * out + x turned; with beta == 0, out is not read and may be x. `inverse` turns by
// the opposite angles: the gradient of the same without.
//   INVALID_ARGUMENT  the width of `turns` is odd, or does not divide x's
absl::Status RotaryEmbedding(Context& ctx, const Tensor& x, const Tensor& positions,
                             const Tensor& turns, bool inverse, float beta, const Tensor& out);

}  // namespace pagoda
