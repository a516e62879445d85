// Element-by-element operations and the sums that undo a broadcast.
// All tensors f32 and of one shape unless a shape is given. `out` may alias an input.
//    INVALID_ARGUMENT  shapes or types disagree (names both)
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

// out = alpha * x + beta * out; with beta == 0 `out` is not read.
absl::Status AxpBy(Context& ctx, float alpha, const Tensor& x, float beta, const Tensor& out);
// out = a + b, a * b.
absl::Status Add(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& out);
absl::Status Multiply(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& out);
// out += a * b.
absl::Status MultiplyAdd(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& out);
// out = beta * out + alpha * a / b, where |b| is within 2^-126 .. 2^126; a GPU may give NaN beyond.
absl::Status Divide(Context& ctx, float alpha, const Tensor& a, const Tensor& b, float beta,
                    const Tensor& out);
// out = e^x, ln x (NaN below 0, -inf at 0), scale * x + shift.
absl::Status Exp(Context& ctx, const Tensor& x, const Tensor& out);
absl::Status Log(Context& ctx, const Tensor& x, const Tensor& out);
absl::Status Affine(Context& ctx, float scale, const Tensor& x, float shift, const Tensor& out);
// out = the nearest to x within [low, high]; NaN stays NaN.
//    INVALID_ARGUMENT  low > high, or either is NaN
absl::Status Clip(Context& ctx, const Tensor& x, float low, float high, const Tensor& out);
// dx = beta * dx + dy where low <= x <= high, and + 0 elsewhere.
absl::Status ClipBackward(Context& ctx, const Tensor& x, float low, float high, const Tensor& dy,
                          float beta, const Tensor& dx);
// out = value everywhere.
absl::Status Fill(Context& ctx, float value, const Tensor& out);

// x [n, d], v [d]: out[i, j] = x[i, j] + v[j].
absl::Status AddRowVector(Context& ctx, const Tensor& x, const Tensor& v, const Tensor& out);
// x [n, d], s [n]: out[i, j] = x[i, j] * s[i].
absl::Status ScaleRows(Context& ctx, const Tensor& x, const Tensor& s, const Tensor& out);
// x [n, d]: out[j] = beta * out[j] + sum over i. Fixed chunks of rows, added in chunk order.
absl::Status SumRows(Context& ctx, const Tensor& x, float beta, const Tensor& out);
// x [n, d]: out[i] = beta * out[i] + sum over j.
absl::Status SumColumns(Context& ctx, const Tensor& x, float beta, const Tensor& out);
// a, b [n, d]: out[i] = beta * out[i] + sum over j of a[i, j] * b[i, j].
absl::Status DotRows(Context& ctx, const Tensor& a, const Tensor& b, float beta, const Tensor& out);
// x [...]: out [] (scalar) = sum of all, fixed chunks, added in chunk order, in double.
absl::Status SumAll(Context& ctx, const Tensor& x, const Tensor& out);
// s [] (scalar on the device): out[...] = beta * out + alpha * s.
absl::Status BroadcastScalar(Context& ctx, float alpha, const Tensor& s, float beta,
                             const Tensor& out);

}  // namespace pagoda
