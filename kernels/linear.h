// A dense layer with fused bias and activation:
//    y = f(x w^T + bias)      x [n, in], w [out, in], bias [out] or absent, y [n, out]
// Only activations whose derivative is a function of y are fused: none, relu,
// sigmoid, tanh.
//   INVALID_ARGUMENT  another activation
//
// With ctx.compute_dtype() == kBF16 the products read x, w and dz = dy * f'(y)
// rounded to bf16; bias, activation and dbias stay f32.
#pragma once

#include "absl/status/status.h"
#include "kernels/activation.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

// A row of y has the same bits whatever other rows are in x (but for bf16 on AMX and
// for GPUs, where oneDNN and cuBLAS promise nothing of the kind).
absl::Status LinearForward(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& bias,
                           Activation activation, const Tensor& y);

// Gradients; each output may be absent when not wanted. dx, dw, dbias = beta_* * old + new.
// On the CPU their bits do not depend on which of them are wanted.
struct LinearGradients {
  Tensor dx;  // [n, in]
  float beta_dx = 0.0f;
  Tensor dw;  // [out, in]
  float beta_dw = 0.0f;
  Tensor dbias;  // [out]
  float beta_dbias = 0.0f;
  // dy's memory may be used for dy * f'(y): for a caller that is done with dy.
  bool overwrite_dy = false;
};
absl::Status LinearBackward(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& y,
                            const Tensor& dy, Activation activation,
                            const LinearGradients& gradients);

}  // namespace pagoda
