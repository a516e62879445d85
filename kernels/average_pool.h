// Averages over windows of neighbouring columns, none of them past an end ("VALID"):
//
//    out[i, j] = mean of x[i, c] for j * stride <= c < j * stride + window
//
// x [n, d], out [n, m], m = (d - window) / stride + 1, rounded down. Columns that no window
// covers take no part. Source: USM (arXiv 1812.01353), whose published code pools embeddings so.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

struct AveragePoolArgs {
  int64_t window = 1;
  int64_t stride = 1;
};

// How many windows lie within d columns; 0 when `window` is wider.
int64_t NumPoolWindows(int64_t d, const AveragePoolArgs& args);

//   INVALID_ARGUMENT  shapes disagree, window or stride are below 1, or window is above d;
//                     d or stride is above 2^30
absl::Status AveragePoolForward(Context& ctx, const Tensor& x, const AveragePoolArgs& args,
                                const Tensor& out);
// dx[i, c] = beta * dx[i, c] + sum of dout[i, j] / window over the windows j with column c, in
// their order. With beta == 0, dx is not read.
absl::Status AveragePoolBackward(Context& ctx, const Tensor& dout, const AveragePoolArgs& args,
                                 float beta, const Tensor& dx);

}  // namespace pagoda
