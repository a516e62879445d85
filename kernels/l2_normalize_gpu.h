// What l2_normalize.cu has; see dispatch.h.
#pragma once

#include "kernels/l2_normalize.h"

namespace pagoda {

absl::Status L2NormalizeForwardGpu(Context& ctx, const Tensor& x, float epsilon, const Tensor& y,
                                   const Tensor& norms);
absl::Status L2NormalizeBackwardGpu(Context& ctx, const Tensor& y, const Tensor& norms,
                                    const Tensor& dy, const Tensor& dx);

}  // namespace pagoda
