// Pairwise dot products (DLRM; Naumov et al. 2019, arXiv:1906.00091):
//    x [n, f, d] -> out[i, p] = <x[i, a], x[i, b]>, pairs a > b, row by row: (1,0), (2,0), (2,1),
//    ...
// out [n, f (f - 1) / 2].
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

absl::Status DotInteractionForward(Context& ctx, const Tensor& x, const Tensor& out);
// dx += ...
absl::Status DotInteractionBackward(Context& ctx, const Tensor& x, const Tensor& dout,
                                    const Tensor& dx);

}  // namespace pagoda
