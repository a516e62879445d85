// Sum pooling of consecutive rows into segments (values already gathered):
//    out[s, :] = beta * out[s, :] + scale(s) * sum of x[i, :] for i in [offsets[s], offsets[s+1])
// x [n, d], offsets i32 [s + 1], mean/sqrtn scale by 1/count, 1/sqrt(count).
// With beta == 0 the output is not read. Offsets are trusted to ascend.
//    INVALID_ARGUMENT  shapes or types disagree, or offsets do not run from 0 to n
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

enum class SegmentPooling { kSum, kMean, kSqrtN };
absl::Status SegmentSumForward(Context& ctx, const Tensor& x, const Tensor& offsets,
                               SegmentPooling pooling, float beta, const Tensor& out);
// dx[i, :] = beta * dx[i, :] + scale(s) * dout[s, :] for the segment s of i.
absl::Status SegmentSumBackward(Context& ctx, const Tensor& dout, const Tensor& offsets,
                                SegmentPooling pooling, float beta, const Tensor& dx);

}  // namespace pagoda
