// The cross layer of DCN (Wang et al. 2017, eq. 3) and the epilogue of DCNv2's
// (Wang et al. 2021, eq. 1):
//    v1:  y = x0 * (x . w) + b + x          x0, x, y [n, d]; w, b [d]
//    v2:  y = x0 (*) u + x                  u = W x + b from LinearForward; (*) elementwise
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

absl::Status CrossV1Forward(Context& ctx, const Tensor& x0, const Tensor& x, const Tensor& w,
                            const Tensor& b, const Tensor& y, const Tensor& xw /* [n], kept */);
// Each gradient is added to; any may be absent.
struct CrossV1Gradients {
  Tensor dx0, dx, dw, db;
};
absl::Status CrossV1Backward(Context& ctx, const Tensor& x0, const Tensor& x, const Tensor& w,
                             const Tensor& xw, const Tensor& dy, const CrossV1Gradients& gradients);

absl::Status CrossV2Forward(Context& ctx, const Tensor& x0, const Tensor& u, const Tensor& x,
                            const Tensor& y);
// Each gradient is added to; any may be absent.
struct CrossV2Gradients {
  Tensor dx0, du, dx;
};
absl::Status CrossV2Backward(Context& ctx, const Tensor& x0, const Tensor& u, const Tensor& dy,
                             const CrossV2Gradients& gradients);

}  // namespace pagoda
