// The cross layer of DCN (Wang et al. 2017, eq. 3) and the epilogue of DCNv2's
// (Wang et al. 2021, eq. 1):
//    v1:  y = x0 * (x . w) + b + x          x0, x, y [n, d]; w, b [d]
//    v2:  y = x0 (*) u + x                  u = W x + b from LinearForward; (*) elementwise
// Outputs may not be inputs. A first layer has one tensor as x0 and x, and may give
// one as dx0 and dx: dx0 is complete before dx is added.
//    INVALID_ARGUMENT  shapes or types disagree
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

absl::Status CrossV1Forward(Context& ctx, const Tensor& x0, const Tensor& x, const Tensor& w,
                            const Tensor& b, const Tensor& y, const Tensor& xw /* [n], kept */);
// Each gradient is set to beta * itself + the new one (beta == 0: it is not read);
// any may be absent. dw and db are sums over rows, by fixed pieces in order.
struct CrossV1Gradients {
  Tensor dx0, dx, dw, db;
  float beta_dx0 = 1.0f, beta_dx = 1.0f, beta_dw = 1.0f, beta_db = 1.0f;
};
absl::Status CrossV1Backward(Context& ctx, const Tensor& x0, const Tensor& x, const Tensor& w,
                             const Tensor& xw, const Tensor& dy, const CrossV1Gradients& gradients);

absl::Status CrossV2Forward(Context& ctx, const Tensor& x0, const Tensor& u, const Tensor& x,
                            const Tensor& y);
// As above.
struct CrossV2Gradients {
  Tensor dx0, du, dx;
  float beta_dx0 = 1.0f, beta_du = 1.0f, beta_dx = 1.0f;
};
absl::Status CrossV2Backward(Context& ctx, const Tensor& x0, const Tensor& u, const Tensor& dy,
                             const CrossV2Gradients& gradients);

}  // namespace pagoda
