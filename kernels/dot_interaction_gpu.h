// What dot_interaction.cu has; see dispatch.h.
#pragma once

#include "kernels/dot_interaction.h"

namespace pagoda {

absl::Status DotInteractionForwardGpu(Context& ctx, const Tensor& x, const Tensor& out);
absl::Status DotInteractionBackwardGpu(Context& ctx, const Tensor& x, const Tensor& dout,
                                       float beta, const Tensor& dx);

}  // namespace pagoda
