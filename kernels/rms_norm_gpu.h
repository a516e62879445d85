// What rms_norm.cu has; see dispatch.h.
#pragma once

#include "kernels/rms_norm.h"

namespace pagoda {

absl::Status RmsNormForwardGpu(Context& ctx, const Tensor& x, const Tensor& gamma, float epsilon,
                               const Tensor& y, const Tensor& saved_inv_rms);
absl::Status RmsNormBackwardGpu(Context& ctx, const Tensor& x, const Tensor& gamma,
                                const Tensor& saved_inv_rms, const Tensor& dy, const Tensor& dx,
                                const Tensor& dgamma);

}  // namespace pagoda
