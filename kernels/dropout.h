// Inverted dropout with a counter-based mask: element (i, j) of x [n, d] (or of
// x [n, ...], with d the product of the other sizes) is kept
// iff RandomUniform(key, (first_row + i) * d + j) >= rate, and scaled by 1 / (1 - rate).
// The mask depends on the global sample index alone, never on layout or device.
// Forward and backward are the same map: dx = Dropout(dy).
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

struct DropoutArgs {
  float rate = 0.0f;
  RandomKey key;
  uint64_t first_row = 0;
};

// out = beta * out + mask(x); with beta == 0 `out` is not read, and may be x.
//   INVALID_ARGUMENT  rate outside [0, 1)
absl::Status Dropout(Context& ctx, const Tensor& x, const DropoutArgs& args, float beta,
                     const Tensor& out);

// The same for rows that lie anywhere, positions of ragged sequences for one: element (i, j)
// of x [n, d] is kept iff RandomUniform(key, counters[i] + j) >= rate. counters i64 [n], on
// the device; args.first_row is not used.
absl::Status DropoutRows(Context& ctx, const Tensor& x, const Tensor& counters,
                         const DropoutArgs& args, float beta, const Tensor& out);

}  // namespace pagoda
