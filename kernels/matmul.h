// Matrix products, f32 operands and results (read as bf16 inside when
// ctx.compute_dtype() is kBF16; sums are f32 always).
//
// Deterministic for any number of threads: rows of the result are computed in fixed
// chunks, and a product that sums over the batch (trans_a) adds fixed chunks of the
// batch in order.
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

struct MatMulArgs {
  bool trans_a = false;  // a is [k, m] instead of [m, k]
  bool trans_b = false;  // b is [n, k] instead of [k, n]
  float beta = 0.0f;     // out = a * b + beta * out; 0: out is not read
};

// a [m, k], b [k, n], out [m, n].
//   INVALID_ARGUMENT  shapes disagree
absl::Status MatMul(Context& ctx, const Tensor& a, const Tensor& b, const MatMulArgs& args,
                    const Tensor& out);

// One product for each i: a [s, m, k], b [s, k, n], out [s, m, n]; as above otherwise.
absl::Status BatchMatMul(Context& ctx, const Tensor& a, const Tensor& b, const MatMulArgs& args,
                         const Tensor& out);

}  // namespace pagoda
